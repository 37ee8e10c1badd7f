"""What goes wrong with a virtual device, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps

import pytest

from devices.port import DeviceConfig, PropertyConfig, Reading
from devices.virtual.driver import VirtualDriver
from devices.virtual.faults import Moment, faults_in, met
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key
from skerry.testkit.simulated.chance import GatewayClock
from skerry.testkit.simulated.loop import VirtualLoop

DEVICE = Key("devices.devices.kubeedge.io", "default", "one")


def prop(name: str, visitor: JsonObject, type: str = "DOUBLE", *, writable: bool = False) -> PropertyConfig:
    return PropertyConfig(
        name=name,
        type=type,
        writable=writable,
        unit="",
        minimum=None,
        maximum=100.0,
        collect_ms=1000,
        visitor=visitor,
    )


LEVEL = prop("level", {"initial": 10})
NAME = prop("name", {"initial": "a"}, "STRING")
SETPOINT = prop("setpoint", {"initial": 20}, writable=True)


def config(
    *faults: Json, seed: int = 0, properties: tuple[PropertyConfig, ...] = (LEVEL, NAME, SETPOINT)
) -> DeviceConfig:
    return DeviceConfig(
        device=DEVICE,
        protocol="virtual",
        protocol_config={"faults": [*faults], "seed": seed},
        properties=properties,
    )


class Device:
    """A driver and its time, which passes as far as somebody waits."""

    def __init__(self, made: DeviceConfig) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.clock = GatewayClock(loop)
        self.driver = VirtualDriver(clock=self.clock)
        self.made = made

    async def __aenter__(self) -> Device:
        assert list(await self.driver.configure([self.made])) == []
        self._task = asyncio.create_task(self.driver.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.driver.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def read(self, name: str = "level") -> Reading:
        return await self.driver.read(DEVICE, name)

    async def polled(self, count: int) -> list[Reading]:
        """So many readings of `level` that the driver makes by itself."""
        taken: list[Reading] = []
        async for reading in self.driver.readings():
            taken += [reading] if reading.prop == "level" else []
            if len(taken) == count:
                break
        return taken


def in_virtual_time(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """Minutes pass at once."""

    @wraps(test)
    def run() -> None:
        loop = VirtualLoop()
        try:
            loop.do(test())
        finally:
            loop.close()

    del run.__wrapped__  # pytest must not see that it was a coroutine
    return run


@in_virtual_time
async def test_a_device_is_offline_in_its_windows_and_says_so() -> None:
    fault: JsonObject = {"fault": "offline", "afterS": 10, "forS": 5, "everyS": 60}
    seen: list[tuple[int, bool]] = []
    async with Device(config(fault)) as device:
        for second in range(140):
            reading = await device.read()
            (health,) = device.driver.health()
            assert health.online == (reading.value is not None)
            if not health.online:
                assert reading.reason == health.reason == "the device is offline"
                written = await device.driver.write(DEVICE, "setpoint", 5.0)
                assert (written.state, written.reason) == ("failed", "the device is offline")
                seen.append((second, health.online))
            await asyncio.sleep(1)
    assert [second for second, _ in seen] == [*range(10, 15), *range(70, 75), *range(130, 135)]


@in_virtual_time
async def test_a_share_of_answers_is_missing_and_the_device_is_there_all_the_same() -> None:
    made = config({"fault": "offline", "share": "30%"}, seed=5)
    async with Device(made) as device:
        missing = sum(reading.value is None for reading in await device.polled(400))
        assert 80 < missing < 160
        assert device.driver.health()[0].online


@in_virtual_time
async def test_a_device_that_is_stuck_shows_what_it_had_and_its_writes_do_not_hold() -> None:
    moving = prop("level", {"signal": {"kind": "ramp", "from": 0, "to": 100, "overS": 100}})
    made = config({"fault": "stuck", "afterS": 10, "forS": 20}, properties=(moving, SETPOINT))
    async with Device(made) as device:
        seen: list[object] = []
        for _ in range(4):
            seen.append((await device.read()).value)
            await asyncio.sleep(10)
        assert seen == [0, 10, 10, 30]
    async with Device(made) as device:
        await asyncio.sleep(15)
        result = await device.driver.write(DEVICE, "setpoint", 50.0)
        assert (result.state, result.reason) == ("failed", "read back 20.0 in place of 50.0")
        await asyncio.sleep(20)
        assert (await device.read("setpoint")).value == 50.0


@in_virtual_time
async def test_values_are_doubted_missing_noisy_or_far_out_as_planned() -> None:
    async with Device(config({"fault": "uncertain", "properties": ["name"], "reason": "warming up"})) as device:
        assert ((await device.read("name")).quality, (await device.read("name")).reason) == (
            "uncertain",
            "warming up",
        )
        assert (await device.read()).quality == "good"
    async with Device(config({"fault": "bad", "reason": "broken wire"})) as device:
        reading = await device.read()
        assert (reading.value, reading.quality, reading.reason) == (None, "bad", "broken wire")
    async with Device(config({"fault": "spike", "amount": 500})) as device:
        reading = await device.read()
        assert (reading.value, reading.quality, reading.reason) == (510.0, "uncertain", "above the maximum of 100")
    async with Device(config({"fault": "noise", "amount": 2}, seed=3)) as device:
        drawn = [float(str(reading.value)) for reading in await device.polled(400)]
        mean = sum(drawn) / len(drawn)
        deviation = (sum((value - mean) ** 2 for value in drawn) / len(drawn)) ** 0.5
        assert 9.5 < mean < 10.5 and 1.7 < deviation < 2.3


@in_virtual_time
async def test_the_same_seed_gives_the_same_values() -> None:
    async def run(seed: int) -> list[object]:
        made = config({"fault": "noise", "amount": 2}, {"fault": "offline", "share": "20%"}, seed=seed)
        async with Device(made) as device:
            return [reading.value for reading in await device.polled(50)]

    assert await run(4) == await run(4)
    assert await run(4) != await run(5)


@in_virtual_time
async def test_late_answers_come_later_with_the_time_of_their_reading() -> None:
    made = config({"fault": "late", "byMs": 2500}, properties=(LEVEL,))
    async with Device(made) as device:
        reading = (await device.polled(3))[-1]
        assert reading.value == 10.0
        assert device.clock.wall_ms() - reading.source_ms == 2500


@in_virtual_time
async def test_writes_are_refused_fail_or_are_not_heeded_as_planned() -> None:
    async with Device(config({"fault": "refuse", "reason": "locked"})) as device:
        result = await device.driver.write(DEVICE, "setpoint", 5.0)
        assert (result.state, result.reason) == ("refused", "locked")
    async with Device(config({"fault": "fail"})) as device:
        assert (await device.driver.write(DEVICE, "setpoint", 5.0)).state == "failed"
    async with Device(config({"fault": "ignore", "properties": ["setpoint"]})) as device:
        result = await device.driver.write(DEVICE, "setpoint", 5.0)
        assert (result.state, result.reason) == ("failed", "read back 20.0 in place of 5.0")
        assert device.driver.writes == []
    async with Device(config({"fault": "slow", "byMs": 20})) as device:
        writing = asyncio.create_task(device.driver.write(DEVICE, "setpoint", 5.0))
        await asyncio.sleep(0)
        assert not writing.done() and device.driver.writes == []
        assert (await writing).state == "verified"


@in_virtual_time
async def test_time_goes_on_when_another_property_changes_and_begins_anew_with_other_faults() -> None:
    fault: JsonObject = {"fault": "offline", "afterS": 10}
    async with Device(config(fault)) as device:
        await asyncio.sleep(12)
        await device.driver.configure([config(fault, properties=(LEVEL, prop("name", {"initial": "b"}, "STRING")))])
        assert (await device.read()).value is None
        await device.driver.configure([config({"fault": "offline", "afterS": 11})])
        assert (await device.read()).value == 10.0


@in_virtual_time
async def test_why_names_the_signal_and_the_faults() -> None:
    signal: JsonObject = {"kind": "sine", "mean": 50, "amplitude": 10, "periodS": 60}
    made = config({"fault": "spike", "amount": 1}, properties=(prop("level", {"signal": signal}),))
    async with Device(made) as device:
        await asyncio.sleep(15)
        await device.read()
        told = device.driver.explain(DEVICE, "level")
        assert told is not None
        assert [(step.name, step.says) for step in told.steps] == [
            ("signal", "sine, 15.000 s after its start"),
            ("fault", "spike"),
            ("value", "61.0 (DOUBLE)"),
        ]


class RacingClock:
    """A second passes with every look: there is always more to read than there is time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def wall_ms(self) -> int:
        return round(self.now_s * 1000)


