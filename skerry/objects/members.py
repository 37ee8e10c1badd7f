"""Which pods stand behind a Service, at which addresses and ports. Pure; keeps nothing.

Rules: Kubernetes' `pkg/controller/endpoint` and `k8s.io/endpointslice`. A member is one pod in one family of
addresses; whoever writes Endpoints or EndpointSlices puts it into their words.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import being_deleted, labels_of, name_of, namespace_of, uid_of
from skerry.objects.pods import is_over, is_ready
from skerry.objects.sites import ZONE_LABEL

HEADLESS_LABEL: Final = "service.kubernetes.io/headless"

Family = str
"""IPv4 or IPv6, as `addressType` and `ipFamilies` say it."""


class Port(Frozen, order=True):
    """A port of some members, as discovery/v1 EndpointPort."""

    name: str
    number: int
    protocol: str
    app_protocol: str = ""


class Member(Frozen, order=True):
    """One endpoint. `ready` is what clients are told, `serving` what the pod says of itself."""

    address: str
    ready: bool
    serving: bool
    terminating: bool
    node: str = ""
    zone: str = ""
    hostname: str = ""
    target: tuple[str, str, str] = ("", "", "")
    """Namespace, name and uid of the pod."""
    ports: tuple[Port, ...] = ()


def selects(service: JsonObject) -> bool:
    """Whether the cloud finds the members: a service without a selector has them from somebody else."""
    return bool(str_map_at(service, "spec", "selector")) and str_at(service, "spec", "type") != "ExternalName"


def is_headless(service: JsonObject) -> bool:
    """Without an address of its own, as Kubernetes' IsServiceIPSet has it."""
    return str_at(service, "spec", "clusterIP") in ("", "None")


def families_of(service: JsonObject) -> tuple[Family, ...]:
    """The families that the service has members in; of an old object without the field, that of its address."""
    told = strs_at(service, "spec", "ipFamilies")
    if told:
        return tuple(told)
    address = str_at(service, "spec", "clusterIP")
    return (family_of(address) or "IPv4",)


def family_of(address: str) -> Family:
    """ "" for what is no address."""
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""


def zones_of(nodes: Iterable[JsonObject]) -> dict[str, str]:
    """The zone of each node there is; "" where it has none."""
    return {name_of(node): labels_of(node).get(ZONE_LABEL, "") for node in nodes}


def members_of(
    service: JsonObject, pods: Iterable[JsonObject], zones: Mapping[str, str], family: Family
) -> list[Member]:
    """The members of one family. A pod on a node that is not there (any more) is none: its end was never told."""
    unready_too = bool_at(service, "spec", "publishNotReadyAddresses")
    found: list[Member] = []
    for pod in pods:
        address = _address(pod, family)
        node = str_at(pod, "spec", "nodeName")
        if is_over(pod) or not address or node not in zones:
            continue
        serving, terminating = is_ready(pod), being_deleted(pod)
        found.append(
            Member(
                address=address,
                ready=unready_too or (serving and not terminating),
                serving=serving,
                terminating=terminating,
                node=node,
                zone=zones[node],
                hostname=_hostname(service, pod),
                target=(namespace_of(pod), name_of(pod), uid_of(pod)),
                ports=ports_of(service, pod),
            )
        )
    return found


def ports_of(service: JsonObject, pod: JsonObject) -> tuple[Port, ...]:
    """The service's ports at this pod; one whose target the pod does not name is left out."""
    found: list[Port] = []
    for port in maps_at(service, "spec", "ports"):
        protocol = str_at(port, "protocol", default="TCP")
        number = _target(port, pod, protocol)
        if number:
            app_protocol = str_at(port, "appProtocol")
            found.append(Port(name=str_at(port, "name"), number=number, protocol=protocol, app_protocol=app_protocol))
    return tuple(sorted(found))


def ports_in(obj: JsonObject) -> tuple[Port, ...]:
    """The ports of an EndpointSlice, or of a subset of Endpoints."""
    return tuple(
        sorted(
            Port(
                name=str_at(port, "name"),
                number=int_at(port, "port"),
                protocol=str_at(port, "protocol", default="TCP"),
                app_protocol=str_at(port, "appProtocol"),
            )
            for port in maps_at(obj, "ports")
        )
    )


def _target(port: JsonObject, pod: JsonObject, protocol: str) -> int:
    target: Json = port.get("targetPort")
    if isinstance(target, int) and not isinstance(target, bool) and target:
        return target
    if not isinstance(target, str) or not target:
        return int_at(port, "port")
    for container in _serving_containers(pod):
        for each in maps_at(container, "ports"):
            if str_at(each, "name") == target and str_at(each, "protocol", default="TCP") == protocol:
                return int_at(each, "containerPort")
    return 0


def _serving_containers(pod: JsonObject) -> list[JsonObject]:
    """Those that run while the pod serves: sidecars too (KEP-753)."""
    sidecars = [each for each in maps_at(pod, "spec", "initContainers") if str_at(each, "restartPolicy") == "Always"]
    return [*maps_at(pod, "spec", "containers"), *sidecars]


def _address(pod: JsonObject, family: Family) -> str:
    told = [str_at(each, "ip") for each in maps_at(pod, "status", "podIPs")] or [str_at(pod, "status", "podIP")]
    return next((address for address in told if family_of(address) == family), "")


def _hostname(service: JsonObject, pod: JsonObject) -> str:
    """The name that the pod has below the service's, where its subdomain says so."""
    below = str_at(pod, "spec", "subdomain") == name_of(service)
    return str_at(pod, "spec", "hostname") if below else ""


def labels_for(service: JsonObject, managed: Mapping[str, str]) -> dict[str, str]:
    """A service's labels as its endpoints carry them, with those by which they are found."""
    labels = {**labels_of(service), **managed}
    labels.pop(HEADLESS_LABEL, None)
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels


def concerns(pod: JsonObject | None) -> Sequence[object]:
    """What of a pod its services' endpoints are made from: while that is the same, nobody needs to look again."""
    if pod is None:
        return ()
    spec: JsonObject = map_at(pod, "spec")
    return (
        labels_of(pod),
        uid_of(pod),
        is_over(pod),
        is_ready(pod),
        being_deleted(pod),
        [spec.get(name) for name in ("nodeName", "hostname", "subdomain")],
        str_at(pod, "status", "podIP"),
        maps_at(pod, "status", "podIPs"),
        [maps_at(each, "ports") for each in _serving_containers(pod)],
    )
