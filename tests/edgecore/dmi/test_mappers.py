"""Mappers come, are told of their devices, report, die and come back; a fake mapper on the other side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from devices.dmi import messages
from edgecore.dmi import mappers as mappers_module
from edgecore.dmi.mappers import MAPPERS_MAX
from skerry.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from tests.edgecore.dmi.stage import LAMP, MODEL, Stage, lamp, model


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    async with made.alive():
        yield made


async def test_who_registers_with_data_gets_models_and_devices_of_its_protocol(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.put_lamp(name="other", protocol="zwave")
    await stage.until(lambda: stage.state() == ("waiting", "waits for a mapper of protocol zigbee"))
    answer = await stage.register()
    assert [device.name for device in answer.device_list] == ["lamp"]
    assert [each.name for each in answer.model_list] == ["lamps"]
    await stage.until(lambda: stage.state() == ("offline", "mapper mine has not reported it yet"))
    await stage.until(lambda: stage.dialled[0].pings > 1)
    assert stage.dialled[0].heard == [], "it has them already"
    assert stage.state("other")[0] == "waiting"


async def test_who_registers_without_is_told_one_by_one_models_first(stage: Stage) -> None:
    await stage.put_lamp()
    assert await stage.register(with_data=False) == messages.MapperRegisterResponse()
    await stage.until(lambda: len(stage.dialled[0].heard) == 2)
    assert [name for name, _ in stage.dialled[0].heard] == ["CreateDeviceModel", "RegisterDevice"]


async def test_what_does_not_fit_into_the_answer_is_told_afterwards(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.put_lamp()
    await stage.put_lamp(name="second")
    monkeypatch.setattr(mappers_module, "REGISTER_BYTES_MAX", 300)
    answer = await stage.register()
    assert len(answer.device_list) == 1
    mapper = stage.dialled[0]
    await stage.until(lambda: mapper.told("RegisterDevice"))
    assert {answer.device_list[0].name, mapper.told("RegisterDevice")[0].device.name} == {"lamp", "second"}


async def test_changes_are_told_and_what_is_wanted_is_none_of_them(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.register()
    mapper = stage.dialled[0]
    await stage.put(LAMP, lamp(channel=11))
    await stage.until(lambda: mapper.told("UpdateDevice"))
    changed = model()
    changed["spec"]["properties"][0]["maximum"] = "90"  # type: ignore[index, call-overload]
    await stage.put(MODEL, changed)
    await stage.until(lambda: mapper.told("UpdateDeviceModel"))
    await stage.put(LAMP, lamp(protocol="zwave"))
    await stage.until(lambda: mapper.told("RemoveDevice") and mapper.told("RemoveDeviceModel"))
    assert mapper.told("RemoveDevice") == [messages.Named(name="lamp", namespace="default")]
    assert len(mapper.told("UpdateDevice")) == 1


async def test_a_reading_is_answered_when_it_is_durable_with_the_mappers_time(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.register()
    at = stage.clock.wall_ms() - 5000
    await stage.report("7", timestamp=str(at))
    (row,) = [row for row in stage.memory.twins() if row.prop == "level"]
    assert b'"value":"7"' in row.body
    held = stage.twin().reported
    assert held is not None and (held.value, held.quality, held.source_ms) == ("7", "good", at)
    await stage.until(lambda: stage.state()[0] == "online")


@pytest.mark.parametrize("timestamp", ["", "0", "soon", "99999999999999999999", str(10**15 - 1)])
async def test_a_time_that_can_t_be_is_now(stage: Stage, timestamp: str) -> None:
    await stage.put_lamp()
    before = stage.clock.wall_ms()
    await stage.report("7", timestamp=timestamp)
    held = stage.twin().reported
    assert held is not None and before <= held.source_ms <= stage.clock.wall_ms()


async def test_nonsense_is_refused_and_is_no_value_and_the_rest_is_taken(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.report("7")
    with pytest.raises(InvalidError, match="level: "):
        await stage.report("bright")
    await stage.until(lambda: (held := stage.twin().reported) is not None and held.quality != "good")
    twins = (
        messages.Twin(property_name="film", reported=messages.TwinProperty(value="x")),
        messages.Twin(property_name="level"),
        messages.Twin(property_name="level", reported=messages.TwinProperty(value="8")),
    )
    request = messages.ReportDeviceStatusRequest(
        device_name="lamp", reported_device=messages.DeviceStatus(twins=twins)
    )
    with pytest.raises(InvalidError, match=r'no property "film"; level: reported: required'):
        await stage.mappers.report(request)
    held = stage.twin().reported
    assert held is not None and (held.value, held.quality) == ("8", "good")


async def test_devices_of_nobody_and_of_the_gateway_are_refused(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.put(MODEL, model())
    for name in ("lamp", "stove"):
        request = messages.ReportDeviceStatesRequest(device_name=name, device_namespace="elsewhere", state="ok")
        with pytest.raises(NotFoundError, match="not one that mappers speak to"):
            await stage.mappers.report_state(request)
    with pytest.raises(InvalidError, match=r"reportedDevice\.twins: required"):
        await stage.mappers.report(messages.ReportDeviceStatusRequest(device_name="lamp"))
    with pytest.raises(InvalidError, match="state: required"):
        await stage.mappers.report_state(messages.ReportDeviceStatesRequest(device_name="lamp"))


async def test_a_mapper_says_how_a_device_is(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.report("7")
    await stage.mappers.report_state(messages.ReportDeviceStatesRequest(device_name="lamp", state="unhealthy"))
    await stage.until(lambda: stage.state() == ("offline", "its mapper says that it is unhealthy"))
    await stage.until(lambda: (held := stage.twin().reported) is not None and held.quality == "stale")
    await stage.mappers.report_state(messages.ReportDeviceStatesRequest(device_name="lamp", state="OK"))
    await stage.until(lambda: stage.state()[0] == "online")


async def test_what_is_wanted_waits_for_the_mapper_and_is_verified_by_its_report(stage: Stage) -> None:
    await stage.put_lamp(wanted="42")
    await stage.until(lambda: stage.ack() == "failed")
    answer = await stage.register()
    assert answer.device_list[0].spec is not None
    assert answer.device_list[0].spec.properties[0].desired == messages.TwinProperty(metadata={"type": "int"})
    mapper = stage.dialled[0]
    await stage.until(lambda: mapper.wanted() == "42")
    await stage.report("42")
    await stage.until(lambda: stage.ack() == "verified")
    again = await stage.register()
    assert again.device_list[0].spec is not None
    desired = again.device_list[0].spec.properties[0].desired
    assert desired is not None and desired.value == "42", "a mapper that was started anew has to hold it"
    assert mapper.closed


async def test_a_mapper_that_refuses_says_why(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.register()
    stage.dialled[0].refuses["UpdateDevice"] = "deviceModel not found"
    told = await stage.external.write(LAMP, "level", 5)
    assert (told.state, told.reason) == ("failed", "mapper mine refuses: deviceModel not found")
    stage.dialled[0].away = "no such file"
    told = await stage.external.write(LAMP, "level", 5)
    assert (told.state, told.reason) == ("failed", "mapper mine is away: no such file")


async def test_a_device_that_its_mapper_does_not_take_says_so_and_is_not_told_again(stage: Stage) -> None:
    await stage.register()
    mapper = stage.dialled[0]
    mapper.refuses["RegisterDevice"] = "no such port"
    await stage.put_lamp()
    await stage.until(lambda: stage.state() == ("offline", "mapper mine refuses it: no such port"))
    del mapper.refuses["RegisterDevice"]
    pings = mapper.pings
    await stage.until(lambda: mapper.pings > pings + 2)
    assert not mapper.told("RegisterDevice")
    await stage.put(LAMP, lamp(port=2))
    await stage.until(lambda: mapper.told("RegisterDevice"))


async def test_devices_of_a_dead_mapper_are_offline_and_stale_until_it_reports(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mappers_module, "GRACE_S", 0.0)
    await stage.put_lamp()
    await stage.register()
    await stage.report("7")
    await stage.until(lambda: stage.state()[0] == "online")
    stage.dialled[0].away = "connection refused"
    await stage.until(lambda: stage.state() == ("offline", "mapper mine is away: connection refused"))
    await stage.until(lambda: (held := stage.twin().reported) is not None and held.quality == "stale")
    stage.dialled[0].away = ""
    await stage.report("8")
    await stage.until(lambda: stage.state()[0] == "online")


async def test_a_model_that_its_mapper_does_not_take_is_not_told_again_until_it_changes(stage: Stage) -> None:
    await stage.register()
    mapper = stage.dialled[0]
    mapper.refuses["CreateDeviceModel"] = "too many"
    await stage.put_lamp()
    await stage.until(lambda: stage.state() == ("offline", "mapper mine refuses it: too many"))
    del mapper.refuses["CreateDeviceModel"]
    pings = mapper.pings
    await stage.until(lambda: mapper.pings > pings + 2)
    assert mapper.heard == []
    changed = model()
    changed["spec"]["properties"][0]["maximum"] = "90"  # type: ignore[index, call-overload]
    await stage.put(MODEL, changed)
    await stage.until(lambda: [name for name, _ in mapper.heard] == ["CreateDeviceModel", "RegisterDevice"])


async def test_whatever_a_mapper_makes_of_the_protocol_the_others_are_served(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mappers_module, "GRACE_S", 0.0)
    await stage.put_lamp()
    await stage.put_lamp(name="other", protocol="zwave")
    await stage.register()
    await stage.register(protocol="zwave", name="sound")
    stage.dialled[0].breaks = RuntimeError("a frame that nobody foresaw")
    await stage.until(lambda: "is away: RuntimeError" in stage.external.health()[0].reason)
    await stage.report("7", device="other")
    await stage.until(lambda: stage.state("other")[0] == "online")


async def test_a_full_disk_is_no_fault_of_the_mapper(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappers_module, "GRACE_S", 0.0)
    await stage.put_lamp()
    await stage.register(with_data=False)
    stage.failing.fail_writes_with = UnavailableError("the disk is full")
    pings = stage.dialled[0].pings
    await stage.until(lambda: stage.dialled[0].pings > pings + 3)
    stage.failing.fail_writes_with = None
    assert "away" not in stage.external.health()[0].reason


async def test_the_broker_of_others_says_nothing_of_a_mappers_devices(stage: Stage) -> None:
    await stage.put_lamp()
    await stage.register()
    await stage.report("7")
    stage.external.lose("the broker is away")
    assert stage.external.health()[0].online


async def test_an_agent_that_was_started_anew_finds_its_mappers_and_tells_what_changed() -> None:
    stage = Stage()
    async with stage.alive():
        await stage.put_lamp()
        await stage.register()
        await stage.until(lambda: stage.dialled[0].pings)
    stage.begin()
    async with stage.alive():
        await stage.until(lambda: len(stage.dialled) == 2 and stage.dialled[1].pings > 1)
        assert stage.dialled[1].path == "/run/mine.sock" and stage.dialled[1].heard == []
        await stage.report("7")
        await stage.put(LAMP, lamp(channel=3))
        await stage.until(lambda: stage.dialled[1].told("UpdateDevice"))


async def test_a_store_that_is_full_keeps_a_mapper_from_registering(stage: Stage) -> None:
    stage.failing.fail_writes_with = UnavailableError("the disk is full")
    with pytest.raises(UnavailableError):
        await stage.register()
    assert stage.dialled[0].heard == []
    stage.failing.fail_writes_with = None
    await stage.register()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"name": ""}, InvalidError, "mapper.name"),
        ({"protocol": ""}, InvalidError, "mapper.protocol"),
        ({"protocol": "x" * 300}, InvalidError, "mapper.protocol"),
        ({"version": "x" * 300}, InvalidError, "mapper.version"),
        ({"address": b"mine.sock"}, InvalidError, "mapper.address"),
        ({"address": b"/" + b"x" * 200}, InvalidError, "mapper.address"),
        ({"protocol": "Modbus"}, ConflictError, "the gateway itself speaks Modbus"),
    ],
)
async def test_a_mapper_that_makes_no_sense_is_refused(
    stage: Stage, given: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await stage.register(**given)
    with pytest.raises(InvalidError, match="mapper: required"):
        await stage.mappers.register(messages.MapperRegisterRequest())


async def test_there_is_room_for_so_many_mappers(stage: Stage) -> None:
    for number in range(MAPPERS_MAX):
        await stage.register(protocol=f"p{number}")
    with pytest.raises(ConflictError, match="registered here already"):
        await stage.register(protocol="one-more")
    await stage.register(protocol="p0", address=b"unix:///run/other.sock")
    assert stage.dialled[-1].path == "/run/other.sock"
