"""The byte-order detective: what the registers of a device may mean, the most plausible first.

Pure. Every type in every order is tried on the words read, several times where there are several samples, and judged
as people would: a temperature of 23.4 is likelier than one of 1.7e-38, a text of letters likelier than one of noise,
and a value that hardly moved between two samples likelier than one that jumped. It is a guess, and says how good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from devices.codec import REGISTERS, Codec, RawType, decode
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.twins import Value

TYPES: Final[tuple[RawType, ...]] = (
    "uint16", "int16", "bcd16", "float32", "uint32", "int32", "bcd32", "float64", "uint64", "int64", "string",
)  # fmt: skip
ORDERS: Final[dict[int, tuple[str, ...]]] = {
    1: ("ABCD", "BADC"),
    2: ("ABCD", "CDAB", "BADC", "DCBA"),
    4: ("ABCD", "CDAB", "BADC", "DCBA", "CDABGHEF", "EFGHABCD"),
}
_PRIOR: Final[dict[str, float]] = {"float32": 1.0, "float64": 0.9, "string": 1.0, "bcd16": 0.4, "bcd32": 0.4}
"""How often devices have it, against plain integers (0.7)."""


NARROW: Final = 0.7
"""Whoever asks for several registers likely thinks that they belong together."""
PARTLY: Final = 0.9


class Guess(Frozen):
    """One way to read the registers."""

    raw: RawType
    order: str
    values: tuple[Value, ...]
    """Of each sample."""
    score: float
    """0 to 1."""


def guesses(samples: Sequence[Sequence[int]]) -> list[Guess]:
    """Of the first registers of each sample; ways that give no value at all are left out."""
    available = min(len(sample) for sample in samples)
    found: list[Guess] = []
    for raw in TYPES:
        count = REGISTERS.get(raw, available)
        if count > available:
            continue
        for order in ("ABCD", "BADC") if raw == "string" else ORDERS[count]:
            guess = _guess(raw, order, [sample[:count] for sample in samples], available=available)
            if guess is not None:
                found.append(guess)
    return sorted(found, key=lambda guess: -guess.score)


def _guess(raw: RawType, order: str, samples: Sequence[Sequence[int]], *, available: int) -> Guess | None:
    type = "STRING" if raw == "string" else "DOUBLE" if raw.startswith("float") else "INT"
    codec = Codec(raw=raw, type=type, count=len(samples[0]), order=order)
    try:
        values = tuple(decode(codec, sample) for sample in samples)
    except InvalidError:
        return None
    score = _PRIOR.get(raw, 0.7) * min(_plausible(value) for value in values) * _steady(values)
    if len(samples[0]) < available:
        score *= NARROW if len(samples[0]) == 1 else PARTLY
    if order not in ("ABCD", "CDAB"):
        score *= 0.95  # rarer, where all else is equal
    return Guess(raw=raw, order=order, values=values, score=score)


def _plausible(value: Value) -> float:
    if isinstance(value, str):
        good = sum(char.isalnum() or char in " .-_/:" for char in value)
        return 0.0 if len(value) < 2 else (good / len(value)) ** 4
    if isinstance(value, bytes):
        return 0.0
    size = abs(float(value))
    if size == 0:
        return 0.3
    magnitude = math.log10(size)
    # Between a thousandth and a million all is well; beyond, ever less.
    far = max(0.0, -3 - magnitude, magnitude - 6)
    likely = math.exp(-far / 2)
    if isinstance(value, float):
        digits = len(repr(size).split("e")[0].replace(".", "").strip("0"))
        likely *= 1.0 if digits <= 9 else 0.8
    else:
        likely *= 1.0 if magnitude < 4.9 else 0.8
    return likely


def _steady(values: Sequence[Value]) -> float:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) < 2:
        return 1.0
    spread = max(numbers) - min(numbers)
    size = max(map(abs, numbers)) or 1.0
    return 1.0 / (1.0 + 4 * spread / size)
