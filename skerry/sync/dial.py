"""When, where and how an edge dials: at once after a clean end, slower and spread out after failures.

There may be several ways to the same cloud. What was welcomed last is tried first; a way before it in the order of
preference is tried again now and then, once, when a dial is due anyhow.

Full jitter (a uniform draw below a growing bound) keeps ten thousand gateways that lost the same cloud from
coming back in the same second. Pure: chance and time are arguments; state lives in memory only, so a
restarted agent dials at once, which a person who restarted it expects.

Source of the method: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from typing import Final, Literal

from skerry.frozen import Frozen

BACKOFF_S_MIN: Final = 1.0
BACKOFF_S_MAX: Final = 60.0
RETRY_AFTER_S_MAX: Final = 3600.0
"""The longest that a cloud can send a gateway away."""
UNANSWERED_S_MAX: Final = 4.0
"""While nobody answers at all, no herd forms at anybody's door, and the way may be there again at any moment."""
LIVED_S_MIN: Final = 5.0
"""A session shorter than this counts as a failure even when it ended cleanly: no hot loop."""


AGAIN_S: Final = 3600.0
"""How long a better way that failed is left alone: a network that lets nothing but the web through seldom changes."""
BROKEN_S: Final = 60.0
"""A welcomed session that was lost before this speaks against the way it went."""
BROKEN_MAX: Final = 3
"""So many of them in a row, and another way is tried: some networks let a few packets pass and no more."""

Way = Literal["quic", "websocket", "proxy"]
"""How an address is dialled; `proxy` is WebSocket through an HTTP proxy."""
WAYS: Final[tuple[Way, ...]] = ("quic", "websocket", "proxy")
"""In order of preference."""


class Ended(Frozen):
    """How a session, or the attempt at one, came to its end."""

    at_s: float
    """Monotonic seconds."""
    answered: bool = True
    """Somebody was there, if only to refuse."""
    welcomed: bool = False
    lived_s: float = 0.0
    clean: bool = False
    """Closed by agreement, not lost."""
    carried: bool = False
    """The cloud itself said that it ends, and why: whatever that was, the way carries."""
    retry_after_s: float = 0.0
    unusable: bool = False
    """This machine can't dial that way at all."""


class DialPolicy:
    """All addresses of one cloud are tried one way, then the next way; waiting starts when that round is through."""

    def __init__(
        self, addresses: tuple[str, ...], ways: tuple[Way, ...] = ("websocket",), *, remembered: Way | None = None
    ) -> None:
        """`ways` in order of preference; `remembered` is the one that was welcomed last, if any ever was."""
        assert addresses, "a gateway knows at least one address of its cloud"
        assert ways, "and one way to it"
        self._addresses = addresses
        self._ways = list(ways)
        self._preferred: Way = remembered if remembered in ways else ways[0]
        self._at = 0
        self._tried = 0
        """Addresses of this round that failed, one after the other, this way."""
        self._way: Way = self._preferred
        self._left: list[Way] = self._others(self._preferred)
        """Ways that this round has still to try."""
        self._again_s: float | None = None
        """When a better way may be tried again; None: as soon as a time is known."""
        self._best_carried = remembered == ways[0]
        """The best way was the one that was welcomed last. Where another one is now, that was perhaps only the first
        to come back after an outage of all, and the best is tried again at the next dial, once."""
        self._broken = 0
        self._carried = False
        """In this round, the present way led to a cloud."""
        self._failures = 0
        self._due_s = 0.0

    @property
    def address(self) -> str:
        """The one to dial next."""
        return self._addresses[self._at]

    @property
    def way(self) -> Way:
        """How to dial it."""
        return self._way

    @property
    def preferred(self) -> Way:
        """What is to be remembered: the way that was welcomed last."""
        return self._preferred

    @property
    def due_s(self) -> float:
        """When to dial it, monotonic seconds."""
        return self._due_s

    def welcomed(self, at_s: float) -> None:
        """The session that was dialled counts."""
        best = self._ways[0]
        if self._way != best and (self._preferred != self._way or self._again_s is None):
            self._again_s = at_s if self._best_carried else at_s + AGAIN_S
        self._best_carried = self._way == best
        self._preferred = self._way

    def ended(self, how: Ended, unit: float) -> None:
        """Decide on the next attempt; `unit` is uniform in [0, 1)."""
        lived = how.welcomed and how.lived_s >= LIVED_S_MIN
        if lived:
            self._failures = 0
        broken = how.welcomed and not (how.clean or how.carried) and how.lived_s < BROKEN_S
        self._broken = self._broken + 1 if broken else 0
        self._carried = self._carried or how.carried
        if how.unusable and len(self._ways) > 1:
            self._ways.remove(self._way)
            self._left = [way for way in self._left if way in self._ways]
            delay = 0.0 if self._next_way() else self._backoff(unit)
        elif lived and how.clean:
            self._round(how.at_s)
            delay = 0.0
        elif how.welcomed:
            self._round(how.at_s)
            delay = self._backoff(unit)
        else:
            delay = 0.0 if self._next_attempt(how.at_s) else self._backoff(unit)
            delay = delay if how.answered else min(delay, unit * UNANSWERED_S_MAX)
        if how.retry_after_s > 0:
            delay = min(how.retry_after_s, RETRY_AFTER_S_MAX) * (1 + unit / 4)
        self._due_s = how.at_s + delay

    def _others(self, first: Way) -> list[Way]:
        return [way for way in self._ways if way != first]

    def _round(self, at_s: float) -> None:
        """Begin again with what is known to work, or with what may work by now."""
        self._tried = 0
        self._carried = False
        if self._broken >= BROKEN_MAX and len(self._ways) > 1:
            self._broken = 0
            self._preferred = self._others(self._preferred)[0]
            self._again_s = at_s + AGAIN_S
        if self._preferred not in self._ways:
            self._preferred = self._ways[0]
        best = self._ways[0]
        if self._preferred != best:
            if self._again_s is None:
                self._again_s = at_s + AGAIN_S
            if at_s >= self._again_s:
                self._again_s = at_s + AGAIN_S
                self._way, self._left = best, self._others(best)
                self._left.sort(key=lambda way: way != self._preferred)
                return
        self._way, self._left = self._preferred, self._others(self._preferred)

    def _next_attempt(self, at_s: float) -> bool:
        """After a failure; False when that was the last of a round."""
        trial = self._way == self._ways[0] != self._preferred and self._preferred in self._left and not self._carried
        if not trial:  # a better way on trial is tried at one address
            self._at = (self._at + 1) % len(self._addresses)
            self._tried += 1
            if self._tried < len(self._addresses):
                return True
        if not self._carried and self._next_way():
            return True
        self._round(at_s)
        return False

    def _next_way(self) -> bool:
        if not self._left:
            if self._way not in self._ways:
                self._way = self._preferred = self._ways[0]
                self._left = self._others(self._way)
                return True
            return False
        self._way = self._left.pop(0)
        self._tried = 0
        return True

    def now(self) -> None:
        """Forget the waiting: somebody healed the link, or the network came back."""
        self._failures = 0
        self._due_s = 0.0

    def _backoff(self, unit: float) -> float:
        bound = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return unit * bound
