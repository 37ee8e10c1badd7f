"""What a gateway knows of the cloud's clock, without trusting its own: pure.

`Welcome` carries the cloud's time, read at some moment between this side's `Hello` and the arrival of `Welcome`. So
the cloud's clock now reads at most what `Welcome` said, plus all that has passed since `Hello`, plus what a quartz
may have lost meanwhile. Kept in memory: before the first `Welcome` after a start nothing is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from skerry.sync.ages import DRIFT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardTime:
    """One reading of the cloud's clock."""

    server_ms: int
    said_s: float
    """Monotonic clock when `Hello` was said."""

    def latest_ms(self, now_s: float) -> int:
        """The latest that the cloud's clock may read now."""
        passed_s = max(0.0, now_s - self.said_s)
        return self.server_ms + math.ceil(passed_s * (1 + DRIFT_MAX) * 1000)
