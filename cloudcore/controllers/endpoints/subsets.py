"""The Endpoints object of a Service, as clients of before EndpointSlices read it. Pure; keeps nothing.

Subsets are packed and ordered as Kubernetes' `pkg/api/v1/endpoints` packs them: addresses with the same ports
together, ready apart from not ready. The order is that of names and numbers here (Kubernetes': of hashes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.controllers.ownership import with_metadata
from skerry.objects.json import Json, JsonObject, bool_at, maps_at, to_json
from skerry.objects.members import Member, Port, families_of, is_headless, labels_for, members_of
from skerry.objects.meta import annotations_of, being_deleted, name_of, namespace_of

MANAGED_BY: Final = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"
ADDRESSES_MAX: Final = 1000
"""More are left out, and the object says so: EndpointSlices have them all."""


def endpoints_of(service: JsonObject, pods: Iterable[JsonObject], zones: dict[str, str]) -> JsonObject:
    """The whole object. A pod that is being deleted is no endpoint, unless the service wants those not ready too."""
    going_too = bool_at(service, "spec", "publishNotReadyAddresses")
    candidates = [pod for pod in pods if going_too or not being_deleted(pod)]
    members = members_of(service, candidates, zones, families_of(service)[0])
    kept, cut = _cut(members)
    metadata: JsonObject = {
        "name": name_of(service),
        "namespace": namespace_of(service),
        "labels": to_json(labels_for(service, MANAGED_BY)),
    }
    if cut:
        metadata["annotations"] = {OVER_CAPACITY: "truncated"}
    made: JsonObject = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    subsets = _subsets(kept, portless=is_headless(service) and not maps_at(service, "spec", "ports"))
    if subsets:
        made["subsets"] = subsets
    return made


def brought_up(current: JsonObject, wanted: JsonObject) -> JsonObject:
    """`current` with what is wanted of it; annotations of others stay."""
    said = annotations_of(current)
    said.pop(OVER_CAPACITY, None)
    said |= annotations_of(wanted)
    labels = wanted["metadata"]["labels"] if isinstance(wanted["metadata"], dict) else None
    made = with_metadata(current, labels=labels, annotations=to_json(said))
    made.pop("subsets", None)
    if "subsets" in wanted:
        made["subsets"] = wanted["subsets"]
    return made


def _cut(members: Sequence[Member]) -> tuple[list[Member], bool]:
    """Ready ones stay first where there are too many."""
    if len(members) <= ADDRESSES_MAX:
        return list(members), False
    return sorted(members, key=lambda member: (not member.ready, member))[:ADDRESSES_MAX], True


def _subsets(members: Sequence[Member], *, portless: bool) -> list[Json]:
    by_ports: dict[tuple[Port, ...], list[Member]] = defaultdict(list)
    for member in members:
        if member.ports or portless:
            by_ports[member.ports].append(member)
    return [_subset(ports, sorted(found)) for ports, found in sorted(by_ports.items())]


def _subset(ports: Sequence[Port], members: Sequence[Member]) -> JsonObject:
    subset: JsonObject = {}
    for name, ready in (("addresses", True), ("notReadyAddresses", False)):
        addresses: list[Json] = [_address(member) for member in members if member.ready is ready]
        if addresses:
            subset[name] = addresses
    if ports:
        subset["ports"] = [_port(port) for port in ports]
    return subset


def _address(member: Member) -> JsonObject:
    namespace, name, uid = member.target
    address: JsonObject = {"ip": member.address}
    if member.hostname:
        address["hostname"] = member.hostname
    if member.node:
        address["nodeName"] = member.node
    address["targetRef"] = {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid}
    return address


def _port(port: Port) -> JsonObject:
    made: JsonObject = {"name": port.name} if port.name else {}
    made |= {"port": port.number, "protocol": port.protocol}
    if port.app_protocol:
        made["appProtocol"] = port.app_protocol
    return made
