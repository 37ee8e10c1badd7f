"""Sinks: where readings are sent on to, and how far that is. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, str_at

_PLACES: Final = ("webhook", "influx", "prometheus", "postgres", "mqtt")


def _sink(obj: JsonObject, now_ms: int) -> list[Json]:
    spec = map_at(obj, "spec")
    place = next((name for name in _PLACES if name in spec), NONE)
    ready = condition_of(obj, "Ready") or {}
    state = "Paused" if bool_at(spec, "paused") else str_at(ready, "status") or "Unknown"
    counts: list[Json] = [int_at(obj, "status", name) for name in ("behind", "sent", "refused", "trimmed")]
    return [
        str_at(obj, "metadata", "name"),
        place,
        state,
        *counts,
        age(obj, now_ms),
        str_at(spec, place, "url") or str_at(spec, place, "table") or NONE,
        str_at(ready, "message") or str_at(obj, "status", "lastRefused"),
    ]


PRINTERS: Final = {
    ("skerry.dev", "Sink"): Printer(
        columns=columns(
            "Name", "To", "Ready", "Behind", "Sent", "Refused", "Trimmed", "Age", wide=("Where", "Message")
        ),
        cells=_sink,
    )
}
"""By (group, kind)."""
