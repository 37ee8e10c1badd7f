"""How readings become rows of the outbox: in blocks, which grow for as long as nobody asks for them.

While the link is up each commit's readings are a row of their own and on their way at once. While it is not, a commit
has a handful of readings, and a row for each handful would fill the disk with overhead. So sixteen rows of about a
size become one, which is again one of sixteen, until it is as large as a block may be: a reading is written two or
three times, as flash wears by what is written, and a week is rows of some two thousand readings. Only the newest rows
are put together, so numbers stay in the order of time.

What was taken to be sent stays as it is: its numbers may take effect in the cloud at any moment. What grows gets new
numbers, as a state that is told anew does, and the rows before go in the same transaction. Pure; which rows may grow,
and what is in the small ones, is known in memory, and after a crash new ones begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from edgecore.store.port import NewReading, OutboxReport
from skerry.errors import ProtocolError
from skerry.frozen import Frozen, replace
from skerry.objects.blocks import (
    READINGS_MAX,
    TELEMETRY_BLOCK,
    TEXT_MAX,
    Block,
    decode_block,
    encode_block,
    joined,
    split_block,
)

SPAN_MS_MAX: Final = 600_000
"""From a block's first reading to its last: it expires, or is dropped, as a whole."""
QUIET_MS: Final = 2_000
"""What was committed is taken to be sent within this, where somebody sends: nothing grows under his hands."""

TOGETHER: Final = 16
"""Times the readings of the largest row that is taken in, when rows become one."""
HELD_MAX: Final = 256
"""Readings of a block that is kept as it is until it grows: it need not be read from its row, and takes 60 KiB."""

HALVED_MIN: Final = 256
"""Readings of a block that is dropped half by half: what is over is little, and a large block would go for it."""


class Tail(NamedTuple):
    """A row that may still grow."""

    seq: int
    readings: int
    text: int
    """Characters, as `TEXT_MAX` counts."""
    since_ms: int
    """When its first reading was taken; of the monotonic clock."""
    held: tuple[bytes, Block] | None = None
    """The bytes of the row and what they say, of a small one."""


class Tails(Frozen):
    """Of the outbox of one open store."""

    rows: tuple[Tail, ...] = ()
    """The youngest is the last. Few, as sixteen of a size become one."""
    taken: int = 0
    """Rows up to this number were read to be sent."""
    taken_ms: int | None = None
    """When, last; of the monotonic clock."""

    def after_taking(self, reports: Iterable[OutboxReport], now_ms: int) -> Tails:
        """These were read to be sent."""
        return replace(self, taken=max([self.taken, *(report.seq for report in reports)]), taken_ms=now_ms)

    def growing(self, now_ms: int) -> frozenset[int]:
        """Numbers of the rows that new readings may be put together with."""
        if self.taken_ms is not None and now_ms - self.taken_ms <= QUIET_MS:
            return frozenset()
        return frozenset(
            tail.seq for tail in self.rows if tail.seq > self.taken and now_ms - tail.since_ms <= SPAN_MS_MAX
        )


class Rows(Protocol):
    """The outbox in one transaction."""

    def block_row(self, seq: int) -> OutboxReport | None:
        """The row of a block; None where it has gone."""
        ...

    def drop_block(self, row: OutboxReport) -> None:
        """It goes: its readings are in another."""
        ...

    def put_block(self, body: bytes) -> int:
        """Add a row; its number."""
        ...


def pack(readings: Sequence[NewReading], rows: Rows, tails: Tails, *, growing: frozenset[int], now_ms: int) -> Tails:
    """Add readings to the outbox, together with the rows of `growing` where that pays; what may grow next.

    Its numbers count, one a reading. Raises what `rows` raises."""
    if not readings:
        return tails  # nothing may grow in a transaction without them
    stack = [tail for tail in tails.rows if tail.seq in growing]
    for block, since_ms in _blocks_of(readings, now_ms):
        for tail in _taken_in(stack, block):
            stack.pop()
            row = rows.block_row(tail.seq)
            older = None if row is None else _readable(row, tail)
            if row is not None and older is not None:
                rows.drop_block(row)
                block = joined(older, block, later_ms=now_ms - row.monotonic_ms)
                since_ms = min(since_ms, tail.since_ms)
        body = encode_block(block)
        held = (body, block) if len(block) <= HELD_MAX else None
        seq = rows.put_block(body)
        stack.append(Tail(seq=seq, readings=len(block), text=_text_of(block), since_ms=since_ms, held=held))
    return replace(tails, rows=tuple(stack))


def _readable(row: OutboxReport, tail: Tail) -> Block | None:
    """What a damaged page holds is for the check of the store to find; readings go on."""
    if tail.held is not None and tail.held[0] == row.body:
        return tail.held[1]
    try:
        return decode_block(row.body)
    except ProtocolError:
        return None


def _taken_in(stack: Sequence[Tail], block: Block) -> Sequence[Tail]:
    """Rows that become one with a new block, the youngest first: as many as together are sixteen of the largest, or
    at least two and leave no room for another such."""
    readings, text, taken = len(block), _text_of(block), 0
    largest = longest = 0
    for number, tail in enumerate(reversed(stack), 1):
        readings, text = readings + tail.readings, text + tail.text
        largest, longest = max(largest, tail.readings), max(longest, tail.text)
        if readings > READINGS_MAX or text > TEXT_MAX:
            break
        full = readings + largest > READINGS_MAX or text + longest > TEXT_MAX
        if (full and readings >= 2 * largest) or readings >= TOGETHER * largest:
            taken = number
    return tuple(reversed(stack[len(stack) - taken :]))


def _text_of(block: Block) -> int:
    return sum(reading.text_length for reading in block)


def _blocks_of(readings: Sequence[NewReading], now_ms: int) -> Iterator[tuple[Block, int]]:
    """New readings as blocks of the time `now_ms` of the monotonic clock, and when the first of each was taken."""
    some: list[NewReading] = []
    text = 0
    for new in sorted(readings, key=lambda new: new.taken_ms):
        length = new.reading.text_length
        if some and (len(some) == READINGS_MAX or text + length > TEXT_MAX):
            yield _block_of(some, now_ms), some[0].taken_ms
            some, text = [], 0
        some.append(new)
        text += length
    if some:
        yield _block_of(some, now_ms), some[0].taken_ms


def _block_of(readings: Sequence[NewReading], now_ms: int) -> Block:
    return tuple(new.reading._replace(ago_ms=max(0, now_ms - new.taken_ms)) for new in readings)


def halves(report: OutboxReport) -> tuple[OutboxReport, OutboxReport] | None:
    """A large block as two reports; the second keeps its number. None for what is none."""
    count = report.count
    if report.kind != TELEMETRY_BLOCK or count <= HALVED_MIN:
        return None
    try:
        first, second = split_block(report.body, at=count // 2)
    except ProtocolError:
        return None  # a page that broke goes as a whole
    return replace(report, seq=report.seq - count + count // 2, body=first), replace(report, body=second)
