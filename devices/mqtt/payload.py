"""What an MQTT message says: a value, when it was true, and its number.

Pure. Payloads are text or JSON; a path picks one value out of JSON: `$.sensors[0].temperature`, `$['a b']` (the part
of RFC 9535 that names one place). What is not there, or not of the declared type, raises `InvalidError`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from skerry.errors import InvalidError
from skerry.objects.device_twins import ms_of
from skerry.objects.json import Json
from skerry.objects.twins import Value, parse_value

Path: TypeAlias = "tuple[str | int, ...]"

_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")

SECONDS_MAX: Final = 100_000_000_000
"""A number below this is a time in seconds (until the year 5138), above it in milliseconds (since 1973)."""

PAYLOAD_BYTES_MAX: Final = 256 * 1024
"""Of one message. A sensor that sends more sends something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where in a payload what is."""

    value: Path | None
    """None: the payload is the value."""
    timestamp: Path | None = None
    sequence: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one message says of one property."""

    value: Value
    source_ms: int | None
    source_seq: int | None


def parse_path(text: str) -> Path:
    """Raises `InvalidError` for what does not name one place."""
    if not text.startswith("$"):
        raise InvalidError(f"{text!r} is not a path: begin with $, as in $.temperature")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise InvalidError(
                f"{text!r} can't be read from {text[at:]!r} on: use steps such as .name, ['name'] or [0]"
            )
        name, index, quoted, double = found.groups()
        steps.append(int(index) if index is not None else name or quoted or double or "")
        at = found.end()
    return tuple(steps)


def read_payload(payload: bytes, type: str, layout: Layout) -> Said:
    """What the payload says. Raises `InvalidError` with the reason when it says nothing that can be used."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise InvalidError(f"a payload of {len(payload)} bytes is too large")
    if type == "BYTES" and layout.value is None:
        return Said(value=payload, source_ms=None, source_seq=None)
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidError("the payload is not UTF-8 text") from error
    if layout.value is None and layout.timestamp is None and layout.sequence is None:
        return Said(value=_typed(type, text.strip(), "the payload"), source_ms=None, source_seq=None)
    try:
        document: Json = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InvalidError(f"the payload is not JSON: {error}") from error
    return Said(
        value=_typed(type, _at(document, layout.value or ()), "the value"),
        source_ms=None if layout.timestamp is None else _time(_at(document, layout.timestamp)),
        source_seq=None if layout.sequence is None else _number(_at(document, layout.sequence)),
    )


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _at(document: Json, path: Path) -> Json:
    at = document
    for step in path:
        if isinstance(step, int):
            at = at[step] if isinstance(at, list) and step < len(at) else None
        else:
            at = at.get(step) if isinstance(at, dict) else None
    return at


def _typed(type: str, value: Json, what: str) -> Value:
    if value is None:
        raise InvalidError(f"{what} is not there")
    if isinstance(value, dict | list):
        raise InvalidError(f"{what} is not one value")
    if isinstance(value, bool):
        if type not in ("BOOLEAN", "STRING"):
            raise InvalidError(f"{what} is {str(value).lower()}, not of type {type}")
        return parse_value(type, str(value).lower())
    if isinstance(value, float):
        return parse_value(type, format(Decimal(repr(value)), "f"))
    return parse_value(type, str(value))


def _time(value: Json) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return round(value if value >= SECONDS_MAX else value * 1000)
    at_ms = ms_of(value) if isinstance(value, str) else None
    if at_ms is None:
        raise InvalidError(f"the timestamp {value!r} is neither RFC 3339 nor a number of seconds or milliseconds")
    return at_ms


def _number(value: Json) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidError(f"the sequence number {value!r} is not a whole number")
