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
            one_host = is_one_host(each.address)
        except ValueError as error:
            raise InvalidError(f"tries: {error}") from None
        if not one_host:
            raise InvalidError(f"tries: {each.address} is no single host's address")
        _ = each.probe
    return found


def is_one_host(address: str) -> bool:
    """Whether it is not many hosts', or none's: one probe would be answered by a whole site. Raises `ValueError`."""
    found = ipaddress.ip_address(address)
    inside = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return not any(
        each.is_multicast or each.is_unspecified or each == ipaddress.IPv4Address("255.255.255.255")
        for each in (found, inside)
        if each is not None
    )


def answer(reasons: Sequence[str]) -> JsonObject:
    return {"reasons": [reason[:REASON_MAX] for reason in reasons]}
