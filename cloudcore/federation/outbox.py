"""What a region has to tell the global cloud: the newest of each row, until there is a receipt for it.

Kept in memory, as a life of its own each time: what is told is in RegionObjects' statuses, and is told again after a
restart. So no more waits than there are rows, however long the link is down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.spans import Span
from skerry.ports import Clock
from skerry.sync.effects import Prune
from skerry.sync.ports import BootTimes, Taken
from skerry.wire.frames import Start

PROMPT: Final = 0
"""Lane of all that is told here."""


class Item(Frozen):
    """`skerry.sync.ports.OutboxItem`."""

    seq: int
    kind: str
    key: str
    body: bytes
    wall_ms: int
    boot_id: str
    monotonic_ms: int


class StateOutbox:
    """A `skerry.sync.ports.Outbox`."""

    def __init__(self, incarnation: str, clock: Clock) -> None:
        self.incarnation = incarnation
        self._clock = clock
        self._items: dict[tuple[str, str], Item] = {}
        """In order of `seq`."""
        self._head = 0
        self._left = 0
        self._opened_ms = round(clock.monotonic_s() * 1000)

    def put(self, kind: str, key: str, body: bytes) -> None:
        """In place of what waits of the same kind and key."""
        self._head += 1
        self._items.pop((kind, key), None)
        self._items[kind, key] = Item(
            seq=self._head,
            kind=kind,
            key=key,
            body=body,
            wall_ms=self._clock.wall_ms(),
            boot_id=self.incarnation,
            monotonic_ms=round(self._clock.monotonic_s() * 1000),
        )

    def prune(self, prune: Prune) -> None:
        if prune.lane in (None, PROMPT):
            self._forget(Span(prune.first, prune.through))

    def _forget(self, span: Span) -> None:
        gone = [key for key, item in self._items.items() if span.first <= item.seq <= span.through]
        for key in gone:
            del self._items[key]

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[Item]:
        if lane not in (None, PROMPT):
            return []
        found: list[Item] = []
        for item in self._items.values():
            if item.seq > after:
                found.append(item)
                if len(found) == limit:
                    break
        return found

    def take(self, *, after: int, limit: int, lane: int | None = None, until: int | None = None) -> Taken[Item]:
        items = self.outbox(after=after, limit=limit, lane=lane)
        return Taken(items=[item for item in items if until is None or item.seq <= until])

    def give_back(self, seqs: Sequence[int]) -> None:
        """Nothing is dropped before its receipt, so there is nothing to release."""

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        for lane, span in settled:
            if lane in (None, PROMPT):
                self._forget(span)

    def outbox_head(self) -> int:
        return self._head

    def outbox_left(self) -> int:
        return self._left

    def outbox_starts(self) -> Sequence[Start]:
        return ()

    def note_sent(self, through: int) -> None:
        self._left = max(self._left, through)

    def boots(self) -> Sequence[BootTimes]:
        now_ms = round(self._clock.monotonic_s() * 1000)
        return [BootTimes(boot_id=self.incarnation, opened_ms=self._opened_ms, last_ms=now_ms)]