async def test_a_driver_with_more_to_read_than_there_is_time_leaves_the_others_theirs() -> None:
    driver = VirtualDriver(clock=RacingClock())
    assert list(await driver.configure([config()])) == []
    running = asyncio.create_task(driver.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done(), "and so it goes on"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await driver.close()


def test_a_share_of_nothing_and_of_all() -> None:
    for share, expected in (("0%", 0), ("100%", 50)):
        faults = faults_in({"faults": [{"fault": "bad", "share": share}]}, [LEVEL], "here")
        moments = [Moment(seed=0, prop="level", count=count, elapsed_s=0) for count in range(50)]
        assert sum(bool(met(faults, moment)) for moment in moments) == expected


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ("offline", "here.faults: must be a list"),
        (["offline"], "here.faults[0]: must be an object"),
        ([{"fault": "off"}], "here.faults[0].fault: 'off' is not one of offline, late"),
        ([{"fault": "late"}], "here.faults[0].byMs: required"),
        ([{"fault": "offline", "for": 5}], "did you mean forS"),
        ([{"fault": "offline", "everyS": 5}], "here.faults[0].forS: required with everyS"),
        ([{"fault": "offline", "everyS": 5, "forS": 6}], "must be shorter than everyS"),
        ([{"fault": "bad", "share": 0.5}], "no share: write one such as 8%"),
        ([{"fault": "bad", "share": "800%"}], "no share"),
        ([{"fault": "stuck", "share": "8%"}], "stuck for a time"),
        ([{"fault": "bad", "properties": ["levle"]}], "the device has no property 'levle'"),
        ([{"fault": "noise", "amount": 1, "properties": ["name"]}], "name can't meet noise"),
    ],
)
def test_a_mistake_names_the_field(faults: Json, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        faults_in({"faults": faults}, [LEVEL, NAME], "here")
    assert said in str(caught.value)
