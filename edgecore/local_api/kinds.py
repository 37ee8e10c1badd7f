"""The kinds that a gateway serves: those it holds. Pure data; names as in the cloud's API."""

from __future__ import annotations

from typing import Final

from skerry.objects.json import JsonObject
from skerry.objects.scheme import Kind, Scheme

_READ: Final = ("get", "list", "watch")
_DEVICES: Final = "devices.kubeedge.io"


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
        selectable=("spec.nodeName", "status.phase") if plural == "pods" else (),
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
        selectable=("spec.nodeName",) if plural == "devices" else (),
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


def discovery(parts: list[str]) -> JsonObject | None:
    """The answer to `/api`, `/apis`, `/api/v1` and `/apis/GROUP/VERSION`; None for any other path."""
    match parts:
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            versions = {kind.group: kind.version for kind in SCHEME if kind.group}
            return {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(*item) for item in versions.items()],
            }
        case ["api", version]:
            return _resources("", version)
        case ["apis", group, version]:
            return _resources(group, version)
        case _:
            return None


def _group(group: str, version: str) -> JsonObject:
    served: JsonObject = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [served], "preferredVersion": {**served}}


def _resources(group: str, version: str) -> JsonObject | None:
    kinds = [kind for kind in SCHEME if (kind.group, kind.version) == (group, version)]
    if not kinds:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": kinds[0].api_version,
        "resources": [
            {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": [*kind.verbs],
                "shortNames": [*kind.short_names],
            }
            for kind in kinds
        ],
    }
