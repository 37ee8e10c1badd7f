"""Sites: gateways that share a network, and whose pods reach each other. Pure; keeps nothing.

A site is a zone in Kubernetes' words: the label `topology.kubernetes.io/zone` of its nodes. A node without it is a
site of its own. Endpoints say in their EndpointSlice where they are (docs/decisions/0370).
"""

from __future__ import annotations

from typing import Final

from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import labels_of

ZONE_LABEL: Final = "topology.kubernetes.io/zone"
REACH_LABEL: Final = "skerry.dev/reach"
"""Of a Service; its EndpointSlices have it from there. `everywhere`: gateways of other sites reach it as well."""
EVERYWHERE: Final = ""
"""In place of a site: wherever somebody may ask."""


def site_of(node: str, zone: str) -> str:
    """The site of a node, for comparing alone."""
    return f"zone/{zone}" if zone else f"node/{node}"


def site_in(endpoint: JsonObject) -> str:
    """Where an endpoint is; one that is on no node of ours is `EVERYWHERE`."""
    node, zone = str_at(endpoint, "nodeName"), str_at(endpoint, "zone")
    return site_of(node, zone) if node or zone else EVERYWHERE


def sites_of(slice_: JsonObject) -> frozenset[str]:
    """Who has to know an EndpointSlice: the sites of its endpoints, or `EVERYWHERE` alone."""
    if labels_of(slice_).get(REACH_LABEL) == "everywhere":
        return frozenset((EVERYWHERE,))
    found = frozenset(site_in(endpoint) for endpoint in maps_at(slice_, "endpoints"))
    return frozenset((EVERYWHERE,)) if EVERYWHERE in found else found
