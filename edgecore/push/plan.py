"""When a push is tried again, what people are told of it, and what an answer means.

Pure. A place that does not answer is tried ever less often, by one for all, and what waits for it stays. One that
turns a property's pushes away (its path is not there, its topic not allowed) is there for the others. One that
refuses a push for what it is will refuse it for ever, and would hold up all that comes after it: after some tries it
is given up, and counted. What people are told changes rarely: a place that fails now and then is no news.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen, replace

REFUSALS_MAX: Final = 5
"""With the pauses between them that is half a minute: long enough for a server that is being set up."""
TOLD_AFTER: Final = 3
"""Failures in a row."""

NEVER_TAKEN: Final = frozenset({400, 405, 411, 413, 414, 415, 422})
"""HTTP's answers to what a request is. The others may be of a moment, or of who asks (RFC 9110, 15.5)."""
AWAY: Final = frozenset({408, 425, 429, 502, 503, 504})
"""Of a server that does not do now what it is there for, whatever it is asked."""


class PushSettings(Frozen):
    """How patient it is."""

    retry_s_min: float = 1.0
    retry_s_max: float = 60.0
    """A place that comes back after a night is noticed within a minute."""
    store_again_s: float = 1.0
    """After the store refused (a full disk)."""


class Progress(Frozen):
    """How a queue does, or a place."""

    failures: int = 0
    """In a row."""
    refusals: int = 0
    """Of the push that is the oldest."""
    given_up: int = 0
    """Since one arrived."""
    reason: str = ""

    @property
    def failing(self) -> bool:
        return self.failures >= TOLD_AFTER or self.given_up > 0

    def failed(self, reason: str, *, refused: bool) -> Progress:
        """One more try that came to nothing."""
        refusals = self.refusals + 1 if refused else 0
        return replace(self, failures=self.failures + 1, refusals=refusals, reason=reason)

    @property
    def gives_up(self) -> bool:
        """The oldest push, which is refused for what it is."""
        return self.refusals >= REFUSALS_MAX

    def passed_over(self) -> Progress:
        """The oldest was given up; the next may be taken, and is tried as often and as soon."""
        return replace(self, failures=0, refusals=0, given_up=self.given_up + 1)

    def wait_s(self, settings: PushSettings, chance: float) -> float:
        """Until the next try; `chance` from 0 to 1 spreads gateways that lost the same place."""
        whole_s = min(settings.retry_s_max, settings.retry_s_min * 2 ** min(max(self.failures, 1) - 1, 10))
        return whole_s * (0.5 + chance / 2)
