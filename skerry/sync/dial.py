"""When and where an edge dials: at once after a clean end, slower and spread out after failures.

Full jitter (a uniform draw below a growing bound) keeps ten thousand gateways that lost the same cloud from
coming back in the same second. Pure: chance and time are arguments; state lives in memory only, so a
restarted agent dials at once, which a person who restarted it expects.

Source of the method: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BACKOFF_S_MIN: Final = 1.0
BACKOFF_S_MAX: Final = 60.0
RETRY_AFTER_S_MAX: Final = 3600.0
"""The longest that a cloud can send a gateway away."""
LIVED_S_MIN: Final = 5.0
"""A session shorter than this counts as a failure even when it ended cleanly: no hot loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a session, or the attempt at one, came to its end."""

    at_s: float
    """Monotonic seconds."""
    welcomed: bool = False
    lived_s: float = 0.0
    clean: bool = False
    """Closed by agreement, not lost."""
    retry_after_s: float = 0.0


class DialPolicy:
    """Several addresses of one cloud are tried in turn; waiting starts when a round of them is through."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        assert addresses, "a gateway knows at least one address of its cloud"
        self._addresses = addresses
        self._at = 0
        self._failures = 0
        self._due_s = 0.0

    @property
    def address(self) -> str:
        """The one to dial next."""
        return self._addresses[self._at]

    @property
    def due_s(self) -> float:
        """When to dial it, monotonic seconds."""
        return self._due_s

    def ended(self, how: Ended, unit: float) -> None:
        """Decide on the next attempt; `unit` is uniform in [0, 1)."""
        lived = how.welcomed and how.lived_s >= LIVED_S_MIN
        if lived:
            self._failures = 0
        if lived and how.clean:
            delay = 0.0
        elif how.welcomed:
            delay = self._backoff(unit)
        else:
            self._at = (self._at + 1) % len(self._addresses)
            delay = self._backoff(unit) if self._at == 0 else 0.0
        if how.retry_after_s > 0:
            delay = min(how.retry_after_s, RETRY_AFTER_S_MAX) * (1 + unit / 4)
        self._due_s = how.at_s + delay

    def now(self) -> None:
        """Forget the waiting: somebody healed the link, or the network came back."""
        self._failures = 0
        self._due_s = 0.0

    def _backoff(self, unit: float) -> float:
        bound = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return unit * bound
