"""Asks the servers' own build whether it takes a zone, and does not ask again for what it has just taken.

Keeps, of each zone, a digest of what was taken last; who is up is no part of that, so that a failure is told without
reading the whole zone.
"""

from __future__ import annotations

import hashlib

from cloudcore.controllers.gslb.plan import Judge
from skerry.objects.json import Json, JsonObject, encode_object, map_at, maps_at

_STATE = ("state", "reason", "votes")


class Remembering:
    """A judge that remembers."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._taken: dict[str, bytes] = {}

    def __call__(self, zone: str, spec: JsonObject) -> str:
        digest = _digest(spec)
        if self._taken.get(zone) == digest:
            return ""
        fault = self._judge(zone, spec)
        if not fault:
            self._taken[zone] = digest
        return fault


def _digest(spec: JsonObject) -> bytes:
    document = map_at(spec, "services")
    services: JsonObject = {}
    for name in map_at(document, "services"):
        rows: list[Json] = [
            {field: value for field, value in each.items() if field not in _STATE}
            for each in maps_at(document, "services", name, "endpoints")
        ]
        services[name] = {**map_at(document, "services", name), "endpoints": rows}
    return hashlib.blake2b(encode_object({**spec, "services": {**document, "services": services}})).digest()
