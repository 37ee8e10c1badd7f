"""Whose turn it is when more is to be done than may be done at a time: nobody has more than a share of it, and who
has the least under way is next.

Keeps who is at work and who waits; both end with the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Turns:
    """`total` at a time, `each` of them for one name."""

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._running: dict[bytes, int] = {}
        self._waiting: dict[bytes, deque[asyncio.Future[None]]] = {}
        self._count = 0

    @asynccontextmanager
    async def of(self, name: bytes) -> AsyncGenerator[None]:
        """Held while it is this name's turn."""
        if self._count < self._total and self._running.get(name, 0) < self._each and not self._waiting.get(name):
            self._begin(name)
        else:
            await self._wait(name)
        try:
            yield
        finally:
            self._end(name)

    async def _wait(self, name: bytes) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end(name)
            else:
                self._leave(name, turn)
            raise

    def _leave(self, name: bytes, turn: asyncio.Future[None]) -> None:
        self._waiting[name].remove(turn)
        if not self._waiting[name]:
            del self._waiting[name]

    def _begin(self, name: bytes) -> None:
        self._running[name] = self._running.get(name, 0) + 1
        self._count += 1

    def _end(self, name: bytes) -> None:
        self._count -= 1
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        while self._count < self._total:
            allowed = [each for each in self._waiting if self._running.get(each, 0) < self._each]
            if not allowed:
                return
            following = min(allowed, key=lambda each: self._running.get(each, 0))
            turn = self._waiting[following][0]
            self._leave(following, turn)
            self._begin(following)
            turn.set_result(None)
