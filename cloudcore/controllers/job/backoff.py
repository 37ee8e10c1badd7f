"""How long a Job waits before it replaces a pod that failed: 10 s, twice as long each time, at most 10 minutes. Pure.

Times of ends are by the clocks of gateways, which may be wrong by years. So an end counts from when it happened or
from when the cloud saw it first, whichever is earlier: a gateway that was away has served its while, and one whose
clock is ahead holds nobody up. Where the cloud's own clock is put back, what it saw lies ahead of it, and counts from
then on. What was seen is kept by who asks (`Record`); where that is lost, it is what the pods
that are there still tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudcore.controllers.job.model import JobPod, finished_ms
from skerry.frozen import Frozen, field, replace

BACKOFF_MS: Final = 10_000
BACKOFF_MS_MAX: Final = 600_000
_DOUBLINGS_MAX: Final = 16
"""More make no difference."""


class Record(Frozen):
    """What is known of a Job's failures."""

    failures: int = 0
    """Since the last success."""
    last_failure_ms: int = 0
    seen_ms: Mapping[str, int] = field(default_factory=dict[str, int])
    """When the failed pods were seen first that an index waits with, by uid."""

    def with_ends(self, succeeded: Iterable[JobPod], failed: Iterable[JobPod], *, now_ms: int) -> Record:
        """With pods that were not in it yet."""
        successes = [_ended_ms(pod, now_ms) for pod in succeeded]
        failures = sorted(_ended_ms(pod, now_ms) for pod in failed)
        last_ms = min(self.last_failure_ms, now_ms)
        if not successes and not failures:
            return self if last_ms == self.last_failure_ms else replace(self, last_failure_ms=last_ms)
        if successes:
            failures = [at_ms for at_ms in failures if at_ms > max(successes)]
        known = 0 if successes else self.failures
        return replace(self, failures=known + len(failures), last_failure_ms=failures[-1] if failures else last_ms)

    def with_waiting(self, pods: Iterable[JobPod], *, now_ms: int) -> Record:
        """Of these pods it is remembered when they were seen; of others no more."""
        seen = {pod.uid: min(self.seen_ms.get(pod.uid, _ended_ms(pod, now_ms)), now_ms) for pod in pods}
        return self if seen == self.seen_ms else replace(self, seen_ms=seen)

    def left_ms(self, *, now_ms: int) -> int:
        """Until a pod may be made that replaces one that failed."""
        return _left_ms(self.failures, self.last_failure_ms, now_ms)

    def index_left_ms(self, replaced: JobPod | None, *, now_ms: int) -> int:
        """The same for one index, whose last failed pod that is."""
        if replaced is None:
            return 0
        failures = replaced.failures + replaced.ignored_failures + 1
        return _left_ms(failures, self.seen_ms.get(replaced.uid, now_ms), now_ms)


def recalled(pods: Sequence[JobPod], *, now_ms: int) -> Record:
    """What pods tell whose end was counted before anybody who is here now could see it."""
    counted = [pod for pod in pods if not pod.tracked]
    succeeded = [pod for pod in counted if pod.phase == "Succeeded"]
    return Record().with_ends(succeeded, [pod for pod in counted if pod.phase == "Failed"], now_ms=now_ms)


def _ended_ms(pod: JobPod, now_ms: int) -> int:
    return min(finished_ms(pod.obj), now_ms)


def _left_ms(failures: int, last_ms: int, now_ms: int) -> int:
    if failures == 0:
        return 0
    while_ms = min(BACKOFF_MS << min(failures - 1, _DOUBLINGS_MAX), BACKOFF_MS_MAX)
    return max(0, while_ms - max(0, now_ms - last_ms))
