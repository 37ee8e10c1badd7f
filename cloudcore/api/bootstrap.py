"""What every cluster has from its first second: namespaces, the API's own Service, the system's priorities.

Clients and conformance tests take these for granted (default/kubernetes with its addresses, kube-system ...). Made
anew at each start where they are missing; the addresses follow the server. Nothing else is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from cloudcore.registry.port import Objects
from skerry.errors import AlreadyExistsError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.meta import Key
from skerry.objects.scheme import Kind, Scheme, split_api_version
from skerry.objects.volumes import DEFAULT_CLASS, LOCAL

NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
_NAME: Final = "kubernetes"
_LABELS: Final[JsonObject] = {"component": "apiserver", "provider": "kubernetes"}


class Address(Frozen):
    """Where pods and clients inside reach the API."""

    host: str
    """An IP address of this machine; loopback addresses are not allowed in Endpoints."""
    port: int
    service_cidr: str = "10.96.0.0/16"
    """Service addresses; the API has the first one."""
    second_service_cidrs: tuple[str, ...] = ()
    """Of the other family."""


def wanted(address: Address) -> list[JsonObject]:
    """The objects, in the order in which they can be created."""
    namespaces: list[JsonObject] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES
    ]
    return [*namespaces, *_priorities(), *_service(address)]


def _priorities() -> list[JsonObject]:
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "globalDefault": False,
            "description": text,
        }
        for name, value, text in (
            ("system-cluster-critical", 2_000_000_000, "For pods the cluster needs, wherever they run."),
            ("system-node-critical", 2_000_001_000, "For pods that their node can't be without."),
        )
    ]


def _service(address: Address) -> list[JsonObject]:
    family = "IPv6" if ip_address(address.host).version == 6 else "IPv4"
    meta: JsonObject = {"name": _NAME, "namespace": "default", "labels": dict(_LABELS)}
    port: JsonObject = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port}
    backend: JsonObject = {"name": "https", "port": address.port, "protocol": "TCP"}
    first = first_address(address.service_cidr)
    service: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"type": "ClusterIP", "clusterIP": first, "clusterIPs": [first], "ports": [port]},
    }
    cidrs: list[Json] = [address.service_cidr, *address.second_service_cidrs]
    cidr: JsonObject = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": _NAME},
        "spec": {"cidrs": cidrs},
    }
    endpoints: JsonObject = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": _NAME,
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": address.host}], "ports": [backend]}],
    }
    slice_: JsonObject = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": _NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": _NAME}},
        "addressType": family,
        "endpoints": [{"addresses": [address.host], "conditions": {"ready": True}}],
        "ports": [backend],
    }
    return [cidr, service, endpoints, slice_]


def _storage_class() -> JsonObject:
    """Volumes that are directories of gateways: what a claim gets that names no class."""
    annotations: JsonObject = {DEFAULT_CLASS: "true"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "local", "annotations": annotations},
        "provisioner": LOCAL,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


def first_address(cidr: str) -> str:
    """The first usable address of a network: the API's own, as everywhere in Kubernetes."""
    network: IPv4Network | IPv6Network = ip_network(cidr)
    return str(network.network_address + 1)


_FOLLOWS: Final = {"Endpoints": ("subsets",), "EndpointSlice": ("endpoints", "ports", "addressType")}
"""What is brought up to date in objects that are there already; all else belongs to whoever changed it."""


async def bootstrap(objects: Objects, scheme: Scheme, address: Address, *, alone: bool = True) -> None:
    """Make what is missing. Where this is one of several, the addresses that are there already stay: the leader
    writes those of all (`cloudcore.api.endpoints`). The StorageClass `local` is made with a new store alone: who
    deletes it wants another default. Raises `UnavailableError` when the store can't take it."""
    is_new = objects.read(Key("namespaces", "", NAMESPACES[0])) is None
    await ensure(objects, scheme, [*wanted(address), *([_storage_class()] if is_new else [])], follow=alone)


async def ensure(objects: Objects, scheme: Scheme, made: Sequence[JsonObject], *, follow: bool = True) -> None:
    """Create each object unless it is there; then only what has to follow the server is written, with `follow`."""
    for obj in made:
        group, version = split_api_version(str_at(obj, "apiVersion"))
        kind = scheme.named(group, version, str_at(obj, "kind"))
        assert kind is not None, "bootstrap makes built-in kinds alone"
        await _ensure(objects, kind, obj, follow=follow)


async def _ensure(objects: Objects, kind: Kind, obj: JsonObject, *, follow: bool) -> None:
    namespace, name = str_at(obj, "metadata", "namespace"), str_at(obj, "metadata", "name")
    key = kind.key(namespace, name)
    if objects.read(key) is None:
        try:
            await objects.create(kind, namespace, obj)
        except AlreadyExistsError:
            pass  # another replica was faster
        else:
            return
    following = _FOLLOWS.get(kind.kind)
    if follow and following:
        await objects.update(kind, key, lambda current: {**current, **{name: obj[name] for name in following}})
