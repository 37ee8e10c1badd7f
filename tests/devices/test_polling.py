"""Devices that are asked, in virtual time: cycles, silence, reading back, and what goes wrong in their code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import wraps

import pytest

from devices.polling import LeftAloneError, PollingDriver, Sample
from devices.port import DeviceConfig, PropertyConfig, Reading, Rehearsal, Step, WriteResult
from skerry.clocks import SeededIds
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Value, format_value
from skerry.testkit.simulated.chance import GatewayClock
from skerry.testkit.simulated.loop import VirtualLoop

DEVICE = Key("devices.devices.kubeedge.io", "default", "one")


def prop(name: str, *, collect_ms: int = 1000, writable: bool = False) -> PropertyConfig:
    return PropertyConfig(
        name=name,
        type="INT",
        writable=writable,
        unit="",
        minimum=None,
        maximum=90,
        collect_ms=collect_ms,
        visitor={},
    )


def config(*properties: PropertyConfig, name: str = "one", **data: int) -> DeviceConfig:
    return DeviceConfig(
        device=Key(DEVICE.resource, "default", name), protocol="x", protocol_config={**data}, properties=properties
    )


class Played:
    """A `PolledDevice` that holds what the test puts there."""

    def __init__(self, made: DeviceConfig) -> None:
        if "nonsense" in made.protocol_config:
            raise InvalidError("spec.protocol.configData.nonsense: unknown field")
        self.made = made
        self.held: dict[str, Value] = {each.name: 7 for each in made.properties}
        self.asked: list[tuple[float, tuple[str, ...]]] = []
        self.sent: list[tuple[str, Value, bool]] = []
        self.fails: Exception | None = None
        self.answer: WriteResult = WriteResult(state="applied", reason="", read_back=None)
        self.heeds = True
        self.takes_s = 0.0
        self.closed = 0

    async def read(self, names: Sequence[str]) -> Mapping[str, Sample]:
        self.asked.append((asyncio.get_running_loop().time(), tuple(names)))
        await asyncio.sleep(self.takes_s)
        if self.fails is not None:
            raise self.fails
        return {name: Sample(value=self.held[name]) for name in names if name in self.held}

    async def write(self, name: str, value: Value, *, once: bool) -> WriteResult:
        if self.fails is not None:
            raise self.fails
        self.sent.append((name, value, once))
        if self.heeds:
            self.held[name] = value
        return self.answer

    def readable(self, name: str) -> bool:
        return name != "blind"

    def place(self, name: str) -> str:
        return f"place of {name}"

    def explained(self, name: str) -> tuple[JsonObject, tuple[Step, ...]]:
        return ({"raw": 1}, (Step(name="raw", says="1"),)) if self.asked else ({}, ())

    def rehearse(self, name: str, value: Value) -> Rehearsal:
        refusal = "odd" if value == 13 else ""
        return Rehearsal(
            place="", requests=(), steps=(Step(name="value", says=format_value(value)),), refusal=refusal
        )

    async def close(self) -> None:
        self.closed += 1


class Stage:
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.made: list[Played] = []
        self.driver = PollingDriver(self._open, clock=GatewayClock(loop), ids=SeededIds(1))
        self.readings: list[Reading] = []

    def _open(self, made: DeviceConfig) -> Played:
        self.made.append(Played(made))
        return self.made[-1]

    @property
    def device(self) -> Played:
        return self.made[-1]

    async def listen(self) -> None:
        async for reading in self.driver.readings():
            self.readings.append(reading)

    def of(self, name: str) -> list[Reading]:
        return [reading for reading in self.readings if reading.prop == name]


@asynccontextmanager
async def staged(*made: DeviceConfig) -> AsyncGenerator[Stage]:
    stage = Stage()
    assert list(await stage.driver.configure(made)) == []
    tasks = [asyncio.create_task(stage.driver.run()), asyncio.create_task(stage.listen())]
    try:
        yield stage
    finally:
        await stage.driver.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(each.closed for each in stage.made if each.asked), "whoever was asked is let go of"


def in_virtual_time(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """Minutes pass at once."""

    @wraps(test)
    def run() -> None:
        loop = VirtualLoop()
        try:
            loop.do(test())
        finally:
            loop.close()

    del run.__wrapped__
    return run


@in_virtual_time
async def test_properties_of_one_cycle_are_read_together_and_each_in_its_own_rhythm() -> None:
    async with staged(config(prop("a"), prop("b"), prop("slow", collect_ms=10_000), prop("blind"))) as stage:
        await asyncio.sleep(60.5)
        together = [names for _, names in stage.device.asked if "a" in names]
        slow = [names for _, names in stage.device.asked if "slow" in names]
        assert set(together) == {("a", "b")} and set(slow) == {("slow",)}
        assert 59 <= len(together) <= 61 and 6 <= len(slow) <= 7
        assert stage.of("a")[0].value == 7 and stage.of("blind") == []


@in_virtual_time
async def test_a_slow_device_skips_cycles_and_dates_values_by_the_middle() -> None:
    async with staged(config(prop("a"))) as stage:
        stage.device.takes_s = 3.5
        await asyncio.sleep(40)
        assert 9 <= len(stage.device.asked) <= 12
        reading = stage.of("a")[0]
        begun_s = stage.device.asked[0][0]
        assert reading.monotonic_s == pytest.approx(stage.driver._clock.monotonic_s() - 40 + begun_s + 1.75, abs=0.01)


@in_virtual_time
async def test_a_silent_device_is_asked_ever_less_and_told_offline_until_it_answers() -> None:
    async with staged(config(prop("a"))) as stage:
        stage.device.fails = UnavailableError("no answer")
        await asyncio.sleep(300)
        assert len(stage.device.asked) < 15
        reasons = {reading.reason.split(";")[0] for reading in stage.of("a")}
        assert reasons == {"no answer"} and len(stage.of("a")) > 250
        assert [(each.online, each.reason) for each in stage.driver.health()] == [(False, "no answer")]
        assert "it is asked again in" in (await stage.driver.read(DEVICE, "a")).reason
        stage.device.fails = None
        await asyncio.sleep(70)
        assert stage.of("a")[-1].value == 7 and stage.driver.health()[0].online
        told = stage.driver.explain(DEVICE, "a")
        assert told is not None and told.error.startswith("no answer") and told.error_ms


@in_virtual_time
async def test_a_device_that_wants_to_be_left_alone_is_not_offline() -> None:
    async with staged(config(prop("a"))) as stage:
        stage.device.fails = LeftAloneError("busy")
        await asyncio.sleep(30)
        assert len(stage.device.asked) >= 29, "it says itself how long"
        assert stage.driver.health()[0].online and stage.of("a")[-1].reason == "busy"


@in_virtual_time
async def test_what_is_written_is_read_back() -> None:
    async with staged(config(prop("a", writable=True), prop("blind", writable=True), prop("fixed"))) as stage:
        result = await stage.driver.write(DEVICE, "a", 42)
        assert (result.state, result.read_back and result.read_back.value) == ("verified", 42)
        assert (await stage.driver.write(DEVICE, "a", 43, once=True)).state == "verified"
        assert stage.device.sent == [("a", 42, False), ("a", 43, True)]
        assert (await stage.driver.write(DEVICE, "blind", 1)).state == "applied"
        stage.device.heeds = False
        result = await stage.driver.write(DEVICE, "a", 5)
        assert (result.state, result.reason) == ("failed", "read back 43 in place of 5")
        del stage.device.held["a"]
        result = await stage.driver.write(DEVICE, "a", 5)
        assert (result.state, "can't be read back: the answer says nothing" in result.reason) == ("applied", True)


@in_virtual_time
async def test_what_is_refused_is_not_sent() -> None:
    async with staged(config(prop("a", writable=True), prop("fixed"))) as stage:
        for name, value, reason in (("a", 13, "odd"), ("fixed", 1, "fixed is read-only")):
            result = await stage.driver.write(DEVICE, name, value)
            rehearsed = stage.driver.rehearse(DEVICE, name, value)
            assert (result.state, result.reason) == ("refused", reason)
            assert rehearsed is not None and rehearsed.refusal == reason
        assert stage.device.sent == []
        stage.device.answer = WriteResult(state="failed", reason="warming up", read_back=None)
        assert (await stage.driver.write(DEVICE, "a", 1)).reason == "warming up"
        stage.device.fails = UnavailableError("no answer")
        result = await stage.driver.write(DEVICE, "a", 1)
        assert (result.state, result.reason) == ("failed", "no answer")
        assert not stage.driver.health()[0].online


@in_virtual_time
async def test_a_write_waits_for_its_turn_and_not_for_ever() -> None:
    async with staged(config(prop("a", writable=True))) as stage:
        stage.device.takes_s = 300
        await asyncio.sleep(2)
        result = await stage.driver.write(DEVICE, "a", 1)
        assert (result.state, result.reason) == ("failed", "its turn did not come within 120 s")
        assert "its turn did not come" in (await stage.driver.read(DEVICE, "a")).reason


@in_virtual_time
async def test_a_fault_in_the_code_of_one_device_is_told_and_leaves_the_others_alone() -> None:
    async with staged(config(prop("a")), config(prop("a"), name="two")) as stage:
        first, second = stage.made
        first.fails = KeyError("x")
        await asyncio.sleep(12)
        ours = [reading for reading in stage.readings if reading.device == DEVICE]
        assert {reading.reason for reading in ours} == {"its driver failed: KeyError"} and len(ours) >= 2
        assert len(second.asked) >= 11
        first.fails = None
        await asyncio.sleep(7)
        assert stage.readings[-1].value == 7 and all(each.online for each in stage.driver.health())


@in_virtual_time
async def test_what_stays_the_same_keeps_its_connection_and_what_changed_gets_another() -> None:
    one, two = config(prop("a")), config(prop("a"), name="two")
    async with staged(one, two) as stage:
        await asyncio.sleep(3)
        first, second = stage.made
        other = config(prop("a"), name="two", port=1)
        assert list(await stage.driver.configure([one, other])) == []
        await asyncio.sleep(3)
        assert len(stage.made) == 3 and (first.closed, second.closed) == (0, 1)
        assert len(first.asked) >= 5 and len(second.asked) <= 4 and stage.made[2].asked
        ((key, reason),) = await stage.driver.configure([one, config(prop("a"), name="two", nonsense=1)])
        assert key.name == "two" and "nonsense" in reason
        await asyncio.sleep(1)
        assert [each.device.name for each in stage.driver.health()] == ["one"]


@in_virtual_time
async def test_why_ends_with_the_value_and_says_when_it_is_asked_next() -> None:
    async with staged(config(prop("a"), prop("blind"))) as stage:
        told = stage.driver.explain(DEVICE, "a")
        assert told is not None and (told.raw, told.steps, told.reading) == ({}, (), None)
        await asyncio.sleep(2)
        told = stage.driver.explain(DEVICE, "a")
        assert told is not None
        assert [(step.name, step.says) for step in told.steps] == [("raw", "1"), ("value", "7 (INT)")]
        assert told.place == "place of a" and told.asked == "every 1 s" and told.next_s is not None
        blind = stage.driver.explain(DEVICE, "blind")
        assert blind is not None and (blind.asked, blind.next_s) == ("it is written only", None)
        stage.device.held["a"] = 100
        await asyncio.sleep(2)
        assert (stage.of("a")[-1].quality, stage.of("a")[-1].reason) == ("uncertain", "above the maximum of 90")
