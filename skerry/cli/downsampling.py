"""Readings thinned to one row a step: what a long history looks like on one screen.

Pure. Steps begin at whole multiples of their length since the epoch, so that two looks at the same time show the same
steps. Only what was read counts: a step without readings has none, a hole stays a hole, and nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject, dig, int_at, map_at, str_at
from skerry.objects.times import ms_at

AGGREGATES: Final = ("min", "max", "avg", "first", "last", "count")
BLOCKS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One row of a history."""

    at_ms: int
    text: str
    """"" where there is no value."""
    number: float | None
    """The value as a number (true is 1); None where it is none."""


def reading_of(row: JsonObject) -> Reading:
    """A row as the API tells it."""
    text = dig(row, "value")
    shown = text if isinstance(text, str) else ""
    return Reading(at_ms=ms_at(str_at(row, "time")), text=shown, number=_number(shown))


def _number(text: str) -> float | None:
    if text in ("true", "false"):
        return float(text == "true")
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(slots=True, kw_only=True)
class Step:
    """What was read from `at_ms` until the next step."""

    at_ms: int
    readings: list[Reading] = field(default_factory=list[Reading])
    bad: int = 0
    """Readings without a value."""
    lost: int = 0
    """Readings that a gateway had to drop, at most."""

    def aggregate(self, name: str) -> str:
        """`avg` is the mean of the readings, however long each of them held. "" where there is none."""
        numbers = [reading.number for reading in self.readings if reading.number is not None]
        match name:
            case "count":
                return str(len(self.readings))
            case "first" | "last" if self.readings:
                return self.readings[0 if name == "first" else -1].text
            case "min" if numbers:
                return number_text(min(numbers))
            case "max" if numbers:
                return number_text(max(numbers))
            case "avg" if numbers:
                return number_text(sum(numbers) / len(numbers))
            case _:
                return ""


def number_text(number: float) -> str:
    """Seven significant figures, without an exponent where none is needed."""
    return f"{number:.7g}"


def aggregates_of(text: str) -> tuple[str, ...]:
    """`min,max,avg`. Raises `BadRequestError`."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in AGGREGATES:
            raise BadRequestError(f"--agg {name}: use {', '.join(AGGREGATES)}")
    if not names:
        raise BadRequestError(f"--agg: name at least one of {', '.join(AGGREGATES)}")
    return names


def steps_of(rows: Iterable[JsonObject], step_ms: int) -> list[Step]:
    """Rows in order of time, as steps in which there was something. A hole counts where it begins; of two that tell
    of the same hole the later stands."""
    steps: dict[int, Step] = {}
    holes: dict[tuple[str, int], tuple[int, int]] = {}
    for row in rows:
        at_ms = ms_at(str_at(row, "time"))
        gap = map_at(row, "gap")
        if gap:
            holes[str_at(row, "node"), int_at(gap, "id")] = (at_ms, int_at(gap, "count"))
            continue
        step = steps.setdefault(at_ms // step_ms, Step(at_ms=at_ms // step_ms * step_ms))
        reading = reading_of(row)
        if reading.text:
            step.readings.append(reading)
        else:
            step.bad += 1
    for at_ms, count in holes.values():
        steps.setdefault(at_ms // step_ms, Step(at_ms=at_ms // step_ms * step_ms)).lost += count
    return [steps[key] for key in sorted(steps)]


def columns_of(readings: Sequence[Reading], *, since_ms: int, until_ms: int, width: int) -> list[float | None]:
    """The mean of each of `width` equal parts of the time; None where nothing was read."""
    sums: list[list[float]] = [[] for _ in range(width)]
    span_ms = max(1, until_ms - since_ms)
    for reading in readings:
        if reading.number is not None and since_ms <= reading.at_ms <= until_ms:
            sums[min(width - 1, (reading.at_ms - since_ms) * width // span_ms)].append(reading.number)
    return [sum(held) / len(held) if held else None for held in sums]


def sparkline(columns: Sequence[float | None]) -> str:
    """One character a column; blank where nothing was read."""
    known = [value for value in columns if value is not None]
    if not known:
        return " " * len(columns)
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if value is None else BLOCKS[1 + round((value - low) / span * 7) if span else 4] for value in columns
    )


def plot(columns: Sequence[float | None], height: int) -> list[str]:
    """Bars of `height` lines, with the values of the topmost and the lowest line at their left."""
    known = [value for value in columns if value is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    marks = {0: number_text(high), height - 1: number_text(low)}
    margin = max(len(mark) for mark in marks.values())
    lines: list[str] = []
    for line in range(height):
        floor = (height - 1 - line) * 8
        cells = "".join(
            " "
            if value is None
            else BLOCKS[max(0, min(8, 1 + round((value - low) / span * (height * 8 - 1)) - floor))]
            for value in columns
        )
        lines.append(f"{marks.get(line, ''):>{margin}} ┤{cells}")
    return lines
