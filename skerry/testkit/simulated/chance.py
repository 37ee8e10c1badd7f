"""Clocks and chance of a simulated fleet. Everything follows from the seed and the loop's virtual time."""

from __future__ import annotations

import hashlib
from typing import Final

from skerry.clocks import SeededIds
from skerry.testkit.simulated.loop import VirtualLoop

BEGIN_MS: Final = 1_782_898_200_000
"""2026-07-01T09:30:00Z: every fleet begins in the same minute, so that transcripts of one seed are the same."""


class CloudClock:
    """The right time. Implements `skerry.ports.Clock`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def wall_ms(self) -> int:
        return BEGIN_MS + round(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()


UPTIME_S: Final = 2.0**26
"""What a gateway's monotonic clock begins at. It is far above the loop's own time, and so coarser: a delay that is
computed on it and waited for on the loop is never too small to move the loop."""
BOOT_S: Final = 2.0**20
"""Each boot begins so much lower: no reading of an earlier boot may be compared with one of a later."""


class GatewayClock:
    """A gateway's two clocks: a wall that may be wrong, and one that counts from an arbitrary start."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._true = CloudClock(loop)
        self._wall_off_ms = 0
        self._base_s = UPTIME_S

    def wall_ms(self) -> int:
        return self._true.wall_ms() + self._wall_off_ms

    def monotonic_s(self) -> float:
        return self._loop.time() + self._base_s

    def step(self, seconds: float) -> None:
        """Set the wall."""
        self._wall_off_ms += round(seconds * 1000)

    def boot(self, *, battery: bool) -> None:
        """Begin to count anew; without a battery in 1970."""
        self._base_s -= BOOT_S
        if not battery:
            self._wall_off_ms = -self._true.wall_ms()


def ids_of(seed: int, *names: str | int) -> SeededIds:
    """Chance of one thing in one of its lives: what one does does not change what another draws."""
    text = "/".join(str(name) for name in (seed, *names))
    return SeededIds(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))
