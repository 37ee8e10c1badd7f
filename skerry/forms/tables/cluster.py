"""Nodes, namespaces, leases, events, roles, definitions: the kinds a cluster is run by. Columns of kubectl. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, UNKNOWN, Printer, age, columns, since
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import labels_of
from skerry.objects.times import human_duration

_ROLE_PREFIX: Final = "node-role.kubernetes.io/"
_ROLE_LABEL: Final = "kubernetes.io/role"


def _name(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "name")


def _node_status(node: JsonObject) -> str:
    words: list[str] = []
    ready = condition_of(node, "Ready")
    if ready is None:
        words.append("Unknown")
    else:
        words.append("Ready" if str_at(ready, "status") == "True" else "NotReady")
    if bool_at(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles(node: JsonObject) -> str:
    roles: set[str] = set()
    for label, value in labels_of(node).items():
        if label.startswith(_ROLE_PREFIX) and len(label) > len(_ROLE_PREFIX):
            roles.add(label.removeprefix(_ROLE_PREFIX))
        elif label == _ROLE_LABEL and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _node(node: JsonObject, now_ms: int) -> list[Json]:
    def address(type_: str) -> str:
        found = [
            str_at(each, "address") for each in maps_at(node, "status", "addresses") if str_at(each, "type") == type_
        ]
        return found[0] if found else NONE

    def info(name: str) -> str:
        return str_at(node, "status", "nodeInfo", name) or UNKNOWN

    return [
        _name(node),
        _node_status(node),
        _node_roles(node),
        age(node, now_ms),
        str_at(node, "status", "nodeInfo", "kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]


def _namespace(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "status", "phase"), age(obj, now_ms)]


def _lease(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "spec", "holderIdentity"), age(obj, now_ms)]


def _event(obj: JsonObject, now_ms: int) -> list[Json]:
    """Both group versions: each field under its old or its new name."""
    first = str_at(obj, "firstTimestamp") or str_at(obj, "deprecatedFirstTimestamp") or str_at(obj, "eventTime")
    last = str_at(obj, "lastTimestamp") or str_at(obj, "deprecatedLastTimestamp")
    count = int_at(obj, "count") or int_at(obj, "deprecatedCount") or 1
    if series := map_at(obj, "series"):
        last = str_at(series, "lastObservedTime") or last
        count = int_at(series, "count") or count
    about = map_at(obj, "involvedObject") or map_at(obj, "regarding")
    source = map_at(obj, "source") or map_at(obj, "deprecatedSource")
    component = str_at(source, "component") or str_at(obj, "reportingComponent") or str_at(obj, "reportingController")
    host = str_at(source, "host") or str_at(obj, "reportingInstance")
    return [
        since(last or first, now_ms),
        str_at(obj, "type"),
        str_at(obj, "reason"),
        f"{str_at(about, 'kind').lower()}/{str_at(about, 'name')}",
        str_at(about, "fieldPath"),
        f"{component}, {host}" if host else component,
        (str_at(obj, "message") or str_at(obj, "note")).strip(),
        since(first, now_ms),
        count,
        _name(obj),
    ]


def _role(obj: JsonObject, _now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "metadata", "creationTimestamp")]


def _binding(obj: JsonObject, now_ms: int) -> list[Json]:
    subjects = maps_at(obj, "subjects")

    def named(kind: str) -> str:
        found = [each for each in subjects if str_at(each, "kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{str_at(each, 'namespace')}/{str_at(each, 'name')}" for each in found)
        return ", ".join(str_at(each, "name") for each in found)

    return [
        _name(obj),
        f"{str_at(obj, 'roleRef', 'kind')}/{str_at(obj, 'roleRef', 'name')}",
        age(obj, now_ms),
        named("User"),
        named("Group"),
        named("ServiceAccount"),
    ]


def _definition(obj: JsonObject, _now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "metadata", "creationTimestamp")]


def _priority_class(obj: JsonObject, now_ms: int) -> list[Json]:
    return [
        _name(obj),
        int_at(obj, "value"),
        bool_at(obj, "globalDefault"),
        age(obj, now_ms),
        str_at(obj, "preemptionPolicy") or "PreemptLowerPriority",
    ]


def _runtime_class(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "handler"), age(obj, now_ms)]


def _trust_bundle(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "spec", "signerName") or NONE]


def _signing_request(obj: JsonObject, now_ms: int) -> list[Json]:
    state = [name for name in ("Approved", "Denied", "Failed") if is_true(obj, name)] or ["Pending"]
    if str_at(obj, "status", "certificate"):
        state.append("Issued")
    seconds = dig(obj, "spec", "expirationSeconds")
    return [
        _name(obj),
        age(obj, now_ms),
        str_at(obj, "spec", "signerName") or NONE,
        str_at(obj, "spec", "username"),
        human_duration(seconds) if isinstance(seconds, int) else NONE,
        ",".join(state),
    ]


def _quota(obj: JsonObject, now_ms: int) -> list[Json]:
    hard, used = map_at(obj, "status", "hard"), map_at(obj, "status", "used")
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        row = f"{name}: {used.get(name, '0')}/{hard[name]}"
        (limits if name.startswith("limits") else requests).append(row)
    return [_name(obj), ", ".join(requests), ", ".join(limits), age(obj, now_ms)]


def _limit_range(obj: JsonObject, _now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "metadata", "creationTimestamp")]


def _storage_class(obj: JsonObject, now_ms: int) -> list[Json]:
    default = map_at(obj, "metadata", "annotations").get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        f"{_name(obj)} (default)" if default else _name(obj),
        str_at(obj, "provisioner"),
        str_at(obj, "reclaimPolicy") or "Delete",
        str_at(obj, "volumeBindingMode") or "Immediate",
        bool_at(obj, "allowVolumeExpansion"),
        age(obj, now_ms),
    ]


_ACCESS: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _access(modes: list[str]) -> str:
    return ",".join(_ACCESS.get(mode, mode) for mode in modes)


def _volume(obj: JsonObject, now_ms: int) -> list[Json]:
    claim = map_at(obj, "spec", "claimRef")
    phase = "Terminating" if str_at(obj, "metadata", "deletionTimestamp") else str_at(obj, "status", "phase")
    return [
        _name(obj),
        str_at(obj, "spec", "capacity", "storage"),
        _access(strs_at(obj, "spec", "accessModes")),
        str_at(obj, "spec", "persistentVolumeReclaimPolicy"),
        phase,
        f"{str_at(claim, 'namespace')}/{str_at(claim, 'name')}" if claim else "",
        str_at(obj, "spec", "storageClassName"),
        str_at(obj, "spec", "volumeAttributesClassName") or "<unset>",
        str_at(obj, "status", "reason"),
        age(obj, now_ms),
        str_at(obj, "spec", "volumeMode") or "<unset>",
    ]


def _claim(obj: JsonObject, now_ms: int) -> list[Json]:
    bound = bool(str_at(obj, "spec", "volumeName"))
    phase = "Terminating" if str_at(obj, "metadata", "deletionTimestamp") else str_at(obj, "status", "phase")
    return [
        _name(obj),
        phase,
        str_at(obj, "spec", "volumeName"),
        str_at(obj, "status", "capacity", "storage") if bound else "",
        _access(strs_at(obj, "status", "accessModes")) if bound else "",
        str_at(obj, "spec", "storageClassName"),
        str_at(obj, "spec", "volumeAttributesClassName") or "<unset>",
        age(obj, now_ms),
        str_at(obj, "spec", "volumeMode") or "<unset>",
    ]


_BINDING_COLUMNS = columns("Name", "Role", "Age", wide=("Users", "Groups", "ServiceAccounts"))
_ROLE = Printer(columns=columns("Name", "Created At:date"), cells=_role)
_EVENT = Printer(
    columns=(
        *columns("Last Seen", "Type", "Reason", "Object"),
        *columns(wide=("Subobject", "Source")),
        *columns("Message"),
        *columns(wide=("First Seen", "Count:integer", "Name")),
    ),
    cells=_event,
)

PRINTERS: Final = {
    ("", "Node"): Printer(
        columns=columns(
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
        ),
        cells=_node,
    ),
    ("", "Namespace"): Printer(columns=columns("Name", "Status", "Age"), cells=_namespace),
    ("coordination.k8s.io", "Lease"): Printer(columns=columns("Name", "Holder", "Age"), cells=_lease),
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): _EVENT,
    ("rbac.authorization.k8s.io", "Role"): _ROLE,
    ("rbac.authorization.k8s.io", "ClusterRole"): _ROLE,
    ("rbac.authorization.k8s.io", "RoleBinding"): Printer(columns=_BINDING_COLUMNS, cells=_binding),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): Printer(columns=_BINDING_COLUMNS, cells=_binding),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Printer(
        columns=columns("Name", "Created At:date"), cells=_definition
    ),
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        columns=columns("Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"),
        cells=_priority_class,
    ),
    ("node.k8s.io", "RuntimeClass"): Printer(columns=columns("Name", "Handler", "Age"), cells=_runtime_class),
    ("certificates.k8s.io", "CertificateSigningRequest"): Printer(
        columns=columns("Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"),
        cells=_signing_request,
    ),
    ("certificates.k8s.io", "ClusterTrustBundle"): Printer(
        columns=columns("Name", "SignerName"), cells=_trust_bundle
    ),
    ("", "ResourceQuota"): Printer(columns=columns("Name", "Request", "Limit", "Age"), cells=_quota),
    ("", "LimitRange"): Printer(columns=columns("Name", "Created At:date"), cells=_limit_range),
    ("storage.k8s.io", "StorageClass"): Printer(
        columns=columns(
            "Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion:boolean", "Age"
        ),
        cells=_storage_class,
    ),
    ("", "PersistentVolume"): Printer(
        columns=columns(
            "Name",
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            wide=("VolumeMode",),
        ),
        cells=_volume,
    ),
    ("", "PersistentVolumeClaim"): Printer(
        columns=columns(
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            wide=("VolumeMode",),
        ),
        cells=_claim,
    ),
}
"""By (group, kind)."""
