"""Which sessions have something to say, and their turns: a change that concerns five thousand nodes holds up nobody.

A session is told of a change at once, which costs microseconds; making its frames and handing them to its link costs
a hundred times that. So sessions wait here for their turn, each once however often its view changes meanwhile, and
between a few of them everybody else has theirs: heartbeats, reports, handshakes. Bounded by the sessions there are.
In memory only; a session that is lost compares when it comes back.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

ROUND: Final = 16
"""Sessions in one round of the loop: two or three milliseconds of work."""


class Pushed(Protocol):
    """A session, as far as it has turns."""

    def push(self) -> None:
        """Say what there is to say; nothing, when the session has ended."""
        ...


class Pushing:
    """Run `run` in a task group."""

    def __init__(self) -> None:
        self._due: dict[Pushed, None] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, session: Pushed) -> None:
        """Give it a turn; one that waits already keeps its place."""
        self._due.setdefault(session)
        self._wake.set()

    def discard(self, session: Pushed) -> None:
        """It has ended."""
        self._due.pop(session, None)

    async def run(self) -> None:
        while True:
            for _ in range(min(ROUND, len(self._due))):
                session = next(iter(self._due))
                del self._due[session]
                session.push()
                del session  # else the last one, ended or not, is kept for as long as this waits
            if self._due:
                await asyncio.sleep(0)
            else:
                self._wake.clear()
                await self._wake.wait()
