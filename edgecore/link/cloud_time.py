"""What a gateway knows of the cloud's clock, without trusting its own; docs/explanation/time.md has the whole story.

`Welcome` carries the cloud's time, read at some moment between this side's `Hello` and the arrival of `Welcome`. So
the cloud's clock now reads at most what `Welcome` said, plus all that has passed since `Hello`, plus what a quartz
may have lost meanwhile. `HeardTime` is the latest it may be, for deadlines. `AgentClock` is the likeliest: what the
agent shows people and judges by. Both are in memory; `AgentClock` begins with what the edge store kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.ports import Clock
from skerry.sync.ages import DRIFT_MAX, clock_is_wrong, cloud_time
from skerry.sync.ports import BootTimes, Reading

SANE_MS: Final = 1_767_225_600_000
"""2026-01-01: a wall clock before this was never set."""


class HeardTime(Frozen):
    """One reading of the cloud's clock."""

    server_ms: int
    said_s: float
    """Monotonic clock when `Hello` was said."""

    def latest_ms(self, now_s: float) -> int:
        """The latest that the cloud's clock may read now."""
        passed_s = max(0.0, now_s - self.said_s)
        return self.server_ms + math.ceil(passed_s * (1 + DRIFT_MAX) * 1000)


class AgentClock:
    """A `Clock` that tells the cloud's time from the first `Welcome` of a boot on, whatever the wall clock does.
    Until then the wall clock, or the newest time known where that contradicts it. It steps when it learns better.
    """

    def __init__(self, clock: Clock, boots: Sequence[BootTimes], known_ms: int) -> None:
        """`boots`: of the edge store, the present one last. `known_ms`: the newest time known in it; 0 for none."""
        self._clock = clock
        self._reading = boots[-1].reading
        self._floor_ms = known_ms
        self._floored_s = clock.monotonic_s()

    def hear(self, reading: Reading) -> None:
        """The cloud said what its clock reads."""
        self._reading = reading

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def wall_ms(self) -> int:
        if self._reading is not None:
            return cloud_time(self._reading, self._clock.monotonic_s() * 1000).middle_ms
        wall_ms, known_ms = self._clock.wall_ms(), self.known_ms()
        return known_ms if clock_is_wrong(wall_ms=wall_ms, floor_ms=known_ms) else wall_ms

    def known_ms(self) -> int:
        """The newest time that has certainly passed; 0 where none is known."""
        if self._reading is not None:
            return max(0, cloud_time(self._reading, self._clock.monotonic_s() * 1000).earliest_ms)
        if not self._floor_ms:
            return 0
        return self._floor_ms + math.floor((self._clock.monotonic_s() - self._floored_s) * (1 - DRIFT_MAX) * 1000)

    @property
    def trusted(self) -> bool:
        """Whether `wall_ms` may be judged by: it is the cloud's, or nothing speaks against the wall clock."""
        if self._reading is not None:
            return True
        wall_ms = self._clock.wall_ms()
        return wall_ms >= SANE_MS and not clock_is_wrong(wall_ms=wall_ms, floor_ms=self.known_ms())
