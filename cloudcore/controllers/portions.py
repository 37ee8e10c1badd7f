"""Parts of a number of pods, as users write them: so many, or so much of the whole. Pure; keeps nothing."""

from __future__ import annotations

from typing import Final

from skerry.objects.json import Json

_DIGITS_MAX: Final = 9


def portion(value: Json, whole: int, *, round_up: bool) -> int:
    """IntOrString: a number, or a percentage of `whole`; 25 % where nothing is said (a Deployment's default)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    percent = _percent(value) if isinstance(value, str) else 25
    exact = percent * whole
    return -(-exact // 100) if round_up else exact // 100


def _percent(text: str) -> int:
    """Of what validation would have refused: nothing."""
    digits = text.removesuffix("%")
    return int(digits) if digits != text and digits.isdecimal() and len(digits) <= _DIGITS_MAX else 0
