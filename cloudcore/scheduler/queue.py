"""Which pod is scheduled next: the highest priority first, then the oldest. Pure: `now` is an argument.

A pod that fits nowhere is put aside until something changes that could help it, and then waits out a backoff that
doubles from one to ten seconds. Bounded by the number of pods that wait; rebuilt from the watch cache at a start.
"""

from __future__ import annotations

import heapq
from typing import Final

from cloudcore.runtime.backoff import Backoff, BackoffSettings
from cloudcore.scheduler.ask import Ask
from skerry.frozen import Frozen
from skerry.objects.meta import Key

ASIDE_S_MAX: Final = 300.0
"""However quiet it is, a pod is tried again after this: a change may have been one we don't know to help."""


class _Aside(Frozen, kw_only=False):
    since: float
    delay_s: float


class PodQueue:
    """See the module. Instants are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._asks: dict[Key, Ask] = {}
        self._tickets: dict[Key, int] = {}
        self._active: list[tuple[int, int, Key]] = []
        self._aside: dict[Key, _Aside] = {}
        self._later: list[tuple[float, int, Key]] = []
        self._backoff: Backoff[Key] = Backoff(BackoffSettings(first_s=1.0, most_s=10.0))
        self._number = 0

    def __len__(self) -> int:
        return len(self._asks)

    def __contains__(self, key: Key) -> bool:
        return key in self._asks

    def put(self, ask: Ask) -> None:
        """A pod that waits for a node, new or changed: it is tried at once."""
        known = self._asks.get(ask.key)
        self._asks[ask.key] = ask
        # A change that isn't in the ask (the status we wrote ourselves, say) gives no reason to try again.
        if known != ask:
            self._activate(ask.key)

    def drop(self, key: Key) -> None:
        """It waits no more: bound, over or gone."""
        self._asks.pop(key, None)
        self._tickets.pop(key, None)
        self._aside.pop(key, None)
        self._backoff.succeeded(key)

    def take(self, now: float) -> Ask | None:
        """The next to be tried. It stays known, and is tried again only after `put_aside`, `put` or `wake`."""
        self._ripen(now)
        while self._active:
            _, ticket, key = heapq.heappop(self._active)
            if self._tickets.get(key) == ticket:
                del self._tickets[key]
                return self._asks[key]
        return None

    def put_aside(self, key: Key, now: float) -> None:
        """It fits nowhere now."""
        if key in self._asks and key not in self._tickets:
            self._aside[key] = _Aside(now, self._backoff.failed(key))

    def wake(self, now: float) -> None:
        """Something changed that may make room: those aside come back, once their backoff is over."""
        for key, aside in self._aside.items():
            self._number += 1
            heapq.heappush(self._later, (max(aside.since + aside.delay_s, now), self._number, key))
        self._aside.clear()

    def next_due(self, now: float) -> float | None:
        """When `take` will have something: `now` if it may have, None if only a change can bring work."""
        self._ripen(now)
        if self._active:
            return now
        instants = [self._later[0][0]] if self._later else []
        instants += [aside.since + ASIDE_S_MAX for aside in self._aside.values()][:1]
        return min(instants, default=None)

    def _activate(self, key: Key) -> None:
        self._aside.pop(key, None)
        self._number += 1
        self._tickets[key] = self._number
        heapq.heappush(self._active, (-self._asks[key].priority, self._number, key))

    def _ripen(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, key = heapq.heappop(self._later)
            if key in self._asks and key not in self._tickets:
                self._activate(key)
        # Put aside in the order of time, so the first that is still young ends the search.
        while self._aside:
            key, aside = next(iter(self._aside.items()))
            if aside.since + ASIDE_S_MAX > now:
                return
            self._activate(key)
