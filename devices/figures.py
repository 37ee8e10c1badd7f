"""How a line does: what was asked on it, what of its time that took, and which units gave no answer that counts.

Pure; in memory of a fixed size, counted anew by each agent. Drivers whose devices share lines are `OnLines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from skerry.frozen import Frozen
from skerry.objects.meta import Key

RECENT_S: Final = 60
"""Rates are of the last minute."""


@dataclass(slots=True, kw_only=True)
class UnitCounts:
    """Of one unit, since the line was made. A write and what it reads back is one request."""

    requests: int = 0
    silences: int = 0
    wrong_answers: int = 0
    refusals: int = 0
    """It answered that it can't."""


class UnitFigures(Frozen):
    """One unit of a line."""

    unit: int
    devices: tuple[str, ...]
    """`namespace/name` of those that are polled there."""
    requests: int
    silences: int
    wrong_answers: int
    refusals: int
    alone_s: float
    """It is left alone for so long yet, as it gave no answer that counts; 0 while it is asked."""


class LineFigures(Frozen):
    """One line."""

    line: str
    counted_s: float
    """Since when counts are kept."""
    requests: int
    requests_s: float
    """A second, in the last minute."""
    used: float
    """Of the last minute; 1.0 is all of it."""
    needs: float | None
    """What its polls need of it; None: not known yet."""
    waiting_writes: int
    waiting_reads: int
    down: str
    """Why nobody can be asked; "" while the line is open."""
    units: tuple[UnitFigures, ...]
    missed: Mapping[str, int]
    """Cycles that were skipped because the line was busy, by device."""


@runtime_checkable
class OnLines(Protocol):
    """A `Driver` whose devices share lines."""

    def line(self, device: Key) -> LineFigures | None:
        """The line of a device; None for one that is not served."""
        ...


class Recent:
    """Requests and the time that they took, of the last minute."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
        self._cells: dict[int, tuple[int, float]] = {}
        """By second: requests that ended in it, and what they took."""

    def add(self, now_s: float, busy_s: float) -> None:
        """A request has ended."""
        second = int(now_s)
        requests, before_s = self._cells.get(second, (0, 0.0))
        self._cells[second] = requests + 1, before_s + busy_s
        if len(self._cells) > 2 * RECENT_S:
            self._cells = {at: cell for at, cell in self._cells.items() if at > second - RECENT_S}

    def rates(self, now_s: float) -> tuple[float, float]:
        """Requests a second, and the share of the time that they took."""
        over_s = max(1.0, min(now_s - self._since_s, RECENT_S))
        cells = [cell for at, cell in self._cells.items() if at > now_s - RECENT_S]
        requests, busy_s = sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)
        return requests / over_s, min(1.0, busy_s / over_s)
