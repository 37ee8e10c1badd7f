"""Devices that programs of others speak to."""

from __future__ import annotations

import asyncio

import pytest

from devices.external import ExternalDriver, Report
from devices.port import DeviceConfig, PropertyConfig, Reading
from skerry.clocks import SystemClock
from skerry.errors import InvalidError, NotFoundError
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "lamp")


class Program:
    """A face whose program does as it is told, or why it can't be told."""

    def __init__(self, driver: ExternalDriver, *, away: str = "", obeys: bool = True) -> None:
        self._driver = driver
        self.away = away
        self.obeys = obeys

    async def tell(self, device: Key, prop: str, value: str) -> str:
        if not self.away and self.obeys:
            self._driver.report(device, [Report(prop=prop, value=value, source_ms=1)], lambda: None)
        return self.away


async def made(*faces: dict[str, object]) -> ExternalDriver:
    driver = ExternalDriver(clock=SystemClock(), verify_s=0.05)
    level = PropertyConfig(
        name="level", type="INT", writable=True, unit="", minimum=0, maximum=90, collect_ms=10, visitor={"any": 1}
    )
    for face in faces:
        driver.attach(Program(driver, **face))  # type: ignore[arg-type]
    config = DeviceConfig(
        device=KEY, protocol="external", named="zigbee", protocol_config={"any": 2}, properties=(level,)
    )
    assert await driver.configure([config]) == []
    return driver


async def taken(driver: ExternalDriver, count: int) -> list[Reading]:
    out: list[Reading] = []
    async for reading in driver.readings():
        out.append(reading)
        if len(out) == count:
            return out
    raise AssertionError("readings never end by themselves")


async def test_what_came_together_is_stored_together() -> None:
    driver, done = await made(), list[str]()
    reports = [Report(prop="level", value=value, source_ms=7) for value in ("1", "91")]
    driver.report(KEY, reports, lambda: done.append("stored"))
    first, second = await taken(driver, 2)
    assert [(each.value, each.quality, each.source_ms) for each in (first, second)] == [
        (1, "good", 7),
        (91, "uncertain", 7),
    ]
    driver.stored([first.receipt])
    assert done == []
    driver.stored([second.receipt, 99])
    assert done == ["stored"]


async def test_all_reports_are_taken_or_none() -> None:
    driver = await made()
    good = Report(prop="level", value="1", source_ms=7)
    with pytest.raises(InvalidError):
        driver.report(KEY, [good, Report(prop="level", value="warm", source_ms=7)], lambda: None)
    with pytest.raises(NotFoundError):
        driver.report(KEY, [good, Report(prop="power", value="1", source_ms=7)], lambda: None)
    with pytest.raises(NotFoundError):
        driver.say(Key(KEY.resource, "default", "fan"), online=True, reason="")
    assert driver.waiting == 0 and not driver.health()[0].online
    (health,) = driver.health()
    assert health.waiting and health.reason == "waits for a mapper of protocol zigbee"


async def test_a_device_whose_protocol_has_a_mapper_waits_for_none() -> None:
    driver = await made()
    driver.announce("zwave", "other")
    assert driver.health()[0].waiting
    driver.announce("zigbee", "mine")
    (health,) = driver.health()
    assert (health.waiting, health.online, health.reason) == (False, False, "mapper mine has not reported it yet")
    driver.report(KEY, [Report(prop="level", value="1", source_ms=7)], lambda: None)
    assert driver.health()[0].online


async def test_who_owns_a_device_is_told_alone_and_its_word_counts() -> None:
    driver = await made()
    other, owner = Program(driver), Program(driver, away="the mapper is away")
    driver.attach(other)
    driver.attach(owner, lambda device: device == KEY)
    told = await driver.write(KEY, "level", 5)
    assert (told.state, told.reason) == ("failed", "the mapper is away")
    driver.say(KEY, online=True, reason="")
    driver.lose("the broker is away")
    assert driver.health()[0].online


async def test_another_protocol_is_another_device() -> None:
    driver = await made()
    driver.report(KEY, [Report(prop="level", value="1", source_ms=7)], lambda: None)
    await driver.configure(
        [DeviceConfig(device=KEY, protocol="external", named="zwave", protocol_config={}, properties=())]
    )
    assert driver.health()[0].waiting


async def test_a_device_that_is_away_has_no_fresh_values() -> None:
    driver = await made()
    driver.report(KEY, [Report(prop="level", value="1", source_ms=7)], lambda: None)
    assert driver.health()[0].online
    driver.lose("the broker is away")
    driver.lose("the broker is away")
    told = await taken(driver, 2)
    assert (told[1].value, told[1].reason) == (None, "the broker is away")
    assert driver.waiting == 0 and not driver.health()[0].online


@pytest.mark.parametrize(
    ("faces", "state", "reason"),
    [
        ([], "failed", "waits for a mapper of protocol zigbee"),
        ([{"away": "the broker is away"}], "failed", "the broker is away"),
        ([{"away": "the broker is away"}, {}], "verified", ""),
        ([{"obeys": False}], "applied", "told; its app or mapper did not report this value within 0.05 s"),
    ],
)
async def test_a_write_is_verified_by_what_a_program_reports(
    faces: list[dict[str, object]], state: str, reason: str
) -> None:
    driver = await made(*faces)
    told = await driver.write(KEY, "level", 5)
    assert (told.state, told.reason) == (state, reason)
    assert (await driver.write(KEY, "power", 5)).state == "failed"
    assert (await driver.read(KEY, "level")).value is None


async def test_a_device_that_stays_keeps_what_is_known_of_it() -> None:
    driver = await made()
    driver.report(KEY, [Report(prop="level", value="1", source_ms=7)], lambda: None)
    await driver.configure(
        [DeviceConfig(device=KEY, protocol="external", named="zigbee", protocol_config={}, properties=())]
    )
    assert driver.health()[0].online
    driver.lose("away")
    assert driver.waiting == 1, "of properties that are gone nothing is said"
    await asyncio.sleep(0)


async def test_a_value_is_explained_by_what_was_reported_and_a_write_rehearsed() -> None:
    driver = await made()
    before = driver.explain(KEY, "level")
    assert before is not None and before.reading is None
    assert before.error == "waits for a mapper of protocol zigbee"
    driver.report(KEY, [Report(prop="level", value="7", source_ms=1)], lambda: None)
    told = driver.explain(KEY, "level")
    assert told is not None and told.raw == {"value": "7"} and told.reading is not None and told.reading.value == 7
    said = driver.rehearse(KEY, "level", 9)
    assert said is not None and said.requests == ({"value": "9"},) and not said.refusal
    assert driver.explain(KEY, "nothing") is None and driver.rehearse(KEY, "nothing", 1) is None
