"""A Modbus slave that is played: what its units hold, and what they answer to a request.

Pure. It answers as the specification has it (Modbus Application Protocol 1.1b3, 6 and 7); what goes wrong on purpose
is `devices.modbus.faults`. Units that are not there are silent, as on a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from devices.bus import ExceptionAnswerError, Request
from devices.modbus.pdu import (
    IDENTIFY,
    Query,
    decode_request,
    encode_answer,
    encode_exception,
    encode_identification,
)
from devices.plan import Table

READS: Final[dict[int, Table]] = {1: "coil", 2: "discrete", 3: "holding", 4: "input", 23: "holding"}
WRITES: Final[dict[int, Table]] = {5: "coil", 15: "coil", 6: "holding", 16: "holding", 22: "holding", 23: "holding"}


@dataclass(kw_only=True)
class Memory:
    """The four tables of one unit. Places that were never set do not exist, unless `anywhere`."""

    anywhere: bool = False
    tables: dict[Table, dict[int, int]] = field(default_factory=dict[Table, dict[int, int]])

    def set(self, table: Table, address: int, values: Sequence[int]) -> None:
        places = self.tables.setdefault(table, {})
        for at, value in enumerate(values):
            places[address + at] = value

    def get(self, table: Table, address: int, count: int) -> tuple[int, ...]:
        """Raises `ExceptionAnswerError` (2) for a place that does not exist."""
        places = self.tables.get(table, {})
        try:
            return tuple(places.get(at, 0) if self.anywhere else places[at] for at in range(address, address + count))
        except KeyError as error:
            raise ExceptionAnswerError(2) from error


@dataclass(kw_only=True)
class Slave:
    """Units by number."""

    units: dict[int, Memory]
    identity: Mapping[int, bytes] = field(default_factory=lambda: {0: b"Skerry", 1: b"simulated", 2: b"1"})
    written: Callable[[Request], object] = lambda _: None
    """Told of each write that was carried out."""

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """The answer to one request; None where nobody answers: no such unit, or all of them (unit 0)."""
        if unit == 0:
            for memory in self.units.values():
                self._answer(memory, unit, pdu)
            return None
        memory = self.units.get(unit)
        return None if memory is None else self._answer(memory, unit, pdu)

    def _answer(self, memory: Memory, unit: int, pdu: bytes) -> bytes:
        try:
            request = decode_request(unit, pdu)
            if isinstance(request, Query):
                return self._query(request)
            return encode_answer(request, self._carry_out(memory, request))
        except ExceptionAnswerError as error:
            return encode_exception(pdu[0], error.code)

    def _query(self, query: Query) -> bytes:
        if query.function != IDENTIFY:
            return bytes((query.function,)) + query.data
        level, first = query.data[1], query.data[2]
        if query.data[0] != 14 or not 1 <= level <= 4:
            raise ExceptionAnswerError(3)
        if level == 4:
            if first not in self.identity:
                raise ExceptionAnswerError(2)
            return encode_identification(level, {first: self.identity[first]})
        highest = 2 if level == 1 else 0x7F if level == 2 else 0xFF
        return encode_identification(
            level, {number: text for number, text in self.identity.items() if first <= number <= highest}
        )

    def _carry_out(self, memory: Memory, request: Request) -> tuple[int, ...]:
        table = WRITES.get(request.function)
        if table is not None:
            at = request.write_address if request.function == 23 else request.address
            values = request.values
            if request.function == 22:
                (held,) = memory.get(table, at, 1)
                keep, add = values
                values = (held & keep | add & ~keep & 0xFFFF,)
            memory.get(table, at, len(values))  # all of the places exist, or nothing is written
            memory.set(table, at, values)
            self.written(request)
        source = READS.get(request.function)
        return memory.get(source, request.address, request.count) if source else ()
