"""Messages explained, and commands rehearsed."""

from __future__ import annotations

from dataclasses import replace

from devices.mqtt.config import MqttDevice, MqttProperty, parse_device
from devices.mqtt.explain import PAYLOAD_BYTES_SHOWN, explanation, note_of, rehearsal
from devices.mqtt.port import Delivery
from devices.port import DeviceConfig, DeviceHealth, PropertyConfig, Reading
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
        DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "broker"}, properties=(prop,))
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
    told = rehearsal(device, prop, 21.5)
    assert told.requests == ({"topic": "a/t/set", "payload": '{"set": 21.5}', "qos": 1, "retain": False},)
    assert told.steps[-1].says == "a/t is to tell this value within 5 s"
    device, prop = made({"commandTopic": "a/t/set", "commandRetain": True})
    told = rehearsal(device, prop, 21.5)
    assert told.place == "written only: topic a/t/set at broker:1883"
    assert "retained" in told.steps[2].says and told.steps[-1].says == "none: it is not told back"
    device, prop = made({"topic": "a/t"})
    assert rehearsal(device, prop, 1.0).refusal == "t has no commandTopic"
