"""Readings of one series as one row of the gateway's own history. Pure.

A chunk is a block (`skerry.objects.blocks`) of one property, dated by the clock that the agent believed in when the
readings were taken. Chunks grow as blocks of the outbox do: a new one takes in those before it that are at most twice
its size, so that a reading is written a few times and a day is rows of hundreds.

A series' numbers begin anew where its device is made anew, or the agent's store is; that is another *life* of it.
What is asked for by number goes by life and number together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from skerry.frozen import Frozen
from skerry.objects.blocks import Reading, decode_block, encode_block

READINGS_MAX: Final = 1024
"""Of one chunk: beyond, another one gains little, and an answer reads whole chunks."""
SPAN_MS_MAX: Final = 6 * 3600 * 1000
"""From the first to the last: the oldest chunks go as a whole."""


LIFE: Final = 1 << 40
"""Numbers of one life; eight thousand lives of as many are whole numbers to every reader of JSON."""


class Kept(NamedTuple):
    """A reading and when it was taken."""

    at_ms: int
    reading: Reading
    sure: bool
    """The clock was believed to be right."""
    life: int = 0

    @property
    def number(self) -> int:
        """Of this history's own: it grows over lives."""
        return self.life * LIFE + self.reading.seq

    @property
    def place(self) -> tuple[int, int]:
        """In order of time; of one time in the order in which they were taken."""
        return self.at_ms, self.number


def in_lives(kept: Iterable[Kept], last: int) -> list[Kept]:
    """Readings in the order in which they were taken, each in its life; `last` is the newest number before them."""
    found: list[Kept] = []
    for each in kept:
        life, seq = divmod(last, LIFE)
        one = each._replace(life=life if each.reading.seq > seq else life + 1)
        last = one.number
        found.append(one)
    return found


class Chunk(Frozen):
    """Readings of one series, in the order in which they were taken; all of them sure or none."""

    series: str
    first_ms: int
    last_ms: int
    first_seq: int
    last_seq: int
    sure: bool
    readings: int
    body: bytes
    life: int = 0

    def kept(self) -> list[Kept]:
        """Raises `ProtocolError` for what is none."""
        return [
            Kept(self.last_ms - reading.ago_ms, reading._replace(ago_ms=0), self.sure, self.life)
            for reading in decode_block(self.body)
        ]


def chunk_of(series: str, kept: Sequence[Kept]) -> Chunk:
    """At least one reading, at most `READINGS_MAX`."""
    last_ms = max(each.at_ms for each in kept)
    return Chunk(
        series=series,
        first_ms=min(each.at_ms for each in kept),
        last_ms=last_ms,
        first_seq=min(each.reading.seq for each in kept),
        last_seq=max(each.reading.seq for each in kept),
        sure=kept[0].sure,
        life=kept[0].life,
        readings=len(kept),
        body=encode_block(tuple(each.reading._replace(ago_ms=last_ms - each.at_ms) for each in kept)),
    )


def runs_of(kept: Sequence[Kept]) -> Iterator[list[Kept]]:
    """Parts that may be a chunk each: alike in how sure they are, of one life, not too many, not too long."""
    run: list[Kept] = []
    for each in kept:
        if run and not _fits(run, each):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _fits(run: Sequence[Kept], more: Kept) -> bool:
    first = run[0]
    alike = (more.sure, more.life) == (first.sure, first.life)
    return alike and len(run) < READINGS_MAX and abs(more.at_ms - first.at_ms) <= SPAN_MS_MAX


def pays(older: Chunk, newer: Sequence[Kept]) -> bool:
    """Whether the newer readings, which are one run, are better one chunk together with the older."""
    return (
        older.readings <= 2 * len(newer)
        and older.readings + len(newer) <= READINGS_MAX
        and (older.sure, older.life) == (newer[0].sure, newer[0].life)
        and abs(newer[-1].at_ms - older.first_ms) <= SPAN_MS_MAX
    )


def in_order(parts: Iterable[tuple[int, Sequence[Kept]]], *, newest_first: bool = False) -> Iterator[Kept]:
    """Readings in order of time, of parts whose first (or last) moments are in that order. A clock that was set makes
    parts overlap, so a reading waits until no later part can come before it."""
    waiting: list[Kept] = []
    for edge_ms, part in parts:
        waiting.sort(key=lambda each: each.place, reverse=newest_first)
        ready = 0
        for each in waiting:
            if (each.at_ms <= edge_ms) if newest_first else (each.at_ms >= edge_ms):
                break
            ready += 1
        yield from waiting[:ready]
        waiting = [*waiting[ready:], *part]
    yield from sorted(waiting, key=lambda each: each.place, reverse=newest_first)


class Lacking(NamedTuple):
    """Readings that were told and are not kept: between two that are."""

    first: int
    """Of them; a number of this history's own."""
    number: int
    from_ms: int
    to_ms: int


def with_gaps(kept: Iterable[Kept], *, newest_first: bool = False) -> Iterator[Kept | Lacking]:
    """Readings in order of time, with what their numbers say is missing between them. A number that comes late fills
    no gap that was told; between two lives nothing is missing that anybody knows of."""
    before: dict[int, Kept] = {}
    for each in kept:
        known = before.get(each.life)
        if known is not None:
            first, second = (each, known) if newest_first else (known, each)
            if (count := second.number - first.number - 1) > 0:
                yield Lacking(first.number + 1, count, first.at_ms, second.at_ms)
        yield each
        if known is None or (each.number < known.number if newest_first else each.number > known.number):
            before[each.life] = each
