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
    OBJECT_BYTES_MAX,
    Query,
    decode_request,
    encode_answer,
    encode_echo,
    encode_exception,
    encode_identification,
)
from devices.plan import Table

READS: Final[dict[int, Table]] = {1: "coil", 2: "discrete", 3: "holding", 4: "input", 23: "holding"}
WRITES: Final[dict[int, Table]] = {5: "coil", 15: "coil", 6: "holding", 16: "holding", 22: "holding", 23: "holding"}

_HIGHEST: Final = {1: 2, 2: 0x7F, 3: 0xFF}
"""Objects of an identification: basic, regular, extended (6.21)."""


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

    def __post_init__(self) -> None:
        assert all(len(text) <= OBJECT_BYTES_MAX for text in self.identity.values()), "an object fits into an answer"

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
            return encode_echo(query)
        level, first = query.level, query.first
        if not 1 <= level <= 4:
            raise ExceptionAnswerError(3)
        # One object by its number is served as well as streams of them (6.21): 0x81 to 0x83 say how far these go.
        conformity = 0x80 | next(one for one, highest in _HIGHEST.items() if max(self.identity, default=0) <= highest)
        if level == 4:
            if first not in self.identity:
                raise ExceptionAnswerError(2)
            return encode_identification(level, {first: self.identity[first]}, conformity=conformity)
        asked = {number: text for number, text in self.identity.items() if number <= _HIGHEST[level]}
        # An object that is not there begins the stream anew (6.21).
        wanted = {number: text for number, text in asked.items() if number >= first} if first in asked else asked
        return encode_identification(level, wanted, conformity=conformity)

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
