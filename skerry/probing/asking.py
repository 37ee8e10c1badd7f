"""What the cloud asks a gateway to try, and what it answers (a stream of kind `probes`). Pure.

{"tries": [{"address": "203.0.113.1", "host": "www.example.com", "probe": {"type": "HTTP", "port": 80}}, ...]}
{"reasons": ["", "status 500", ...]}            in the same order; "" where it is good
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.probing.probe import Probe, probe_of

PROBES: Final = "probes"
"""The kind of stream."""
TRIES_MAX: Final = 100
REASON_MAX: Final = 200


class Try(Frozen):
    address: str
    host: str
    given: JsonObject
    """The probe, as a GlobalService says it."""

    @property
    def probe(self) -> Probe:
        """Raises `InvalidError`."""
        return probe_of(self.given, "probe", self.host)


def question(tries: Iterable[Try]) -> JsonObject:
    rows: list[Json] = [{"address": each.address, "host": each.host, "probe": each.given} for each in tries]
    return {"tries": rows}


def tries_of(params: JsonObject) -> list[Try]:
    """Raises `InvalidError` for what can't be tried."""
    rows = maps_at(params, "tries")
    if len(rows) > TRIES_MAX:
        raise InvalidError(f"tries: {len(rows)} are too many, at most {TRIES_MAX} are made at a time")
    found = [
        Try(address=str_at(row, "address"), host=str_at(row, "host"), given=map_at(row, "probe")) for row in rows
    ]
    for each in found:
        try:
            ipaddress.ip_address(each.address)
        except ValueError as error:
            raise InvalidError(f"tries: {error}") from None
        _ = each.probe
    return found


def answer(reasons: Sequence[str]) -> JsonObject:
    return {"reasons": [reason[:REASON_MAX] for reason in reasons]}
