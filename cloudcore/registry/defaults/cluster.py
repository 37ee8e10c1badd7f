"""Defaults of the remaining kinds: configuration, access, cluster-wide settings. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from skerry.objects.json import JsonObject, bool_at, ensure_map, map_at, maps_at, str_at, str_map_at, strs_at

_RBAC: Final = "rbac.authorization.k8s.io"


def default_secret(obj: JsonObject) -> None:
    """`stringData` is for writing only: its values end in `data`, in base64, over what is there."""
    obj.setdefault("type", "Opaque")
    texts = str_map_at(obj, "stringData")
    if texts:
        data = ensure_map(obj, "data")
        data |= {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    obj.pop("stringData", None)


def default_namespace(obj: JsonObject) -> None:
    name = str_at(obj, "metadata", "name")
    if name:
        ensure_map(obj, "metadata", "labels")["kubernetes.io/metadata.name"] = name
    ensure_map(obj, "status").setdefault("phase", "Active")


def default_node(obj: JsonObject) -> None:
    """One range of pods' addresses and all of them say the same (Convert_v1_NodeSpec_To_core_NodeSpec)."""
    one, all_ = str_at(obj, "spec", "podCIDR"), strs_at(obj, "spec", "podCIDRs")
    if one and all_[:1] != [one]:
        ensure_map(obj, "spec")["podCIDRs"] = [one]
    elif all_:
        ensure_map(obj, "spec")["podCIDR"] = all_[0]


def default_limit_range(obj: JsonObject) -> None:
    for limit in maps_at(obj, "spec", "limits"):
        if str_at(limit, "type") != "Container":
            continue
        given, requested = ensure_map(limit, "default"), ensure_map(limit, "defaultRequest")
        for name, amount in map_at(limit, "max").items():
            given.setdefault(name, amount)
        for name, amount in (*given.items(), *map_at(limit, "min").items()):
            requested.setdefault(name, amount)


def default_binding(obj: JsonObject) -> None:
    ensure_map(obj, "roleRef").setdefault("apiGroup", _RBAC)
    for subject in maps_at(obj, "subjects"):
        if str_at(subject, "kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _RBAC)


def default_priority_class(obj: JsonObject) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def default_definition(obj: JsonObject) -> None:
    """CustomResourceDefinition; what its controller finds out goes to the status later."""
    spec = ensure_map(obj, "spec")
    ensure_map(spec, "conversion").setdefault("strategy", "None")
    names = ensure_map(spec, "names")
    kind = str_at(names, "kind")
    if kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    stored = next((str_at(v, "name") for v in maps_at(spec, "versions") if bool_at(v, "storage")), "")
    if stored:
        versions = ensure_map(obj, "status").setdefault("storedVersions", [])
        if isinstance(versions, list) and stored not in strs_at(obj, "status", "storedVersions"):
            versions.append(stored)


def default_flow_schema(obj: JsonObject) -> None:
    ensure_map(obj, "spec").setdefault("matchingPrecedence", 1000)


def default_priority_level(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    if str_at(spec, "type") == "Limited":
        limited = ensure_map(spec, "limited")
        limited.setdefault("nominalConcurrencyShares", 30)
        limited.setdefault("lendablePercent", 0)
        queuing = map_at(limited, "limitResponse", "queuing")
        if str_at(limited, "limitResponse", "type") == "Queue" and "limitResponse" in limited:
            queuing = ensure_map(limited, "limitResponse", "queuing")
            queuing.setdefault("queues", 64)
            queuing.setdefault("handSize", 8)
            queuing.setdefault("queueLengthLimit", 50)
    elif str_at(spec, "type") == "Exempt":
        exempt = ensure_map(spec, "exempt")
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)


def default_claim(obj: JsonObject) -> None:
    _default_device_requests(map_at(obj, "spec"))


def default_claim_template(obj: JsonObject) -> None:
    _default_device_requests(map_at(obj, "spec", "spec"))


def _default_device_requests(spec: JsonObject) -> None:
    for request in maps_at(spec, "devices", "requests"):
        exact = request.get("exactly")
        for one in (*([exact] if isinstance(exact, dict) else []), *maps_at(request, "firstAvailable")):
            if one.setdefault("allocationMode", "ExactCount") == "ExactCount":
                one.setdefault("count", 1)
            for toleration in maps_at(one, "tolerations"):
                toleration.setdefault("operator", "Equal")


DEFAULTS: Final[dict[tuple[str, str], Callable[[JsonObject], None]]] = {
    ("", "Secret"): default_secret,
    ("", "Namespace"): default_namespace,
    ("", "Node"): default_node,
    ("", "LimitRange"): default_limit_range,
    (_RBAC, "RoleBinding"): default_binding,
    (_RBAC, "ClusterRoleBinding"): default_binding,
    ("scheduling.k8s.io", "PriorityClass"): default_priority_class,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): default_definition,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): default_flow_schema,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): default_priority_level,
    ("resource.k8s.io", "ResourceClaim"): default_claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): default_claim_template,
}
