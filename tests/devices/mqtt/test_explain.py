"""Messages explained, and commands rehearsed."""

from __future__ import annotations

from devices.layouts import PAYLOAD_BYTES_SHOWN, shown_payload
from devices.mqtt.config import MqttDevice, MqttProperty, parse_device
from devices.mqtt.driver import MqttDriver
from devices.mqtt.explain import explanation, note_of, refused, rehearsal
from devices.mqtt.port import Delivery, Outgoing
from devices.port import DeviceConfig, DeviceHealth, PropertyConfig, Reading
from skerry.clocks import SystemClock
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "sensor")
ONLINE = DeviceHealth(device=KEY, online=True, reason="")


def made(visitor: JsonObject, *, writable: bool = True) -> tuple[MqttDevice, MqttProperty]:
    prop = PropertyConfig(
        name="t",
        type="FLOAT",
        writable=writable,
        unit="",
        minimum=None,
        maximum=None,
        collect_ms=1000,
        visitor=visitor,
    )
    device = parse_device(
        DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "broker"}, properties=(prop,)), None
    )
    return device, device.properties["t"]


def delivery(payload: bytes, *, retained: bool = False) -> Delivery:
    return Delivery(life=1, mid=1, topic="a/t", payload=payload, qos=1, retained=retained, redelivered=False)


def reading(value: float | None, reason: str = "") -> Reading:
    return Reading(
        device=KEY,
        prop="t",
        value=value,
        quality="good" if value is not None else "bad",
        reason=reason,
        source_ms=1_800_000_000_000,
        monotonic_s=1.0,
        source_seq=7,
    )


def test_payload_paths_and_value_are_shown() -> None:
    device, prop = made({"topic": "a/t", "path": "$.t", "timestampPath": "$.at", "sequencePath": "$.n"})
    note = note_of(None, delivery(b'{"t": 21.5}', retained=True), reading(21.5))
    told = explanation(device, prop, note, ONLINE)
    assert told.place == "topic a/t at broker:1883" and told.asked == "it tells by itself"
    assert [(step.name, step.says) for step in told.steps] == [
        ("payload", '{"t": 21.5} (retained)'),
        ("path", "$.t"),
        ("time", "$.at: 2027-01-15T08:00:00.000000Z"),
        ("sequence", "$.n: 7"),
        ("value", "21.5 (FLOAT)"),
    ]
    assert told.raw["payload"] == '{"t": 21.5}' and told.next_s is None and told.error == ""


def test_a_failure_is_remembered_after_it_is_over_and_long_payloads_are_cut() -> None:
    device, prop = made({"topic": "a/t"})
    failed = note_of(None, delivery(b"x" * 5000), reading(None, "'xxx' is not a number"))
    assert len(failed.payload) == PAYLOAD_BYTES_SHOWN
    told = explanation(device, prop, failed, ONLINE)
    assert "(5000 bytes)" in told.steps[0].says and told.steps[-1].says == "none: 'xxx' is not a number"
    later = explanation(device, prop, note_of(failed, delivery(b"1"), reading(1.0)), ONLINE)
    assert later.error == "'xxx' is not a number" and later.reading is not None and later.reading.value == 1.0
    gone = explanation(device, prop, None, DeviceHealth(device=KEY, online=False, reason="no route"))
    assert (gone.error, gone.steps, gone.reading, gone.raw) == ("no route", (), None, {})


def test_a_message_of_another_topic_is_not_taken_for_this_one() -> None:
    device, prop = made({"topic": "a/t"})
    note = replace(note_of(None, delivery(b"1"), reading(1.0)), topic="before")
    assert explanation(device, prop, note, ONLINE).reading is None


def test_a_rehearsal_names_topic_and_payload() -> None:
    device, prop = made({"topic": "a/t", "commandTopic": "a/t/set", "commandTemplate": '{"set": ${value}}'})
    told = rehearsal(device, prop, 21.5, Outgoing(topic="a/t/set", payload=b'{"set": 21.5}'))
    assert told.requests == ({"topic": "a/t/set", "payload": '{"set": 21.5}', "qos": 1, "retain": False},)
    assert told.steps[-1].says == "a/t is to tell this value within 5 s"
    device, prop = made({"commandTopic": "a/t/set", "commandRetain": True})
    told = rehearsal(device, prop, 21.5, Outgoing(topic="a/t/set", payload=b"21.5", retain=True, expiry_s=60))
    assert told.place == "written only: topic a/t/set at broker:1883"
    assert told.steps[2].says == "publish on a/t/set at broker:1883, QoS 1, retained, thrown away after 60 s"
    assert told.steps[-1].says == "none: it is not told back"
    assert refused(device, prop, 1.0, "no").refusal == "no" and not refused(device, prop, 1.0, "no").requests


def test_payloads_are_one_line_or_hexadecimal() -> None:
    assert shown_payload(b'{\n  "t": 1\n}') == '{ "t": 1 }'
    assert shown_payload("71 °C".encode()[:4]) == "71", "the end of a payload that was cut"
    assert (shown_payload(b"\xff\x00"), shown_payload(b"\x00\x01")) == ("0xff00", "0x0001")


async def test_the_driver_rehearses_what_it_would_send_and_says_what_it_can_t() -> None:
    driver = MqttDriver(clock=SystemClock(), client_id="x")
    visitor: JsonObject = {
        "topic": "a/t",
        "commandTopic": "a/t/set",
        "commandTemplate": '{"id": "${correlation}", "to": "${response}", "v": ${value}}',
        "response": {"topic": "a/answers"},
        "readTopic": "a/ask",
    }
    _, prop = made(visitor)
    data: JsonObject = {"host": "broker"}
    config = DeviceConfig(device=KEY, protocol="mqtt", protocol_config=data, properties=(prop.config,))
    assert await driver.configure([config]) == []
    told = driver.rehearse(KEY, "t", 21.5)
    assert told is not None and told.requests[0]["payload"] == '{"id": "<correlation>", "to": "a/answers", "v": 21.5}'
    assert [step.name for step in told.steps] == ["value", "payload", "sent", "answer", "check"]
    explained = driver.explain(KEY, "t")
    assert explained is not None and explained.asked == "it tells by itself, and when it is asked on a/ask"
    assert explained.error == "not connected yet" and explained.reading is None
