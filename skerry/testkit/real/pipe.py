"""One direction of a line, as arithmetic: when a packet that is offered now arrives, or that it never does.

Pure: `now` and chance are arguments. The packet tunnel and the relay both carry by it, so a line behaves alike
whatever carries it. Keeps the times at which queued packets leave, and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.testkit.arguments import DELAY_MS_MAX

QUEUE_PACKETS_MAX: Final = 50
"""What a modem holds while its radio is busy, at 64 kbit/s about nine seconds. One more is dropped."""


class Direction(Frozen):
    """How one direction treats what is sent along it."""

    blocked: bool = False
    """Nothing passes, and nobody is told."""
    kbit: float | None = None
    """Thousands of bits a second; None: no limit."""
    delay_ms: float = 0.0
    loss: float = 0.0
    """Share of packets that never arrive."""

    def __post_init__(self) -> None:
        if self.kbit is not None and not self.kbit > 0:
            raise InvalidError(f"kbit: {self.kbit} must be above 0 (to let nothing pass, cut or half-open the link)")
        if not 0 <= self.delay_ms <= DELAY_MS_MAX:
            raise InvalidError(f"delay_ms: {self.delay_ms} must be between 0 and {DELAY_MS_MAX:.0f}")
        if not 0 <= self.loss < 1:
            raise InvalidError(f"loss: {self.loss} must be a share from 0 to below 1 (to lose all, cut the link)")


CLEAR: Final = Direction()


class Shape(Frozen):
    """Both directions of a line, as the site sees them."""

    up: Direction = CLEAR
    down: Direction = CLEAR

    def blocked(self, *, up: bool, down: bool) -> Shape:
        """The same line with these directions silent, and the others not."""
        return Shape(up=replace(self.up, blocked=up), down=replace(self.down, blocked=down))


class Pipe:
    """One direction at work."""

    def __init__(self, chance: Callable[[], float], direction: Direction = CLEAR) -> None:
        self._chance = chance
        self._leaving: deque[float] = deque()
        """When each packet that waits for the rate leaves; ascending."""
        self._direction = direction

    @property
    def direction(self) -> Direction:
        return self._direction

    @direction.setter
    def direction(self, direction: Direction) -> None:
        """From now on so; what already waits leaves as it was told."""
        self._direction = direction
        if direction.kbit is None or direction.blocked:
            self._leaving.clear()

    def offer(self, size: int, now: float) -> float | None:
        """When `size` bytes offered at `now` arrive, in seconds; None: they are lost."""
        direction = self._direction
        if direction.blocked or (direction.loss and self._chance() < direction.loss):
            return None
        leaves = now
        if direction.kbit is not None:
            waiting = self._leaving
            while waiting and waiting[0] <= now:
                waiting.popleft()
            if len(waiting) >= QUEUE_PACKETS_MAX:
                return None
            leaves = max(now, waiting[-1] if waiting else now) + size * 8 / (direction.kbit * 1000)
            waiting.append(leaves)
        return leaves + direction.delay_ms / 1000
