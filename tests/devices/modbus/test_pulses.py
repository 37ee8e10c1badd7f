"""Pulses on real sockets: what began ends, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from devices.bus import LineSettings
from devices.modbus.driver import ModbusDriver
from devices.modbus.guards import NOTE
from devices.port import DeviceConfig, PropertyConfig
from devices.schedule import BreakerSettings
from skerry.clocks import SeededIds, SystemClock
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.devices.raw_slave import Slave, running, until

pytestmark = pytest.mark.system

GATE = Key("devices.devices.kubeedge.io", "default", "gate")
PATIENT = LineSettings(breaker=BreakerSettings(silences_max=10**9))


class Kept:
    """Notes that outlive drivers, or can't be written."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.history: list[str] = []
        self.full = False

    def read(self, name: str) -> str:
        return self.texts.get(name, "")

    async def write(self, name: str, text: str) -> None:
        if self.full:
            raise UnavailableError("the disk is full")
        if name == NOTE:
            self.history.append(text)
        self.texts[name] = text


def gate(slave: Slave, *, ms: int = 50, **more: object) -> DeviceConfig:
    visitor: JsonObject = {"address": "co:3", "pulse": {"milliseconds": ms}, **more}  # pyright: ignore
    door = PropertyConfig(
        name="door", type="BOOLEAN", writable=True, unit="", minimum=None, maximum=None, collect_ms=60_000,
        visitor=visitor,
    )  # fmt: skip
    config: JsonObject = {"tcp": {"ip": "127.0.0.1", "port": slave.port}, "timeoutMs": 200}
    return DeviceConfig(device=GATE, protocol="modbus", protocol_config=config, properties=(door,))


@asynccontextmanager
async def driving(config: DeviceConfig, notes: Kept) -> AsyncGenerator[ModbusDriver]:
    driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1), settings=PATIENT, notes=notes)
    assert await driver.configure([config]) == []
    task = asyncio.create_task(driver.run())
    try:
        yield driver
    finally:
        await driver.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def writes(slave: Slave) -> list[tuple[int, int, int]]:
    """(function, address, value) of each."""
    return [
        (one[7], int.from_bytes(one[8:10], "big"), int.from_bytes(one[10:12], "big"))
        for one in slave.requests
        if one[7] in (5, 6)
    ]


async def test_a_pulse_is_written_and_written_back_with_its_keys_before_each() -> None:
    notes = Kept()
    async with running(Slave()) as slave:
        config = gate(slave, unlock=[{"address": "hr:100", "value": 7}])
        async with driving(config, notes) as driver:
            begun_s = asyncio.get_running_loop().time()
            result = await driver.write(GATE, "door", True)
            assert asyncio.get_running_loop().time() - begun_s >= 0.05
            assert (result.state, result.reason) == ("applied", "for 0.05 s, then back to false")
            assert result.read_back is not None and result.read_back.value is False
            assert (await driver.write(GATE, "door", False)).state == "verified"
    assert writes(slave) == [(6, 100, 7), (5, 3, 0xFF00), (6, 100, 7), (5, 3, 0), (6, 100, 7), (5, 3, 0)]
    assert notes.history == ['{"default/gate":["door"]}', "{}"]


async def test_an_agent_that_dies_in_between_leaves_the_end_to_the_next() -> None:
    notes = Kept()
    async with running(Slave()) as slave:
        config = gate(slave, ms=60_000)
        async with driving(config, notes) as driver:
            task = asyncio.create_task(driver.write(GATE, "door", True))
            await until(lambda: slave.coils.get((1, 3), False))
            task.cancel()
        assert slave.coils[1, 3], "it ended in the middle of it"
        async with driving(config, notes):
            await until(lambda: not slave.coils[1, 3])
            await until(lambda: notes.texts[NOTE] == "{}")


