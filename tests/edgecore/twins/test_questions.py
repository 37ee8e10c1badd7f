"""Why a value is what it is, what a write would do, and what a device says now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.manifests import KnownDevice
from devices.port import DeviceConfig
from devices.pushes import push_targets
from edgecore.push.shell import QueueSight
from edgecore.store.port import PushQueue
from edgecore.twins.checkup import Beside, file_shown, files_of, files_shown
from edgecore.twins.questions import DeviceQuestions
from skerry.errors import BadRequestError, NotFoundError, UnavailableError
from skerry.objects.device_questions import Checkup, Discover, Explain, OfLine, Read, question_of
from skerry.objects.json import JsonObject, dig, map_at, maps_at, str_at
from skerry.objects.meta import Key
from tests.edgecore.twins.gateway import DEVICE, FAST, Gateway, device


def explain(prop: str, value: str | None = None, uid: str = "") -> Explain:
    return Explain(namespace="default", device="boiler", uid=uid, prop=prop, value=value)


def read(*props: str, fresh_ms: int = 0, timeout_s: int = 5) -> Read:
    return Read(namespace="default", device="boiler", uid="", props=props, fresh_ms=fresh_ms, timeout_s=timeout_s)


async def asking(gateway: Gateway, obj: JsonObject) -> DeviceQuestions:
    await gateway.put_device(obj)
    await gateway.until(lambda: gateway.keeper.config_of(DEVICE, "setpoint") is not None)
    await gateway.until(lambda: bool(gateway.driver.health()))
    return DeviceQuestions(gateway.store, gateway.keeper, node="eu-1", clock=gateway.clock)


async def test_a_value_is_explained_from_its_source_to_the_answer_to_what_was_wanted() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device())
        await gateway.until(lambda: gateway.quality() == "good")
        await gateway.want_in_cloud("64")
        await gateway.until(lambda: gateway.ack() == "verified")
        told = await questions.answer(explain("setpoint"))
        assert (told["kind"], told["node"], told["place"]) == ("DeviceExplanation", "eu-1", "in the agent's memory")
        assert [step["name"] for step in maps_at(told, "steps")] == ["held", "value"]
        assert (dig(told, "reading", "value"), dig(told, "twin", "value")) == ("64.0", "64.0")
        assert (dig(told, "desired", "value"), dig(told, "desired", "origin")) == ("64", "ann")
        assert (dig(told, "ack", "state"), dig(told, "ack", "version")) == (
            "verified",
            dig(told, "desired", "version"),
        )
        assert dig(told, "device", "state") == "online" and "waits" not in told and "write" not in told
        assert 0 <= int(str(told["nextMs"])) <= 20


async def test_a_wish_that_was_taken_back_is_none() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device())
        await gateway.want_in_cloud("64")
        await gateway.until(lambda: gateway.ack() == "verified")
        assert "desired" in await questions.answer(explain("setpoint"))
        await gateway.put_device(device())
        await gateway.until(lambda: (held := gateway.twin().desired) is None or held.removed)
        told = await questions.answer(explain("setpoint"))
        assert "desired" not in told and "ack" not in told


async def test_what_waits_says_why_and_until_when() -> None:
    async with Gateway(synced=False).alive() as gateway:
        questions = await asking(gateway, device())
        await gateway.want_in_cloud("64", expires="2099-01-01T00:00:00Z")
        await gateway.until(lambda: gateway.ack() == "pending")
        told = await questions.answer(explain("setpoint"))
        assert "clock is not known to be right" in str_at(told, "waits", "reason")
        gateway.synced = True
        gateway.driver.silence(DEVICE, silent=True)
        await gateway.want_in_cloud("65")
        await gateway.until(lambda: gateway.ack() == "failed")
        told = await questions.answer(explain("setpoint"))
        assert dig(told, "ack", "reason") == "the device is silent"
        assert dig(told, "reading", "quality") == "bad"


async def test_a_rehearsal_says_what_model_and_driver_would_say_and_writes_nothing() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device({"initial": 20, "refuse": [13.0]}))
        written = len(gateway.driver.writes)
        told = await questions.answer(explain("setpoint", "64"))
        assert dig(told, "write", "requests") == [{"value": "64.0"}] and dig(told, "write", "refusal") is None
        for value, why in (("91", "above the maximum"), ("x", "not a number"), ("13", "won't take 13.0")):
            told = await questions.answer(explain("setpoint", value))
            assert why in str_at(told, "write", "refusal") and dig(told, "write", "requests") == []
        told = await questions.answer(explain("level", "1"))
        assert dig(told, "write", "refusal") == "level is read-only"
        assert len(gateway.driver.writes) == written and gateway.twin().desired is None


async def test_a_device_is_asked_unless_what_was_read_is_fresh_enough() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device({"script": [1, 2, 3, 4]}, {"initial": 7}))
        await gateway.until(lambda: gateway.twin("level").reported is not None)
        told = await questions.answer(read("level", fresh_ms=60_000))
        assert dig(told, "properties", "level", "from") == "memory"
        told = await questions.answer(read())
        assert [*map_at(told, "properties")] == ["setpoint", "level"]
        assert (dig(told, "properties", "level", "from"), dig(told, "properties", "level", "value")) == (
            "device",
            "7",
        )
        assert dig(told, "properties", "level", "raw") == {"value": "7"}
        gateway.driver.silence(DEVICE, silent=True)
        told = await questions.answer(read("level"))
        assert dig(told, "properties", "level", "reason") == "the device is silent"
        assert dig(told, "properties", "level", "value") is None


async def test_a_device_that_takes_too_long_leaves_the_rest_unread_and_says_so() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device())
        async with gateway.keeper.turn(DEVICE):
            told = await questions.answer(read("setpoint", "level", timeout_s=1))
        for prop in ("setpoint", "level"):
            assert dig(told, "properties", prop, "late") is True
            assert dig(told, "properties", prop, "reason") == "not read within 1 s"


async def test_what_is_not_here_is_named_with_what_is() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device())
        with pytest.raises(NotFoundError, match=r"no property 'speed' \(it has: setpoint, level\)"):
            await questions.answer(explain("speed"))
        with pytest.raises(NotFoundError, match="made again"):
            await questions.answer(explain("level", uid="another"))
        with pytest.raises(NotFoundError, match='"pump" is not on this gateway'):
            await questions.answer(Explain(namespace="default", device="pump", uid="", prop="t"))


async def test_over_a_stream_the_answer_is_one_document() -> None:
    async with Gateway(settings=FAST).alive() as gateway:
        questions = await asking(gateway, device())
        (piece,) = [piece async for piece in questions(explain("level").params())]
        assert json.loads(piece)["property"] == "level"
        with pytest.raises(BadRequestError):
            _ = [piece async for piece in questions({"ask": "sing"})]


async def test_a_device_whose_configuration_is_wrong_says_so_when_it_is_asked_why() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device())
        await gateway.until(lambda: gateway.quality() == "good")
        await gateway.put_device(device({"initial": 20, "skript": 1}))
        await gateway.until(lambda: gateway.quality() == "stale")
        told = await questions.answer(explain("setpoint", "5"))
        assert dig(told, "device", "state") == "invalid" and "skript" in str_at(told, "device", "reason")
        assert dig(told, "write", "refusal")


async def test_a_device_that_is_held_is_not_asked_and_says_who_holds_it() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device())
        await gateway.until(lambda: gateway.quality() == "good")
        await gateway.keeper.hold(DEVICE, reason="new pump", by="ann", until_ms=None)
        await gateway.until(lambda: bool(gateway.keeper.refusal_of(DEVICE)))
        told = await questions.answer(read("setpoint"))
        assert "held by ann" in str_at(told, "properties", "setpoint", "reason")
        told = await questions.answer(explain("setpoint", "30"))
        assert "held by ann" in str_at(told, "write", "refusal")


async def test_a_device_that_shares_no_line_has_no_figures_of_one() -> None:
    async with Gateway().alive() as gateway:
        questions = await asking(gateway, device())
        with pytest.raises(NotFoundError, match="is on no line"):
            await questions.answer(OfLine(namespace="default", device="boiler", uid=""))
        assert question_of(OfLine(namespace="a", device="b", uid="c").params()) == OfLine(
            namespace="a", device="b", uid="c"
        )


class Listener:
    async def answer(self, question: Discover) -> JsonObject:
        return {"kind": "NodeDiscovery", "seconds": question.seconds}


async def test_what_speaks_on_the_broker_is_asked_of_who_listens_there() -> None:
    gateway = Gateway()
    parts = {"node": "eu-1", "clock": gateway.clock}
    asked = Discover(namespace="default", seconds=3)
    questions = DeviceQuestions(gateway.store, gateway.keeper, discovery=Listener(), **parts)  # type: ignore[arg-type]
    pieces = [piece async for piece in questions(asked.params())]
    assert json.loads(b"".join(pieces)) == {"kind": "NodeDiscovery", "seconds": 3}
    without = DeviceQuestions(gateway.store, gateway.keeper, **parts)  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="gateway eu-1 has no MQTT broker"):
        await without.answer(asked)


async def test_a_check_up_tells_all_that_is_known_of_a_device_and_asks_nobody() -> None:
    async with Gateway().alive() as gateway:
        await asking(gateway, device())
        await gateway.until(lambda: gateway.quality() == "good")
        await gateway.want_in_cloud("64")
        await gateway.until(lambda: gateway.ack() == "verified")
        queue = PushQueue(queue="q", waiting=3, size_bytes=9, dropped=1)
        pushes = [
            QueueSight(device=DEVICE, prop="p", method="http", place="http://h", queue=queue, reason="away"),
            QueueSight(
                device=Key(DEVICE.resource, "default", "other"),
                prop="p",
                method="http",
                place="http://o",
                queue=queue,
                reason="",
            ),
        ]
        beside = Beside(pushes=lambda: pushes, trusted=lambda: False, room=lambda: (5, 9))
        questions = DeviceQuestions(gateway.store, gateway.keeper, node="eu-1", clock=gateway.clock, beside=beside)
        told = await questions.answer(Checkup(namespace="default", device="boiler", uid=""))
        assert (told["kind"], told["node"], dig(told, "device", "servedBy")) == ("DeviceCheckup", "eu-1", "agent")
        (setpoint,) = [each for each in maps_at(told, "properties") if each["property"] == "setpoint"]
        assert (dig(setpoint, "reading", "value"), dig(setpoint, "ack", "state")) == ("64.0", "verified")
        assert "steps" not in setpoint and "device" not in setpoint
        assert told["pushes"] == [
            {"property": "p", "place": "http://h", "waiting": 3, "dropped": 1, "reason": "away"}
        ]
        assert dig(told, "gateway", "clockTrusted") is False
        assert dig(told, "gateway", "disk") == {"freeBytes": 5, "bytes": 9}
        assert int(str(dig(told, "gateway", "outbox", "reports"))) > 0 and "line" not in told
        await gateway.put_device(device({"initial": 20, "skript": 1}))
        await gateway.until(lambda: gateway.quality() == "stale")
        told = await questions.answer(Checkup(namespace="default", device="boiler", uid=""))
        assert dig(told, "device", "state") == "invalid" and "skript" in str_at(told, "device", "reason")
        asked = Checkup(namespace="a", device="b", uid="c")
        assert question_of(asked.params()) == asked


async def test_the_files_that_a_configuration_names_are_looked_at(tmp_path: Path) -> None:
    there = tmp_path / "password"
    there.write_text("x")
    data: JsonObject = {
        "rtu": {"serialPort": str(there)},
        "passwordFile": str(there),
        "tls": {"caFile": str(tmp_path / "none")},
    }
    config = DeviceConfig(device=DEVICE, protocol="modbus", protocol_config=data, properties=(), named="modbus")
    pushed, _ = push_targets(
        {
            "spec": {
                "properties": [
                    {
                        "name": "p",
                        "pushMethod": {"http": {"hostName": "https://h"}},
                        "visitors": {"configData": {"push": {"http": {"tokenFile": "/absent"}}}},
                    }
                ]
            }
        },
        None,
    )
    known = KnownDevice(uid="u", body={}, config=config, reason="", pushes=pushed)
    assert files_of(known) == (
        ("spec.protocol.configData.rtu.serialPort", str(there)),
        ("spec.protocol.configData.passwordFile", str(there)),
        ("spec.protocol.configData.tls.caFile", str(tmp_path / "none")),
        ("spec.properties[p].visitors.configData.push.http", "/absent"),
    )
    given = tmp_path / "devices"
    problems = [each.get("problem", "") for each in await files_shown(files_of(known), given)]
    assert problems == [
        "it is no serial port",
        *(
            f"{path} is not in {given}: put it there, or name its directory by edgecore run --device-credentials"
            for path in (there, tmp_path / "none", "/absent")
        ),
    ], "who may write Devices is to learn nothing of other files"
    absent = file_shown("spec.protocol.configData.rtu.serialPort", str(tmp_path / "none"))
    assert absent["problem"] == "it is no serial port"
    problems = [file_shown(field, path).get("problem") for field, path in files_of(known)]
    assert problems == ["it is no serial port", None, "No such file or directory", "No such file or directory"]
    assert files_of(None) == ()
