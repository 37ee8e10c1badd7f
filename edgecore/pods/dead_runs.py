"""Which runs that are over the runtime keeps, for who asks why they ended: pure.

As a kubelet's maximum-dead-containers-per-container, maximum-dead-containers and minimum-container-ttl-duration. The
newest run of a container always stays while its pod is wanted: by it is decided what comes next. With a run goes its
log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skerry.frozen import Frozen


class DeadRuns(Frozen):
    """How many."""

    per_container: int = 1
    """Before the newest run: for `lastState` and `logs --previous`. A kubelet's default."""
    total_max: int = 200
    """Of the whole gateway; beyond, finished pods lose theirs, those that ended first before others. -1: no end, a
    kubelet's default; a gateway may run for years, with nobody who deletes what has finished."""
    age_ms_min: int = 0
    """None goes before it has been over for so long, unless its pod is deleted."""

    def may_go(self, finished_ms: int, now_ms: int) -> bool:
        """By its age. One that ended in the future is of another clock, and old."""
        return not 0 <= now_ms - finished_ms < self.age_ms_min


DEAD_RUNS: Final = DeadRuns()


class Dead(Frozen):
    """What one pod has of them."""

    uid: str
    runs: int
    finished_ms: int
    """When the newest of them ended."""
    may_go: bool
    """The pod has finished: all of them may."""


def surplus(pods: Sequence[Dead], limit: DeadRuns, now_ms: int) -> list[str]:
    """Uids of finished pods whose runs are to go, so that no more than the limit are left where that can be."""
    over = sum(pod.runs for pod in pods) - limit.total_max
    going: list[str] = []
    for pod in sorted(pods, key=lambda pod: (pod.finished_ms, pod.uid)):
        if limit.total_max < 0 or over <= 0:
            break
        if pod.may_go and pod.runs and limit.may_go(pod.finished_ms, now_ms):
            going.append(pod.uid)
            over -= pod.runs
    return going