async def test_what_can_t_be_taken_back_is_tried_until_it_can() -> None:
    dead = False

    def twist(request: bytes, frame: bytes) -> bytes | None:
        return None if dead and request[7] == 5 else frame

    notes = Kept()
    async with running(Slave(twist=twist)) as slave, driving(gate(slave), notes) as driver:
        task = asyncio.create_task(driver.write(GATE, "door", True))
        await until(lambda: bool(writes(slave)))
        dead = True
        result = await task
        assert result.state == "refused" and "not taken back, which is tried until it is" in result.reason
        again = await driver.write(GATE, "door", True)
        assert (again.state, again.reason) == ("failed", "door is being taken back still")
        await until(lambda: len(writes(slave)) >= 4)
        dead = False
        await until(lambda: notes.texts[NOTE] == "{}")
    assert {value for _, _, value in writes(slave)[1:]} == {0}


class Sticky(Slave):
    """Takes what is to end a pulse, and goes on until it is free."""

    free = False
    wanted_off = 0

    def answer(self, request: bytes) -> bytes | None:
        answer = super().answer(request)
        if request[7] == 5 and request[10] == 0:
            self.wanted_off += 1
            if not self.free:
                self.coils[1, 3] = True
        return answer


async def test_a_device_that_still_shows_the_pulse_after_it_took_its_end_is_told_again_until_it_ends() -> None:
    notes, slave = Kept(), Sticky()
    async with running(slave), driving(gate(slave), notes) as driver:
        result = await driver.write(GATE, "door", True)
        assert result.state == "refused" and "not taken back, which is tried until it is" in result.reason
        assert "the device holds true after false was written" in result.reason
        await until(lambda: slave.wanted_off >= 3)
        assert notes.texts[NOTE] == '{"default/gate":["door"]}', "an agent after this one goes on with it"
        slave.free = True
        await until(lambda: notes.texts[NOTE] == "{}")
        assert slave.coils[1, 3] is False


async def test_a_device_that_refuses_the_end_of_a_pulse_is_told_again_until_it_takes_it() -> None:
    notes, slave = Kept(), Slave()
    async with running(slave), driving(gate(slave, ms=200), notes) as driver:
        task = asyncio.create_task(driver.write(GATE, "door", True))
        await until(lambda: slave.coils.get((1, 3), False))
        slave.illegal = frozenset({3})
        result = await task
        assert result.state == "refused" and "exception 2" in result.reason
        await until(lambda: len(writes(slave)) >= 4)
        slave.illegal = frozenset()
        await until(lambda: notes.texts[NOTE] == "{}")
        assert slave.coils[1, 3] is False


async def test_a_pulse_without_an_answer_is_taken_back_at_once_and_not_given_twice() -> None:
    slave = Slave(twist=lambda request, frame: None if request[10] == 0xFF else frame)
    async with running(slave), driving(gate(slave, ms=60_000), Kept()) as driver:
        result = await driver.write(GATE, "door", True)
        assert result.state == "refused" and "a pulse is not given twice: unit 1 is silent" in result.reason
        await until(lambda: writes(slave) == [(5, 3, 0xFF00), (5, 3, 0)])


async def test_nothing_is_begun_that_can_t_be_noted_and_a_refusal_leaves_nothing_to_take_back() -> None:
    notes = Kept()
    async with running(Slave()) as slave, driving(gate(slave), notes) as driver:
        notes.full = True
        result = await driver.write(GATE, "door", True)
        assert (result.state, result.reason) == ("failed", "the disk is full") and not writes(slave)
        notes.full = False
        slave.illegal = frozenset({3})
        assert (await driver.write(GATE, "door", True)).state == "refused"
        assert notes.texts[NOTE] == "{}"
    assert writes(slave) == [(5, 3, 0xFF00)]


async def test_a_driver_that_is_started_again_ends_what_it_had_begun() -> None:
    async with running(Slave()) as slave:
        driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1), settings=PATIENT, notes=Kept())
        assert await driver.configure([gate(slave, ms=500)]) == []
        first = asyncio.create_task(driver.run())
        write = asyncio.create_task(driver.write(GATE, "door", True))
        await until(lambda: slave.coils.get((1, 3), False))
        await until(lambda: bool(driver._pulses._ending))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(driver.run())
        assert (await write).state == "applied" and not slave.coils[1, 3]
        await driver.close()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
