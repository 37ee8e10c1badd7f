"""Reading a driver's free-form configuration, with errors that name the field and the fix.

Pure. A misspelt `scale` that is silently ignored makes wrong values, so a field nobody knows is an error.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal, InvalidOperation

from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject


def refuse_unknown(data: JsonObject, known: Collection[str], where: str) -> None:
    """Raises `InvalidError` for the first field that is not known, with the nearest that is."""
    for name in data:
        if name not in known:
            import difflib  # only who errs pays

            near = difflib.get_close_matches(name, known, 1)
            fix = f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(known))}"
            raise InvalidError(f"{where}.{name}: unknown field; {fix}")


def _given(data: JsonObject, names: Collection[str]) -> tuple[str, Json]:
    return next(((name, data[name]) for name in names if data.get(name) is not None), ("", None))


def text_in(data: JsonObject, *names: str, where: str, default: str | None = None) -> str:
    """The first of these fields that is there, as text (a YAML number too). `default` None: it is required."""
    name, value = _given(data, names)
    if value is None:
        if default is None:
            raise InvalidError(f"{where}.{names[0]}: required")
        return default
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidError(f"{where}.{name}: must be a text")
    return str(value)


def int_in(data: JsonObject, *names: str, where: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number from `low` to `high`; text that is one will do."""
    name, value = _given(data, names)
    if value is None:
        if default is None:
            raise InvalidError(f"{where}.{names[0]}: required, a whole number from {low} to {high}")
        return default
    try:
        number = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        number = value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise InvalidError(f"{where}.{name}: must be a whole number from {low} to {high}, not {value!r}")
    return number


def decimal_in(data: JsonObject, *names: str, where: str, default: str) -> Decimal:
    """A number, exactly as it was written."""
    name, value = _given(data, names)
    if value is None:
        return Decimal(default)
    try:
        number = Decimal(str(value)) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise InvalidError(f"{where}.{name}: must be a number, not {value!r}")
    return number


def bool_in(data: JsonObject, *names: str, where: str, default: bool) -> bool:
    """A truth value; the texts `true` and `false` will do."""
    name, value = _given(data, names)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise InvalidError(f"{where}.{name}: must be true or false, not {value!r}")


def map_in(data: JsonObject, name: str, *, where: str) -> JsonObject:
    """An object, or an empty one where there is none."""
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidError(f"{where}.{name}: must be an object")
    return value
