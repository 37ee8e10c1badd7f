"""Scanning a line in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from devices.bus import ExceptionAnswerError, Request, SilentError
from devices.modbus.pdu import DataAsk, encode_request
from devices.modbus.scan import FoundUnit, joined, scan_places, scan_units
from devices.modbus.slave import Memory, Slave
from devices.plan import Range


@dataclass
class PlayedWire:
    slave: Slave
    asked: list[Request] = field(default_factory=list)
    resets: int = 0

    async def ready(self) -> None:
        pass

    async def transact(self, request: Request) -> tuple[int, ...]:
        self.asked.append(request)
        answer = self.slave.answer(request.unit, encode_request(request))
        if answer is None:
            raise SilentError(f"unit {request.unit} is silent")
        return DataAsk(request).decode(answer)

    async def identify(self, unit: int) -> Mapping[int, bytes]:
        if unit == 9:
            raise ExceptionAnswerError(1)
        return self.slave.identity

    async def reset(self) -> None:
        self.resets += 1

    async def close(self) -> None:
        pass


def places(*ranges: range) -> Memory:
    memory = Memory()
    for one in ranges:
        memory.set("holding", one.start, list(one))
    return memory


async def test_units_that_answer_are_found_whatever_they_say() -> None:
    wire = PlayedWire(Slave(units={2: places(range(5)), 9: places(range(100, 101))}))
    found = [one async for one in scan_units(wire, range(1, 11))]
    units = [one for one in found if isinstance(one, FoundUnit)]
    assert [(one.unit, one.said) for one in units] == [(2, "hr:0 = 0"), (9, "exception 2: illegal data address")]
    assert units[0].identity[0] == b"Skerry" and units[1].identity == {}
    assert wire.resets == 8, "after each silence the line is quiet"


async def test_places_are_found_by_halving() -> None:
    wire = PlayedWire(Slave(units={1: places(range(10), range(300, 365), range(999, 1000))}))
    found = await scan_places(wire, 1, "holding", first=0, last=999)
    assert [(one.first, one.last) for one in found] == [(0, 9), (300, 364), (999, 999)]
    assert len(wire.asked) < 1.25 * 1000


def test_places_are_joined_to_ranges() -> None:
    assert joined("coil", [1, 2, 3, 7]) == [
        Range(table="coil", first=1, last=3), Range(table="coil", first=7, last=7),
    ]  # fmt: skip
