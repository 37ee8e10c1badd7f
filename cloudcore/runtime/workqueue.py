"""Which key a worker takes next. Pure: `now` is an argument.

A key waits in the queue once, however often it is added. A key that is being worked on is never given to a second
worker; added meanwhile, it comes again when the first is done. Keys can be put off until an instant; of several
instants the earliest counts. The queue is bounded by the number of distinct keys. Nothing survives a crash: the
informer's first pass adds every key again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from cloudcore.runtime.backoff import Backoff, BackoffSettings

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Instants are seconds of one monotonic clock."""

    def __init__(self, backoff: BackoffSettings | None = None) -> None:
        self._backoff: Backoff[K] = Backoff(backoff)
        self._ready: deque[K] = deque()
        self._wanted: set[K] = set()
        self._in_flight: set[K] = set()
        self._due: dict[K, float] = {}
        self._later: list[tuple[float, int, K]] = []
        self._number = 0

    def add(self, key: K) -> None:
        """Work on the key as soon as a worker is free."""
        if key in self._wanted:
            return
        self._wanted.add(key)
        if key not in self._in_flight:
            self._ready.append(key)

    def add_at(self, key: K, at: float) -> None:
        """Work on the key at an instant, unless an earlier one was asked for already."""
        known = self._due.get(key)
        if known is not None and known <= at:
            return
        self._due[key] = at
        self._number += 1
        heapq.heappush(self._later, (at, self._number, key))

    def take(self, now: float) -> K | None:
        """The next key, now in flight; None when there is nothing to do yet."""
        self._ripen(now)
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._wanted.discard(key)
        assert key not in self._in_flight, "one worker a key"
        self._in_flight.add(key)
        return key

    def done(self, key: K) -> None:
        """The key was worked on with success."""
        self._backoff.succeeded(key)
        self._landed(key)

    def failed(self, key: K, now: float) -> float:
        """It was not: it comes again, later with each failure. The seconds until then."""
        delay_s = self._backoff.failed(key)
        self._landed(key)
        self.add_at(key, now + delay_s)
        return delay_s

    def next_due(self, now: float) -> float | None:
        """When `take` will have something: `now` if it has, None if only `add` can bring work."""
        self._ripen(now)
        if self._ready:
            return now
        return self._later[0][0] if self._later else None

    def __len__(self) -> int:
        """Keys that wait or are worked on; those put off are not counted."""
        return len(self._wanted | self._in_flight)

    def _landed(self, key: K) -> None:
        assert key in self._in_flight, "only what was taken is done"
        self._in_flight.discard(key)
        if key in self._wanted:
            self._ready.append(key)

    def _ripen(self, now: float) -> None:
        while self._later:
            at, _, key = self._later[0]
            if self._due.get(key) != at:
                heapq.heappop(self._later)
                continue
            if at > now:
                return
            heapq.heappop(self._later)
            del self._due[key]
            self.add(key)
