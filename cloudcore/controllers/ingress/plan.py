"""Where an Ingress is reached: the addresses of the gateways that say that they serve it. Pure; keeps nothing.

A gateway that is not heard keeps its addresses: it serves its site without the cloud. Those of a Node that is gone
go with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from skerry.objects.json import Json, JsonObject, map_at

SHOWN_MAX: Final = 64
"""Addresses of one Ingress: an object that everybody reads does not grow with the fleet."""


def addressed(ingress: JsonObject, addresses: Iterable[str]) -> JsonObject:
    """The Ingress with these in `status.loadBalancer.ingress`; itself where nothing changes."""
    rows: list[Json] = []
    for address in sorted(set(addresses), key=_rank)[:SHOWN_MAX]:
        try:
            rows.append({"ip": str(ipaddress.ip_address(address))})
        except ValueError:
            rows.append({"hostname": address})
    status = map_at(ingress, "status")
    wanted: JsonObject = {"ingress": rows} if rows else {}
    if map_at(status, "loadBalancer") == wanted:
        return ingress
    return {**ingress, "status": {**status, "loadBalancer": wanted}}


def _rank(address: str) -> tuple[int, int, str]:
    """By family and number, names last."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return 9, 0, address
    return found.version, int(found), ""
