"""Readings on their way from a driver to whoever keeps them: one queue for each driver.

In memory; what a crash leaves is read again, or its sender sends it again. A driver whose values are polled bounds
it: when it is full the oldest goes, as what is newer is truer, and is counted. One whose senders wait for receipts
is bounded by them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from devices.port import Reading
from skerry.objects.meta import Key
from skerry.ports import Clock


class Inflow:
    """What was read and not taken yet."""

    def __init__(self, *, most: int | None = None) -> None:
        """`most` readings wait; None: whoever tells them sees to it."""
        self._most = most
        self._ready: deque[Reading] = deque()
        self._arrived = asyncio.Event()
        self.dropped = 0
        """Readings that found no room, or had to make it."""

    def __len__(self) -> int:
        return len(self._ready)

    def tell(self, reading: Reading) -> None:
        """Put it behind the others. Never blocks."""
        if self._most is not None and len(self._ready) >= self._most:
            self._ready.popleft()
            self.dropped += 1
        self._ready.append(reading)
        self._arrived.set()

    async def readings(self) -> AsyncIterator[Reading]:
        """See `Driver.readings`: they are taken as they are yielded, by one consumer."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            self._arrived.clear()
            await self._arrived.wait()


def no_value(device: Key, prop: str, reason: str, clock: Clock) -> Reading:
    """A reading that says why there is no value now."""
    return Reading(
        device=device,
        prop=prop,
        value=None,
        quality="bad",
        reason=reason,
        source_ms=clock.wall_ms(),
        monotonic_s=clock.monotonic_s(),
    )
