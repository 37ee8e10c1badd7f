"""EndpointSlices after Endpoints that somebody made by hand for a Service without a selector. Pure; keeps nothing.

Rules: Kubernetes' `pkg/controller/endpointslicemirroring`. At most a thousand addresses of a subset are mirrored.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from cloudcore.controllers.endpoints.slices import MANAGER_LABEL, SERVICE_LABEL, Owner, Shape
from cloudcore.controllers.ownership import controller_reference
from skerry.objects.json import Json, JsonObject, maps_at, str_at, str_map_at
from skerry.objects.members import family_of, ports_in
from skerry.objects.meta import annotations_of, labels_of, name_of, namespace_of
from skerry.objects.sites import site_in

MANAGER: Final = "endpointslicemirroring-controller.k8s.io"
SKIP: Final = "endpointslice.kubernetes.io/skip-mirror"
_LEADER: Final = "control-plane.alpha.kubernetes.io/leader"
_UNMIRRORED: Final = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"}
)
ADDRESSES_MAX: Final = 1000
"""Of one subset."""


def is_mirrored(endpoints: JsonObject, service: JsonObject) -> bool:
    """Not those that a controller made, that are a lock of before Leases, or that ask not to be."""
    skipped = labels_of(endpoints).get(SKIP) == "true" or _LEADER in annotations_of(endpoints)
    return not skipped and not str_map_at(service, "spec", "selector")


def owner_of(endpoints: JsonObject) -> Owner:
    found = {SERVICE_LABEL: name_of(endpoints), MANAGER_LABEL: MANAGER}
    said = annotations_of(endpoints)
    return Owner(
        reference=controller_reference(endpoints),
        namespace=namespace_of(endpoints),
        prefix=f"{name_of(endpoints)}-",
        labels={**labels_of(endpoints), **found},
        annotations={name: text for name, text in said.items() if name not in _UNMIRRORED},
    )


def wanted(endpoints: JsonObject) -> dict[Shape, dict[str, JsonObject]]:
    """The endpoints that should be, by shape and address."""
    found: dict[Shape, dict[str, JsonObject]] = defaultdict(dict)
    for subset in maps_at(endpoints, "subsets"):
        ports = ports_in(subset)
        both = [
            *((address, True) for address in maps_at(subset, "addresses")),
            *((address, False) for address in maps_at(subset, "notReadyAddresses")),
        ]
        for address, ready in both[:ADDRESSES_MAX]:
            ip = str_at(address, "ip")
            family = family_of(ip)
            if family:
                endpoint = _endpoint(ip, address, ready=ready)
                found[family, ports, site_in(endpoint)].setdefault(ip, endpoint)
    return found


def _endpoint(ip: str, address: JsonObject, *, ready: bool) -> JsonObject:
    endpoint: JsonObject = {"addresses": [ip], "conditions": {"ready": ready}}
    for name in ("hostname", "nodeName", "targetRef"):
        value: Json = address.get(name)
        if value:
            endpoint[name] = value
    return endpoint
