"""What may be sent under a cap, and when: a bucket of bytes that fills at the rate of the hour.

Three degrees of urgency. *Free* goes always: signs of life, and what opens the peer's windows. *Urgent* (reports of
what is the case, commands, desired values) goes before all that waits, at most at the rate itself after a first few.
*Capped* is everything else: it goes when the bucket has anything in it, and takes it below nothing where it is
larger; so nothing is too large to go, and the average is kept all the same. Whatever goes is taken out of the
bucket. Integers throughout: nothing drifts in a year of small steps. In memory; it outlives a link, so that a
reconnect is no way around a cap, and a crash begins with a second's worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from skerry.objects.bandwidth import PAUSE, BandwidthPlan, Direction, rates_at
from skerry.sync.priorities import Priority

DEPTH_S: Final = 1
"""Seconds of the rate that a bucket holds: what was not used before is soon lost."""
DEPTH_BYTES_MIN: Final = 1500
"""One packet."""
URGENT_S: Final = 4
"""Seconds of the rate that urgent frames may take ahead at once ..."""
URGENT_BYTES_MIN: Final = 8 * 1024
"""... or so much: some ten setpoints."""
PAUSE_BYTES_S: Final = 1000
"""What is urgent may take while everything else is paused."""
MICRO: Final = 1_000_000


class Urgency(IntEnum):
    FREE = 0
    URGENT = 1
    CAPPED = 2


def urgency_of(priority: Priority) -> Urgency:
    """Of the classes in which frames wait."""
    if priority <= Priority.ANSWERS:
        return Urgency.FREE
    return Urgency.URGENT if priority <= Priority.PROMPT else Urgency.CAPPED


class Bucket:
    """Bytes that may go. Times are microseconds of a monotonic clock."""

    __slots__ = ("_at_us", "_depth", "_level", "_rate")

    def __init__(self, rate: int, depth: int, now_us: int) -> None:
        """Begins full."""
        self._rate = rate
        self._depth = depth
        self._level = depth * MICRO
        """In millionths of a byte."""
        self._at_us = now_us

    def become(self, rate: int, depth: int, now_us: int) -> None:
        """Another rate from now on; what was taken out before is still lacking."""
        self._fill(now_us)
        self._rate, self._depth = rate, depth
        self._level = min(self._level, depth * MICRO)

    def take(self, count: int, now_us: int) -> None:
        self._fill(now_us)
        self._level -= count * MICRO

    def opens_us(self, now_us: int) -> int | None:
        """When there is something in it, now or later; None for never."""
        self._fill(now_us)
        if self._level > 0:
            return now_us
        return self._at_us + 1 + (-self._level) // self._rate if self._rate and self._depth else None

    def _fill(self, now_us: int) -> None:
        passed_us = max(0, now_us - self._at_us)
        self._level = min(self._level + passed_us * self._rate, max(self._level, self._depth * MICRO))
        self._at_us = max(self._at_us, now_us)


class Throttle:
    """One direction of one node's link. Nothing is limited before a plan says so."""

    __slots__ = ("_all", "_direction", "_minute", "_plans", "_rate", "_urgent")

    def __init__(self, direction: Direction) -> None:
        self._direction: Direction = direction
        self._plans: tuple[BandwidthPlan, ...] = ()
        self._rate: int | None = None
        self._minute: int | None = -1
        """Of the wall clock, for which the rate was worked out; None: of an unknown time."""
        self._all: Bucket | None = None
        self._urgent: Bucket | None = None

    @property
    def rate(self) -> int | None:
        """Bytes in a second; None: unlimited, 0: nothing but what is urgent."""
        return self._rate

    def hold(self, plans: Sequence[BandwidthPlan]) -> None:
        """These plans hold from now on, all of them. Tell the time (`at`) before anything else."""
        self._plans = tuple(plans)
        self._minute = -1

    def at(self, now_s: float, wall_ms: int | None) -> bool:
        """It is now so late, and by the site's clock (None: nobody knows); whether that changes the rate."""
        minute = None if wall_ms is None else wall_ms // 60_000
        if minute == self._minute:
            return False
        self._minute = minute
        rate = rates_at(self._plans, wall_ms).of(self._direction)
        if rate == self._rate:
            return False
        self._rate = rate
        if rate is None:
            self._all = self._urgent = None
            return True
        depth = 0 if rate == PAUSE else max(DEPTH_S * rate, DEPTH_BYTES_MIN)
        urgent_rate = PAUSE_BYTES_S if rate == PAUSE else rate
        urgent_depth = max(URGENT_S * urgent_rate, URGENT_BYTES_MIN)
        now_us = _micros(now_s)
        if self._all is None or self._urgent is None:
            self._all = Bucket(urgent_rate, depth, now_us)
            self._urgent = Bucket(urgent_rate, urgent_depth, now_us)
        else:
            self._all.become(urgent_rate, depth, now_us)
            self._urgent.become(urgent_rate, urgent_depth, now_us)
        return True

    def opens_s(self, urgency: Urgency, now_s: float) -> float | None:
        """When a frame may go, monotonic seconds, by the rate of now: `now_s` or later; None for never."""
        bucket = self._all if urgency is Urgency.CAPPED else self._urgent
        if bucket is None or urgency is Urgency.FREE:
            return now_s
        now_us = _micros(now_s)
        opens_us = bucket.opens_us(now_us)
        if opens_us is None or opens_us == now_us:
            return None if opens_us is None else now_s
        return opens_us / MICRO

    def took(self, count: int, urgency: Urgency, now_s: float) -> None:
        """So many bytes were sent."""
        now_us = _micros(now_s)
        if self._all is not None:
            self._all.take(count, now_us)
        if self._urgent is not None and urgency is not Urgency.CAPPED:
            self._urgent.take(count, now_us)


def _micros(seconds: float) -> int:
    return math.floor(seconds * MICRO)
