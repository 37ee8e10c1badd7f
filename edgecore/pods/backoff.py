"""Delays before things are tried again: pure.

Restarts as a kubelet does them: the first at once, then after 10 s doubled to 5 min, from the start again after ten
minutes of peace. Times are the gateway's wall clock, which may step; so a wait is never longer than its delay, and
a step back ends it.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen

BACKOFF_S_MIN: Final = 10
BACKOFF_S_MAX: Final = 300
PEACE_S: Final = 2 * BACKOFF_S_MAX
"""As client-go's Backoff: twice the longest delay without a restart, and the count begins again."""


class Backoff(Frozen):
    """How long a container waits after its next end, and when that was decided."""

    delay_s: int
    at_ms: int


class Problem(Frozen):
    """Why a container could not be started at the last try, and when to try again."""

    reason: str
    """ErrImagePull, ImagePullBackOff, CreateContainerConfigError, CreateContainerError, ContainerCreating ..."""
    message: str
    retry_ms: int
    tries: int = 1
    since_ms: int = 0
    """When it was tried."""

    def is_over(self, now_ms: int) -> bool:
        """It is time to try again; also where the clock was set back since: the time it names may be years away."""
        return not self.since_ms <= now_ms < self.retry_ms


def at_peace(delay: Backoff, finished_ms: int) -> bool:
    return finished_ms - delay.at_ms > PEACE_S * 1000


def next_backoff(delay: Backoff | None, finished_ms: int, now_ms: int) -> Backoff:
    if delay is None or at_peace(delay, finished_ms):
        return Backoff(delay_s=BACKOFF_S_MIN, at_ms=now_ms)
    return Backoff(delay_s=min(delay.delay_s * 2, BACKOFF_S_MAX), at_ms=now_ms)


def duration_text(seconds: int) -> str:
    """As Go writes a duration: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def next_problem(before: Problem | None, *, reason: str, message: str, now_ms: int, what: str = "") -> Problem:
    """The same failure again waits longer; a new one begins anew. `what`: the image that can't be pulled."""
    again = before is not None and before.reason in (reason, _AGAIN.get(reason))
    tries = before.tries + 1 if before is not None and again else 1
    delay_s = min(BACKOFF_S_MIN * 2 ** min(tries - 1, 6), BACKOFF_S_MAX)
    return Problem(
        reason=_AGAIN.get(reason, reason) if tries > 1 else reason,
        message=message if tries == 1 or reason not in _AGAIN else f"{back_off_text(what)}: {reason}: {message}",
        retry_ms=now_ms + delay_s * 1000,
        tries=tries,
        since_ms=now_ms,
    )


def back_off_text(image: str) -> str:
    """As a kubelet says it of an image."""
    return f'Back-off pulling image "{image}"'


_AGAIN: Final = {"ErrImagePull": "ImagePullBackOff"}
