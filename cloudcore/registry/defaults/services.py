"""Defaults of services, endpoints and networking (`pkg/apis/{core,discovery,networking}/v1/defaults.go`).

Addresses and node ports are no defaults: they are allocated (`cloudcore.registry.addresses`). Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from skerry.objects.json import JsonObject, ensure_map, map_at, maps_at, str_at

_STICKY_S: Final = 10_800


def default_service(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    affinity = spec.setdefault("sessionAffinity", "None")
    kind = spec.setdefault("type", "ClusterIP")
    if affinity == "ClientIP":
        ensure_map(spec, "sessionAffinityConfig", "clientIP").setdefault("timeoutSeconds", _STICKY_S)
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in maps_at(spec, "ports"):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    if kind in ("NodePort", "LoadBalancer") or spec.get("externalIPs"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def default_endpoints(obj: JsonObject) -> None:
    for subset in maps_at(obj, "subsets"):
        for port in maps_at(subset, "ports"):
            port.setdefault("protocol", "TCP")


def default_endpoint_slice(obj: JsonObject) -> None:
    for port in maps_at(obj, "ports"):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def default_ingress_class(obj: JsonObject) -> None:
    parameters = map_at(obj, "spec", "parameters")
    if parameters:
        parameters.setdefault("scope", "Cluster")


def default_network_policy(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    for rule in (*maps_at(spec, "ingress"), *maps_at(spec, "egress")):
        for port in maps_at(rule, "ports"):
            port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def default_persistent_volume(obj: JsonObject) -> None:
    ensure_map(obj, "status").setdefault("phase", "Pending")
    spec = ensure_map(obj, "spec")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    host_path = map_at(spec, "hostPath")
    if str_at(host_path, "path"):
        host_path.setdefault("type", "")


def default_claim(obj: JsonObject) -> None:
    ensure_map(obj, "status").setdefault("phase", "Pending")
    ensure_map(obj, "spec").setdefault("volumeMode", "Filesystem")


def default_storage_class(obj: JsonObject) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def default_csi_driver(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    spec.setdefault("volumeLifecycleModes", ["Persistent"])
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)


DEFAULTS: Final[dict[tuple[str, str], Callable[[JsonObject], None]]] = {
    ("", "Service"): default_service,
    ("", "Endpoints"): default_endpoints,
    ("", "PersistentVolume"): default_persistent_volume,
    ("", "PersistentVolumeClaim"): default_claim,
    ("discovery.k8s.io", "EndpointSlice"): default_endpoint_slice,
    ("networking.k8s.io", "IngressClass"): default_ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): default_network_policy,
    ("storage.k8s.io", "StorageClass"): default_storage_class,
    ("storage.k8s.io", "CSIDriver"): default_csi_driver,
}
