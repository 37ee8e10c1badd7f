"""How much of the processor's time one peer may take for long, so that there is some for the others. Pure.

A peer that works in bursts (a reconnect, a log, what waited for days) has them; one that sends without end is held to
a share. What is over the share is not refused, only not looked at: a sender that minds its peer slows down by it. In
memory; a crash gives everybody a new burst.

The rule is that of a leaky bucket told by one number (ITU-T I.371, "generic cell rate algorithm"): when all that was
taken would be paid back.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.25
"""Of one core, for long."""
BURST_S: Final = 2.0
"""Seconds of one core that may be taken at once."""


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
