"""Readings as a line or a picture: what a long history looks like on one screen. Pure; nothing is filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.history import number_of
from skerry.objects.json import JsonObject, dig, str_at
from skerry.objects.times import ms_at

BLOCKS: Final = " ▁▂▃▄▅▆▇█"


class Reading(Frozen):
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
    return Reading(at_ms=ms_at(str_at(row, "time")), text=shown, number=number_of(shown))


def number_text(number: float) -> str:
    """Seven significant figures, without an exponent where none is needed."""
    return f"{number:.7g}"


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
