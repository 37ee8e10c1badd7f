"""What configuration, access and cluster-wide kinds may say (`pkg/apis/*/validation`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.names import config_key_faults, label_1123_faults, label_key_faults, qualified_name_faults
from skerry.validation.faults import (
    at_least,
    duplicate,
    forbidden,
    immutable,
    invalid,
    named,
    one_of,
    required,
    too_long,
    unsupported,
)

DATA_BYTES_MAX: Final = 1024 * 1024
PRIORITY_MAX: Final = 1_000_000_000
_RBAC: Final = "rbac.authorization.k8s.io"
_SYSTEM_PRIORITIES: Final = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_SECRET_KEYS: Final = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SERVICE_ACCOUNT: Final = "kubernetes.io/service-account.name"


def validate_config_map(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    text, binary = map_at(obj, "data"), map_at(obj, "binaryData")
    for where, entries in (("data", text), ("binaryData", binary)):
        for key in entries:
            for fault in config_key_faults(key):
                yield invalid(f"{where}[{key}]", key, fault)
    for key in text:
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    if _bytes_of(text) + _decoded_bytes_of(binary) > DATA_BYTES_MAX:
        yield too_long("", DATA_BYTES_MAX)
    if old is not None:
        yield from _validate_sealed(obj, old, ("data", "binaryData"))


def validate_secret(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    data = map_at(obj, "data")
    for key in data:
        for fault in config_key_faults(key):
            yield invalid(f"data[{key}]", key, fault)
    if _decoded_bytes_of(data) > DATA_BYTES_MAX:
        yield too_long("data", DATA_BYTES_MAX)
    kind = str_at(obj, "type")
    yield from (required(f"data[{key}]") for key in _SECRET_KEYS.get(kind, ()) if key not in data)
    if kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        yield required("data[username]")
        yield required("data[password]")
    if kind == "kubernetes.io/service-account-token" and not str_at(obj, "metadata", "annotations", _SERVICE_ACCOUNT):
        yield required(f"metadata.annotations[{_SERVICE_ACCOUNT}]")
    if old is not None:
        yield from immutable("type", obj.get("type"), old.get("type"))
        yield from _validate_sealed(obj, old, ("data",))


def _validate_sealed(obj: JsonObject, old: JsonObject, fields: tuple[str, ...]) -> Iterator[Cause]:
    if old.get("immutable") is not True:
        return
    text = "field is immutable when `immutable` is set"
    if obj.get("immutable") is not True:
        yield forbidden("immutable", text)
    for name in fields:
        if map_at(obj, name) != map_at(old, name):
            yield forbidden(name, text)


def _bytes_of(entries: JsonObject) -> int:
    return sum(len(value.encode()) for value in entries.values() if isinstance(value, str))


def _decoded_bytes_of(entries: JsonObject) -> int:
    """Of base64 text, without decoding it."""
    return sum(len(v) // 4 * 3 - v[-2:].count("=") for v in entries.values() if isinstance(v, str))


def validate_namespace(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    for finalizer in strs_at(obj, "spec", "finalizers"):
        for fault in qualified_name_faults(finalizer):
            yield invalid("spec.finalizers", finalizer, fault)


def validate_node(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    yield from _validate_pod_ranges(obj, old)
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(maps_at(obj, "spec", "taints")):
        here = f"spec.taints[{index}]"
        key, effect = str_at(taint, "key"), str_at(taint, "effect")
        yield from named(f"{here}.key", key, label_key_faults)
        yield from one_of(f"{here}.effect", effect, _EFFECTS)
        if (key, effect) in seen:
            yield duplicate(here, taint)
        seen.add((key, effect))


def _validate_pod_ranges(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """Given once (ValidateNode, ValidateNodeUpdate)."""
    ranges, before = strs_at(obj, "spec", "podCIDRs"), strs_at(old, "spec", "podCIDRs")
    families: list[int] = []
    for index, text in enumerate(ranges):
        try:
            families.append(ip_network(text, strict=False).version)
        except ValueError:
            yield invalid(
                f"spec.podCIDRs[{index}]", text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            )
    if len(ranges) > 2 or len(set(families)) < len(families):
        yield invalid("spec.podCIDRs", [*ranges], "may specify no more than one CIDR for each IP family")
    if before and ranges != before:
        yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')


def validate_role(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    namespaced = bool(str_at(obj, "metadata", "namespace"))
    for index, rule in enumerate(maps_at(obj, "rules")):
        here = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{here}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            if namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{here}.nonResourceURLs", rule["nonResourceURLs"], text)
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{here}.nonResourceURLs", rule["nonResourceURLs"], text)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{here}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{here}.resources", "resource rules must supply at least one resource")


def validate_binding(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    ref = map_at(obj, "roleRef")
    namespaced = bool(str_at(obj, "metadata", "namespace"))
    if str_at(ref, "apiGroup") != _RBAC:
        yield unsupported("roleRef.apiGroup", str_at(ref, "apiGroup"), (_RBAC,))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if str_at(ref, "kind") not in kinds:
        yield unsupported("roleRef.kind", str_at(ref, "kind"), kinds)
    if not str_at(ref, "name"):
        yield required("roleRef.name")
    for index, subject in enumerate(maps_at(obj, "subjects")):
        yield from _validate_subject(f"subjects[{index}]", subject)
    if old is not None and ref != map_at(old, "roleRef"):
        yield invalid("roleRef", ref, "cannot change roleRef")


def _validate_subject(field: str, subject: JsonObject) -> Iterator[Cause]:
    kind, name, group = str_at(subject, "kind"), str_at(subject, "name"), str_at(subject, "apiGroup")
    if not name:
        yield required(f"{field}.name")
    if kind == "ServiceAccount":
        if group:
            yield unsupported(f"{field}.apiGroup", group, ("",))
        if not str_at(subject, "namespace"):
            yield required(f"{field}.namespace")
    elif kind in ("User", "Group"):
        if group != _RBAC:
            yield unsupported(f"{field}.apiGroup", group, (_RBAC,))
    else:
        yield unsupported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group"))


def validate_lease(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from at_least("spec", spec, "leaseDurationSeconds", 1)
    yield from at_least("spec", spec, "leaseTransitions", 0)
    if "holderIdentity" in spec and not str_at(spec, "holderIdentity"):
        yield invalid("spec.holderIdentity", "", "must not be empty")


def validate_priority_class(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    name, value = str_at(obj, "metadata", "name"), int_at(obj, "value")
    if name.startswith("system-"):
        if _SYSTEM_PRIORITIES.get(name) != value:
            reserved = "priority class names with 'system-' prefix are reserved for system use only"
            yield forbidden("metadata.name", f"{reserved}. error: {name} is not a known system priority class")
    elif value > PRIORITY_MAX:
        text = f"maximum allowed value of a user defined priority is {PRIORITY_MAX}"
        yield forbidden("value", text)
    yield from one_of(
        "preemptionPolicy", str_at(obj, "preemptionPolicy"), ("PreemptLowerPriority", "Never"), needed=False
    )
    if old is not None:
        for field in ("value", "preemptionPolicy"):
            if obj.get(field) != old.get(field):
                # The words differ in Kubernetes, too.
                yield (
                    forbidden(field, "may not be changed in an update.")
                    if field == "value"
                    else invalid(field, obj.get(field), "field is immutable")
                )


def validate_runtime_class(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    yield from named("handler", str_at(obj, "handler"), label_1123_faults)
    if old is not None:
        yield from immutable("handler", obj.get("handler"), old.get("handler"))


def validate_disruption_budget(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")


def validate_event(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    where = "involvedObject" if "involvedObject" in obj else "regarding"
    about, here = str_at(obj, where, "namespace"), str_at(obj, "metadata", "namespace")
    # Events about kinds of the whole cluster live in `default`.
    if about and about != here:
        yield invalid(f"{where}.namespace", about, "does not match event.namespace")
