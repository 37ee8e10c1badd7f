"""The kinds that a gateway serves: those it holds. Pure data; names as in the cloud's API."""

from __future__ import annotations

from typing import Final

from skerry.frozen import replace
from skerry.objects.scheme import Kind, Scheme

_READ: Final = ("get", "list", "watch")
_DEVICES: Final = "devices.kubeedge.io"
_OF_DEVICES: Final = frozenset({"checkup", "desiredlog", "explain", "history", "line", "read"})
_SELECTABLE: Final = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
}


def _core(kind: str, plural: str, *short: str, namespaced: bool = True) -> Kind:
    return Kind(
        group="",
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=namespaced,
        short_names=short,
        verbs=_READ,
        categories=("all",) if plural in ("pods", "services") else (),
        subresources=frozenset({"log"}) if plural == "pods" else frozenset(),
        selectable=_SELECTABLE.get(plural, ()),
    )


def _device(kind: str, plural: str) -> Kind:
    return Kind(
        group=_DEVICES,
        version="v1beta1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=True,
        verbs=_READ,
        subresources=_OF_DEVICES if plural == "devices" else frozenset(),
        selectable=("spec.nodeName", "spec.deviceModelRef.name") if plural == "devices" else (),
    )


def _rule(kind: str, plural: str, *short: str) -> Kind:
    return Kind(
        group="rules.kubeedge.io",
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=True,
        short_names=short,
        verbs=_READ,
    )


def _access(kind: str, plural: str, *, namespaced: bool) -> Kind:
    return Kind(
        group="rbac.authorization.k8s.io",
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=namespaced,
        verbs=_READ,
    )


DEVICE: Final = _device("Device", "devices")
DEVICE_STATUS: Final = _device("DeviceStatus", "devicestatuses")
COMMAND: Final = Kind(
    group="skerry.dev",
    version="v1",
    kind="Command",
    plural="commands",
    singular="command",
    namespaced=True,
    short_names=("cmd",),
    verbs=_READ,
    selectable=("spec.nodeName", "status.phase"),
)
DEVICE_RULE: Final = Kind(
    group="skerry.dev",
    version="v1",
    kind="DeviceRule",
    plural="devicerules",
    singular="devicerule",
    namespaced=True,
    short_names=("drule",),
    verbs=_READ,
    selectable=("spec.nodeName",),
)
RULE: Final = _rule("Rule", "rules")
RULE_ENDPOINT: Final = _rule("RuleEndpoint", "ruleendpoints", "re")
POD: Final = _core("Pod", "pods", "po")
SCHEME: Final = Scheme(
    [
        POD,
        _core("ConfigMap", "configmaps", "cm"),
        _core("Secret", "secrets"),
        _core("Service", "services", "svc"),
        _core("ServiceAccount", "serviceaccounts", "sa"),
        _core("Node", "nodes", "no", namespaced=False),
        Kind(
            group="discovery.k8s.io",
            version="v1",
            kind="EndpointSlice",
            plural="endpointslices",
            singular="endpointslice",
            namespaced=True,
            verbs=_READ,
        ),
        DEVICE,
        _device("DeviceModel", "devicemodels"),
        DEVICE_STATUS,
        RULE,
        RULE_ENDPOINT,
        COMMAND,
        DEVICE_RULE,
        _access("Role", "roles", namespaced=True),
        _access("RoleBinding", "rolebindings", namespaced=True),
        _access("ClusterRole", "clusterroles", namespaced=False),
        _access("ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    ]
)

EVENT: Final = replace(
    _core("Event", "events", "ev"),
    verbs=("create", "get", "list"),
    selectable=(
        *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")),
        *("reason", "reportingComponent", "source", "type"),
    ),
)
"""They are the cloud's; without a link those are shown that were told here (`edgecore.local_api.told_events`), and
others are kept for it (`edgecore.local_api.keeping`)."""
SHOWN: Final = Scheme([*SCHEME, EVENT])
"""What discovery tells of."""

SERVED: Final = tuple(
    dict.fromkeys(f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}" for kind in SCHEME)
)
"""Group versions, as OpenAPI names them."""
GROUPS: Final = frozenset(kind.group for kind in SCHEME)
