"""How the gateways of a site are told which pods' addresses are behind which of them. Pure; keeps nothing.

An EndpointSlice without a service, one for each node and family: its endpoint is the node at its own address, an
annotation says the ranges of its pods. Why a slice: docs/decisions/0374.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, maps_at, str_at, strs_at
from skerry.objects.members import family_of
from skerry.objects.meta import annotations_of, labels_of

ROUTES_NAMESPACE: Final = "kube-system"
ROUTES_LABEL: Final = "skerry.dev/pod-ranges-of"
POD_RANGES: Final = "skerry.dev/pod-ranges"


class NodeRoute(Frozen, order=True):
    """Pods with these addresses are behind this gateway."""

    node: str
    zone: str
    range: str
    gateway: str


def route_slice_name(node: str, family: str) -> str:
    """Of one node. No name that the endpoint slice controller makes ends so."""
    return f"{node}.{family.lower()}.pods"


def routes_in(slice_: JsonObject) -> list[NodeRoute]:
    """What a slice says of routes; [] for any other slice."""
    node = labels_of(slice_).get(ROUTES_LABEL, "")
    if not node or str_at(slice_, "metadata", "namespace") != ROUTES_NAMESPACE:
        return []
    ranges = [each for each in annotations_of(slice_).get(POD_RANGES, "").split(",") if each]
    found: list[NodeRoute] = []
    for endpoint in maps_at(slice_, "endpoints"):
        for address in strs_at(endpoint, "addresses")[:1]:
            if family_of(address) and str_at(endpoint, "nodeName") == node:
                zone = str_at(endpoint, "zone")
                found += (NodeRoute(node=node, zone=zone, range=each, gateway=address) for each in ranges)
    return found
