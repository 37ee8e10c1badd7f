"""What is wrong with a link, and what a fleet went through: the same on both backends, in the same words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from skerry.testkit import arguments
from skerry.testkit.face import FaultView

Direction = Literal["up", "down"]

TOLD_MAX: Final = 1000
"""Faults that a fleet remembers: the first half and the newest half of more."""


@dataclass(slots=True)
class Faults:
    """What is wrong with a link now. Faults add up until the link is healed."""

    is_cut: bool = False
    silent: set[Direction] = field(default_factory=set[Direction])
    kbit: float | None = None
    loss: float = 0.0
    delay_s: float = 0.0

    def half_open(self, *, up: bool, down: bool) -> None:
        self.silent |= {"up"} if up else set()
        self.silent |= {"down"} if down else set()

    def slow(self, *, kbit: float | None, loss: float, delay_ms: float) -> None:
        """Raises `InvalidError` for what makes no sense."""
        limit, share, delay = arguments.kbit(kbit), arguments.loss(loss), arguments.delay_ms(delay_ms)
        self.kbit, self.loss, self.delay_s = limit, share, delay / 1000

    def told(self) -> str:
        """For people."""
        if self.is_cut:
            return "cut"
        parts: list[str] = []
        if self.silent:
            parts.append(f"half-open ({' and '.join(sorted(self.silent))})")
        if self.kbit is not None:
            parts.append(f"{self.kbit:g} kbit/s")
        if self.loss:
            parts.append(f"{self.loss * 100:g} % loss")
        if self.delay_s:
            parts.append(f"{self.delay_s * 1000:g} ms delay")
        return ", ".join(parts) or "healthy"


@dataclass(slots=True)
class Timeline:
    """What was done to a fleet, in order."""

    _first: list[FaultView] = field(default_factory=list[FaultView])
    _newest: list[FaultView] = field(default_factory=list[FaultView])

    def add(self, at_s: float, who: str, what: str) -> None:
        kept = self._first if len(self._first) < TOLD_MAX // 2 else self._newest
        kept.append(FaultView(at_s=at_s, who=who, what=what))
        del self._newest[: -TOLD_MAX // 2]

    @property
    def faults(self) -> Sequence[FaultView]:
        return (*self._first, *self._newest)
