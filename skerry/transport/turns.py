"""Turns of one session's work on the loop that all sessions share, so that who sends without end is not heard alone.

asyncio has no shares: whatever can go on does, and what a peer has ready waits for nothing. So work that may be long
is done in turns, and after each it rests: for one round of the loop at least, and then for as long as others have
work of their own, up to three times what the turn took. Where nobody else wants anything it goes on at once; the
processor is never left idle for the sake of a share. Keeps a counter; a crash leaves nothing.

The figures: docs/decisions/0216-turns-are-paid-for.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from skerry.ports import Clock

TURN_S: Final = 0.005
"""How long a turn may take; one piece of it, a frame or an effect, may take more."""
OTHERS: Final = 3
"""How much of the others' work goes before the next turn, for each second of a turn: a quarter is for one session."""
IDLE_S: Final = 0.0002
"""A round of the loop that takes no longer has done nothing for anybody."""


class Turns:
    """Of one session. All that works for it rests here, and none of that counts as others' work."""

    __slots__ = ("_clock", "_own_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._own_s = 0.0

    def begin(self) -> Turn:
        """Work begins now, or goes on after a wait."""
        return Turn(self, self._clock.monotonic_s())

    async def rest(self, worked_s: float) -> None:
        """Let the others have their turn after so much work."""
        self._own_s += worked_s
        owed_s = worked_s * OTHERS
        while True:
            began_s, own_s = self._clock.monotonic_s(), self._own_s
            await asyncio.sleep(0)
            others_s = self._clock.monotonic_s() - began_s - (self._own_s - own_s)
            owed_s -= others_s
            if owed_s <= 0 or others_s < IDLE_S:
                return

    def now_s(self) -> float:
        return self._clock.monotonic_s()


class Turn:
    """One stretch of work that waits for nothing in between."""

    __slots__ = ("_began_s", "_turns")

    def __init__(self, turns: Turns, began_s: float) -> None:
        self._turns = turns
        self._began_s = began_s

    async def step(self) -> None:
        """A piece is done: rest where the turn is over."""
        worked_s = self._turns.now_s() - self._began_s
        if worked_s >= TURN_S:
            await self._turns.rest(worked_s)
            self._began_s = self._turns.now_s()
