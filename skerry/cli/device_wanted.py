"""`skerry device history --desired`: who wanted what of a device instead of what, and what became of it.

The log is the cloud's or, on a gateway, its own (`desiredlog`): the same rows from both. Keeps nothing.
"""

from __future__ import annotations

from typing import Final

from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import DEVICES
from skerry.cli.listing import Listing, Row
from skerry.objects.json import JsonObject, dig, int_at, map_at, maps_at, str_at
from skerry.objects.times import time_text

ITEMS: Final = 100
"""Shown where nobody says how many."""
NOTHING: Final = "(nothing)"


def read_wanted(
    client: Client, place: str, name: str, prop: str, *, since_ms: int | None, limit: int | None
) -> list[JsonObject]:
    """Items of the log in order of time, the newest `limit` of them; of all properties where none is named."""
    query = {"limit": str(limit or ITEMS)}
    query |= {"property": prop} if prop else {}
    query |= {"sinceTime": time_text(since_ms)} if since_ms is not None else {}
    return maps_at(client.request("GET", path_of(DEVICES, place, name, "desiredlog"), query=query).obj, "items")[::-1]


def wanted_listed(name: str, items: list[JsonObject]) -> Listing:
    """One row a change."""
    titles = (
        "TIME",
        "PROPERTY",
        "BEFORE",
        "WANTED",
        "BY",
        "SIDE",
        "ANSWER",
        "REASON",
        "NUMBER",
        "VERSION",
        "REVISION",
    )
    rows = tuple(
        Row(cells=_cells(item), obj=item, name=f"device/{name}/{str_at(item, 'property')}") for item in items
    )
    return Listing(titles=titles, rows=rows, wide=frozenset({"NUMBER", "VERSION", "REVISION"}))


def _cells(item: JsonObject) -> tuple[str, ...]:
    answer = map_at(item, "answer")
    values = [dig(item, name) for name in ("before", "value")]
    before, wanted = (NOTHING if value is None else str(value) for value in values)
    return (
        str_at(item, "time"),
        str_at(item, "property"),
        before,
        wanted,
        str_at(item, "by") or "-",
        str_at(item, "side"),
        str_at(answer, "state") or "-",
        str_at(answer, "reason"),
        str(int_at(item, "number")),
        str_at(item, "version"),
        str_at(item, "revision") or "-",
    )
