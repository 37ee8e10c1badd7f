"""What a line does next: which poll is due, which unit is left alone for a while.

Pure: `now` comes in, decisions go out. It keeps due times and the health of units in memory; a crash costs one
round of polls. A cycle that was missed is skipped and counted, never queued, so that a slow line does not fall
ever further behind. A silent unit is asked ever less often (its breaker is open), so that it can't take the
line from the others.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from skerry.frozen import Frozen

K = TypeVar("K", bound=Hashable)


class BreakerSettings(Frozen):
    """When a silent unit is left alone, and for how long."""

    silences_max: int = 2
    """Unanswered requests in a row that open the breaker: one may be bad luck."""
    backoff_s_min: float = 1.0
    """A unit that restarts is back in seconds."""
    backoff_s_max: float = 60.0
    """One probe a minute costs a line nothing."""
    share_max: float = 0.025
    """Of the line's time that a unit which does not answer may take from others: a probe that costs two seconds is
    made every 80."""


@dataclass(slots=True, kw_only=True)
class _Unit:
    silences: int = 0
    backoff_s: float = 0.0
    closed_until_s: float = 0.0


class Breakers(Generic[K]):
    """Which units are worth asking now."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._units: dict[K, _Unit] = {}

    def wait_s(self, unit: K, now_s: float) -> float:
        """0 when the unit may be asked; else how long it is left alone yet."""
        known = self._units.get(unit)
        return max(0.0, known.closed_until_s - now_s) if known else 0.0

    def answered(self, unit: K) -> None:
        """It lives: whatever it said."""
        self._units.pop(unit, None)

    def silent(self, unit: K, now_s: float, chance: float, *, cost_s: float = 0.0) -> None:
        """It did not answer, which took `cost_s` from others. `chance` in [0, 1) spreads the probes of units that
        died together."""
        known = self._units.setdefault(unit, _Unit())
        known.silences += 1
        if known.silences >= self._settings.silences_max:
            known.backoff_s = min(
                max(known.backoff_s * 2, self._settings.backoff_s_min), self._settings.backoff_s_max
            )
            wait_s = known.backoff_s * (0.75 + chance / 4)
            known.closed_until_s = now_s + max(wait_s, cost_s / self._settings.share_max)


class Poll(Frozen, Generic[K]):
    """Something to read again and again."""

    key: K
    period_s: float


@dataclass(slots=True, kw_only=True)
class _Due(Generic[K]):
    poll: Poll[K]
    at_s: float
    number: int = 0
    """Its turn among those that are due at the same moment."""


class Schedule(Generic[K]):
    """Due times of polls, earliest first."""

    def __init__(self) -> None:
        self._due: dict[K, _Due[K]] = {}
        self._heap: list[tuple[float, int, K]] = []
        """Moments, turns and keys. A moment that is not the poll's any more is passed over."""

    def configure(self, polls: Iterable[Poll[K]], now_s: float) -> None:
        """Take over this set. What stays keeps its time; what is new starts at its own phase within a period (at
        most a second from now), so that a hundred devices do not ask in the same millisecond."""
        wanted = {poll.key: poll for poll in polls}
        kept = {key: due for key, due in self._due.items() if key in wanted and due.poll == wanted[key]}
        for key, poll in wanted.items():
            if key not in kept:
                kept[key] = _Due(poll=poll, at_s=now_s + phase(key) * min(poll.period_s, 1.0))
        self._due = kept
        for number, due in enumerate(kept.values()):
            due.number = number
        self._heap = [(due.at_s, due.number, key) for key, due in kept.items()]
        heapify(self._heap)

    def next(self) -> tuple[K, float] | None:
        """The poll that is due first, and when; None when there are none."""
        while self._heap:
            at_s, _, key = self._heap[0]
            if self._due[key].at_s == at_s:
                return key, at_s
            heappop(self._heap)
        return None

    def due_s(self, key: K) -> float | None:
        """When the poll is due; None where there is no such poll."""
        due = self._due.get(key)
        return due.at_s if due is not None else None

    def done(self, key: K, now_s: float) -> int:
        """The poll was made (or skipped on purpose); plan its next, in its own rhythm. Returns how many cycles were
        missed meanwhile: they are skipped."""
        due = self._due.get(key)
        if due is None:
            return 0
        period_s = due.poll.period_s
        missed = max(0, int((now_s - due.at_s) // period_s))
        due.at_s += (missed + 1) * period_s
        heappush(self._heap, (due.at_s, due.number, key))
        return missed


def phase(key: Hashable) -> float:
    """A stable number in [0, 1) that spreads keys (Python's own `hash` differs from run to run)."""
    return (zlib.crc32(repr(key).encode()) & 0xFFFF) / 0x10000
