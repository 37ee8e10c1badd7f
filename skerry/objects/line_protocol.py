"""InfluxDB's line protocol, for all who write it: what has a form in it is written so that it is read back the same.

Pure. Source: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/. Strokes are themselves in names
and tags, except at their end, where they would take the sign behind them along; a text between quotes has them twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NUMBERS: Final = 1_000_000
"""Nanoseconds in a millisecond."""


def point(measurement: str, tags: Mapping[str, str], fields: Mapping[str, str], *, at_ms: int, number: int) -> str:
    """A line, without its end. `fields` are as they are written (a number, `true`, `quoted`); tags without a value
    are left out. Of two points of one time InfluxDB keeps one, so the nanoseconds, which nobody here knows, are of a
    `number` of the reading's own."""
    named = "".join(f",{_tag(name)}={_tag(value)}" for name, value in tags.items() if value)
    said = ",".join(f"{_tag(name)}={value}" for name, value in fields.items())
    return f"{_name(measurement)}{named} {said} {at_ms}{number % NUMBERS:06d}"


def quoted(text: str) -> str:
    """A field that is a text."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _name(text: str) -> str:
    """Line ends have no form in a name, nor has a stroke at its end."""
    clean = text.replace("\n", " ").replace("\r", " ").replace(",", "\\,").replace(" ", "\\ ")
    return clean[:-1] + "_" if clean.endswith("\\") else clean


def _tag(text: str) -> str:
    return _name(text).replace("=", "\\=")
