"""A fault case: what is done, what is measured, and within which limit it passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

NOT_TESTED: Final = "not tested upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing measured."""

    what: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    target: float | None = None
    """The figure to beat, at most: what we aim at on a quiet machine, where the limit is what no machine may exceed.
    None: none was set for it."""

    @property
    def meets(self) -> bool:
        """At its target; true where it has none."""
        return self.target is None or self.value <= self.target

    @property
    def target_text(self) -> str:
        return "" if self.target is None else f"≤ {number_text(self.target)}"

    @property
    def holds(self) -> bool:
        """Within its limits; a figure without one is for information."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def text(self) -> str:
        return f"{number_text(self.value)} {self.unit}".strip()

    @property
    def limit_text(self) -> str:
        if self.at_most is not None and self.at_most == self.at_least:
            return f"= {number_text(self.at_most)}"
        if self.at_most is not None:
            return f"≤ {number_text(self.at_most)}"
        return "" if self.at_least is None else f"≥ {number_text(self.at_least)}"


def exactly(what: str, value: float, wanted: float, unit: str = "") -> Figure:
    return Figure(what=what, value=value, unit=unit, at_most=wanted, at_least=wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One of the list in the order in which it is told."""

    number: int
    name: str
    title: str
    method: str
    kubeedge: str
    """Its figure, with where it is from; or `NOT_TESTED`."""
    run: Callable[[], Sequence[Figure]]


def number_text(value: float) -> str:
    """As people read it: no digit that means nothing."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
