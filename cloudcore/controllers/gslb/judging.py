"""Asks the servers' own build whether it takes a zone, and does not ask again for what it has just judged.

Keeps digests of what was judged last, and why it was refused; who is up is no part of that, so that a failure is told
without reading the whole zone, also of one of which something is refused.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from cloudcore.controllers.gslb.plan import Judge
from skerry.objects.json import Json, JsonObject, encode_object, map_at, maps_at

_STATE: Final = ("state", "reason", "votes")
JUDGED_MAX: Final = 4000
"""Of all zones: what a few namespaces can have asked."""
FAULT_MAX: Final = 500


class Remembering:
    """A judge that remembers."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._judged: OrderedDict[tuple[str, bytes], str] = OrderedDict()

    def __call__(self, zone: str, spec: JsonObject) -> str:
        asked = zone, _digest(spec)
        if asked in self._judged:
            self._judged.move_to_end(asked)
            return self._judged[asked]
        fault = self._judged[asked] = self._judge(zone, spec)[:FAULT_MAX]
        while len(self._judged) > JUDGED_MAX:
            self._judged.popitem(last=False)
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
    return hashlib.blake2b(
        encode_object({**spec, "services": {**document, "services": services}}), digest_size=16
    ).digest()
