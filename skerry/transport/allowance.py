"""How much of the processor's time one peer may take for long, so that there is some for the others. Pure.

A peer that works in bursts (a reconnect, a log, what waited for days) has them; one that sends without end is held to
a share for as long as somebody else has work (`Others`). What is over the share is not refused, only not looked at: a
sender that minds its peer slows down by it. In memory; a crash gives everybody a new burst.

The rule is that of a leaky bucket told by one number (ITU-T I.371, "generic cell rate algorithm"): when all that was
taken would be paid back.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.25
"""Of one core, for long."""
BURST_S: Final = 2.0
"""Seconds of one core that may be taken at once."""

OTHERS: Final = 0.25
"""Of one core: from there on somebody else is kept waiting."""
LOOK_S: Final = 0.5
"""Between two looks at it."""


class Allowance:
    """Of one peer. Times are of any clock that only grows, in seconds."""

    __slots__ = ("_paid_s",)

    def __init__(self) -> None:
        self._paid_s = 0.0

    def took(self, worked_s: float, now_s: float) -> None:
        """So much time went by on this peer's work."""
        self._paid_s = max(self._paid_s, now_s) + worked_s / SHARE

    def used_up(self, now_s: float) -> bool:
        """Its work may wait."""
        return self._paid_s > now_s + BURST_S / SHARE


class Others:
    """Whether there is work of anybody but those who are over their share. Times of one thread's processor, and of a
    clock, in seconds."""

    __slots__ = ("_began_s", "_busy", "_greedy_s", "_worked_s")

    def __init__(self) -> None:
        self._began_s = float("-inf")
        self._worked_s = 0.0
        self._greedy_s = 0.0
        self._busy = True
        """Until it is known."""

    def not_theirs(self, worked_s: float) -> None:
        """So much was work of a peer that is over its share."""
        self._greedy_s += worked_s

    def busy(self, now_s: float, worked_s: float) -> bool:
        """`worked_s`: all work of the thread since it began."""
        passed_s = now_s - self._began_s
        if passed_s < LOOK_S:
            return self._busy
        if passed_s < 4 * LOOK_S:
            self._busy = worked_s - self._worked_s - self._greedy_s > OTHERS * passed_s
        else:
            self._busy = True  # nobody was over its share for a while: what was then says nothing of now
        self._began_s, self._worked_s, self._greedy_s = now_s, worked_s, 0.0
        return self._busy
