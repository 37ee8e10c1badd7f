"""The newest changes, kept in memory for whoever follows the log.

Followers hold a revision, not a buffer: publishing costs the same whether nobody follows or thousands do, and
a follower that is too slow finds that what it needs has left the ring. What to do then (ask the log, give up)
is the follower's choice. Lost in a crash; the log has it all.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from cloudcore.store.port import Change
from skerry.objects.meta import Revision


def _revision(change: Change) -> Revision:
    return change.revision


def _size(change: Change) -> int:
    return len(change.before or b"") + len(change.after or b"")


RING_BYTES: Final = 16 * 1024 * 1024
"""States held by one ring, unless told otherwise: some 3,000 changes of pods."""
_SLACK: Final = 4
"""A full ring runs over by a quarter and is then cut, so that cutting costs little per change."""


class Ring:
    """The newest changes after a floor, in order of revision: up to `limit` of them and `max_bytes` of states."""

    def __init__(self, *, floor: Revision, limit: int, max_bytes: int = RING_BYTES) -> None:
        assert limit > 0
        self._floor = floor
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._changes: list[Change] = []
        self._news: asyncio.Event | None = None
        self._closed = False

    @property
    def floor(self) -> Revision:
        """Every change after this revision is here."""
        return self._floor

    @property
    def closed(self) -> bool:
        """Nothing more will come."""
        return self._closed

    def append(self, changes: Sequence[Change]) -> None:
        """Add newer changes and wake the followers."""
        if not changes:
            return
        assert not self._changes or changes[0].revision > self._changes[-1].revision, "the log goes forward"
        self._changes.extend(changes)
        self._bytes += sum(map(_size, changes))
        over = len(self._changes) > self._limit + self._limit // _SLACK
        if over or self._bytes > self._max_bytes + self._max_bytes // _SLACK:
            self._cut()
        self._wake()

    def restart(self, *, floor: Revision) -> None:
        """Forget all: followers behind `floor` have to look elsewhere."""
        self._changes.clear()
        self._bytes = 0
        self._floor = floor
        self._wake()

    def forget(self, to: Revision) -> None:
        """Drop what is at or below a revision, as the log does when it is compacted."""
        if to > self._floor:
            self._drop(bisect_right(self._changes, to, key=_revision))
            self._floor = to
            self._wake()

    def after(self, revision: Revision, *, limit: int) -> Sequence[Change] | None:
        """Up to `limit` changes after a revision, perhaps none yet; None when some have left the ring."""
        if revision < self._floor:
            return None
        start = bisect_right(self._changes, revision, key=_revision)
        return self._changes[start : start + limit]

    async def news(self) -> None:
        """Wait until something was appended after this call (or the ring was restarted or closed)."""
        if self._closed:
            return
        if self._news is None:
            self._news = asyncio.Event()
        await self._news.wait()

    def close(self) -> None:
        """Release the followers for good."""
        self._closed = True
        self._wake()

    def _cut(self) -> None:
        """Drop the oldest until the ring is within its bounds; the newest change always stays."""
        dropped = max(0, len(self._changes) - self._limit)
        left = self._bytes - sum(map(_size, self._changes[:dropped]))
        while left > self._max_bytes and dropped < len(self._changes) - 1:
            left -= _size(self._changes[dropped])
            dropped += 1
        if dropped:
            self._floor = self._changes[dropped - 1].revision
            self._drop(dropped)

    def _drop(self, count: int) -> None:
        self._bytes -= sum(map(_size, self._changes[:count]))
        del self._changes[:count]

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None
