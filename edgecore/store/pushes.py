"""Pushes in the edge store: queues of readings for others than the cloud, within one budget.

Kept in the tables `pushes` and `push_queues` of the store's file, written in the store's own transactions. When all
queues together are beyond the budget, the oldest of the longest go: a place that is away does not take the room of
one that is there. They are counted; a crash leaves rows and counts as they were.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgecore.store.port import ROW_OVERHEAD_BYTES, EdgeBatch, NewPush, Push, PushQueue
from skerry.frozen import replace

DROPPED_AT_ONCE: Final = 1000
"""By one transaction, or a few more; the next one goes on. So many are read to make room for one that is large."""


def cost_of(queue: str, body_bytes: int) -> int:
    """What one takes of the budget."""
    return body_bytes + len(queue) + ROW_OVERHEAD_BYTES


def longest(queues: Mapping[str, PushQueue]) -> PushQueue:
    """Of which the oldest go."""
    return max(queues.values(), key=lambda each: (each.size_bytes, each.queue))


def changed(
    held: PushQueue | None, queue: str, *, waiting: int = 0, size_bytes: int = 0, dropped: int = 0
) -> PushQueue:
    """The counts of a queue after some came, or went."""
    held = held or PushQueue(queue=queue, waiting=0, size_bytes=0, dropped=0)
    return replace(
        held,
        waiting=held.waiting + waiting,
        size_bytes=held.size_bytes + size_bytes,
        dropped=max(0, held.dropped + dropped),
    )


@dataclass(slots=True, kw_only=True)
class Rows:
    """Where pushes are kept."""

    add: Callable[[NewPush], None]
    take: Callable[[str, int], int | None]
    """Take one out: the bytes of its body; None where it is not there."""
    oldest: Callable[[str, int], Sequence[tuple[int, int]]]
    """Of a queue, so many: number, and bytes of the body."""
    end: Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Pushing:
    """What one transaction does to pushes."""

    rows: Rows
    queues: dict[str, PushQueue]
    """As they are, and as they become."""
    touched: set[str] = field(default_factory=set[str])

    def write(self, batch: EdgeBatch, budget: int) -> None:
        """Those that are done with, then those that are new."""
        for queue, number, arrived in batch.pushed:
            taken = self.rows.take(queue, number)
            if taken is None:
                self._change(queue, dropped=-1 if arrived else 0)
            else:
                size = cost_of(queue, taken)
                self._change(queue, waiting=-1, size_bytes=-size, dropped=0 if arrived else 1)
        for queue in batch.push_ends:
            self.rows.end(queue)
            self.queues.pop(queue, None)
            self.touched.add(queue)
        for push in batch.pushes:
            self.rows.add(push)
            self._change(push.queue, waiting=1, size_bytes=cost_of(push.queue, len(push.body)))
        if batch.pushes:
            self._keep_within(budget)

    def _change(self, queue: str, *, waiting: int = 0, size_bytes: int = 0, dropped: int = 0) -> None:
        after = changed(self.queues.get(queue), queue, waiting=waiting, size_bytes=size_bytes, dropped=dropped)
        self.touched.add(queue)
        if after.waiting or after.dropped:
            self.queues[queue] = after
        else:
            self.queues.pop(queue, None)

    def _keep_within(self, budget: int) -> None:
        dropped = 0
        while dropped < DROPPED_AT_ONCE and (over := self._size_bytes() - budget) > 0:
            queue = longest(self.queues).queue
            for number, body_bytes in self.rows.oldest(queue, 1 + over // ROW_OVERHEAD_BYTES):
                self.rows.take(queue, number)
                self._change(queue, waiting=-1, size_bytes=-cost_of(queue, body_bytes), dropped=1)
                dropped += 1
                over -= cost_of(queue, body_bytes)
                if over <= 0 or longest(self.queues).queue != queue:
                    break

    def _size_bytes(self) -> int:
        return sum(each.size_bytes for each in self.queues.values())


# --- in SQLite --------------------------------------------------------------------------------------------


def write_pushes(connection: sqlite3.Connection, batch: EdgeBatch, budget: int) -> None:
    """In the transaction that is open."""
    if not (batch.pushes or batch.pushed or batch.push_ends):
        return
    queues = {each.queue: each for each in map(queue_of, connection.execute(QUEUES).fetchall())}
    pushing = Pushing(rows=_rows(connection), queues=queues)
    pushing.write(batch, budget)
    for queue in sorted(pushing.touched):
        held = pushing.queues.get(queue)
        if held is None:
            connection.execute("DELETE FROM push_queues WHERE queue = ?", (queue,))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO push_queues (queue, waiting, bytes, dropped) VALUES (?, ?, ?, ?)",
                (queue, held.waiting, held.size_bytes, held.dropped),
            )


QUEUES: Final = "SELECT queue, waiting, bytes, dropped FROM push_queues ORDER BY queue"
WAITING: Final = "SELECT number, queue, body FROM pushes WHERE queue = ? AND number > ? ORDER BY number LIMIT ?"


def queue_of(row: tuple[object, ...]) -> PushQueue:
    """A row of `QUEUES`."""
    waiting, size_bytes, dropped = (int(str(each)) for each in row[1:])
    return PushQueue(queue=str(row[0]), waiting=waiting, size_bytes=size_bytes, dropped=dropped)


def push_of(row: tuple[object, ...]) -> Push:
    """A row of `WAITING`."""
    assert isinstance(row[2], bytes)
    return Push(int(str(row[0])), str(row[1]), row[2])


def _rows(connection: sqlite3.Connection) -> Rows:
    def add(push: NewPush) -> None:
        connection.execute("INSERT INTO pushes (queue, body) VALUES (?, ?)", push)

    def take(queue: str, number: int) -> int | None:
        at = (queue, number)
        found = connection.execute("SELECT length(body) FROM pushes WHERE queue = ? AND number = ?", at).fetchone()
        connection.execute("DELETE FROM pushes WHERE queue = ? AND number = ?", at)
        return None if found is None else int(found[0])

    def oldest(queue: str, limit: int) -> Sequence[tuple[int, int]]:
        return connection.execute(
            "SELECT number, length(body) FROM pushes WHERE queue = ? ORDER BY number LIMIT ?",
            (queue, min(limit, DROPPED_AT_ONCE)),
        ).fetchall()

    def end(queue: str) -> None:
        connection.execute("DELETE FROM pushes WHERE queue = ?", (queue,))

    return Rows(add=add, take=take, oldest=oldest, end=end)


# --- in memory --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class HeldPushes:
    """The same for the store in memory."""

    waiting: dict[str, dict[int, bytes]] = field(default_factory=dict[str, dict[int, bytes]])
    queues: dict[str, PushQueue] = field(default_factory=dict[str, PushQueue])
    newest: int = 0

    def write(self, batch: EdgeBatch, budget: int) -> None:
        """All of a batch's."""
        rows = Rows(add=self._add, take=self._take, oldest=self._oldest, end=self._end)
        Pushing(rows=rows, queues=self.queues).write(batch, budget)

    def of(self, queue: str, *, after: int, limit: int) -> Sequence[Push]:
        """The oldest first."""
        held = self.waiting.get(queue, {})
        return [Push(number, queue, body) for number, body in held.items() if number > after][:limit]

    def _add(self, push: NewPush) -> None:
        self.newest += 1
        self.waiting.setdefault(push.queue, {})[self.newest] = push.body

    def _take(self, queue: str, number: int) -> int | None:
        body = self.waiting.get(queue, {}).pop(number, None)
        return None if body is None else len(body)

    def _oldest(self, queue: str, limit: int) -> Sequence[tuple[int, int]]:
        return [(number, len(body)) for number, body in self.waiting.get(queue, {}).items()][:limit]

    def _end(self, queue: str) -> None:
        self.waiting.pop(queue, None)
