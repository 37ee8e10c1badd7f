"""What metadata may say, for every kind (apimachinery `pkg/api/validation/objectmeta.go`). Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import JsonObject, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.names import (
    finalizer_faults,
    label_1035_faults,
    label_1123_faults,
    label_key_faults,
    label_value_faults,
    qualified_name_faults,
    subdomain_faults,
)
from skerry.objects.scheme import Kind
from skerry.validation.faults import forbidden, invalid, required, too_long

ANNOTATIONS_BYTES_MAX: Final = 256 * 1024
_LENIENT_GROUPS: Final = ("apiextensions.k8s.io", "devices.kubeedge.io")
_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"


def validate_metadata(kind: Kind, obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """The faults of an object's metadata, and of changing it."""
    meta = map_at(obj, "metadata")
    yield from _validate_name(kind, meta)
    yield from validate_labels("metadata.labels", str_map_at(meta, "labels"))
    yield from _validate_annotations(str_map_at(meta, "annotations"))
    yield from _validate_owners(meta)
    # Only built-in kinds of Kubernetes insist on a prefix; its own for definitions has none.
    own = kind.custom or kind.group in _LENIENT_GROUPS
    yield from _validate_finalizers(strs_at(meta, "finalizers"), qualified_name_faults if own else finalizer_faults)
    if old is not None:
        yield from _validate_change(meta, map_at(old, "metadata"))


def validate_labels(field: str, labels: dict[str, str]) -> Iterator[Cause]:
    for key, value in labels.items():
        for fault in label_key_faults(key):
            yield invalid(field, key, fault)
        for fault in label_value_faults(value):
            yield invalid(field, value, fault)


def path_segment_faults(name: str) -> list[str]:
    """Names of RBAC and of events: anything that can be a segment of a URL's path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in name]


def _validate_name(kind: Kind, meta: JsonObject) -> Iterator[Cause]:
    name, prefix = str_at(meta, "name"), str_at(meta, "generateName")
    check = _NAMES.get(kind.resource, subdomain_faults)
    if prefix and not name:
        # The suffix will make the end good, so only the prefix is judged.
        for fault in check(prefix.rstrip("-.") or prefix):
            yield invalid("metadata.generateName", prefix, fault)
    elif not name:
        yield required("metadata.name", "name or generateName is required")
    for fault in check(name) if name else ():
        yield invalid("metadata.name", name, fault)
    namespace = str_at(meta, "namespace")
    if kind.namespaced and not namespace:
        yield required("metadata.namespace")
    elif kind.namespaced:
        for fault in label_1123_faults(namespace):
            yield invalid("metadata.namespace", namespace, fault)
    elif namespace:
        yield forbidden("metadata.namespace", "not allowed on this type")


def _validate_annotations(annotations: dict[str, str]) -> Iterator[Cause]:
    for key in annotations:
        for fault in qualified_name_faults(key.lower()):
            yield invalid("metadata.annotations", key, fault)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_BYTES_MAX:
        yield too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX)


def _validate_owners(meta: JsonObject) -> Iterator[Cause]:
    field = "metadata.ownerReferences"
    controllers: list[str] = []
    for index, owner in enumerate(maps_at(meta, "ownerReferences")):
        if not str_at(owner, "apiVersion").rpartition("/")[2]:
            yield invalid(f"{field}[{index}].apiVersion", str_at(owner, "apiVersion"), "version must not be empty")
        for name in ("kind", "name", "uid"):
            if not str_at(owner, name):
                # Kubernetes names the list here, not the element.
                yield invalid(f"{field}[{index}].{name}", "", "must not be empty")
        if owner.get("controller") is True:
            controllers.append(f"{str_at(owner, 'kind')}/{str_at(owner, 'name')}")
    if len(controllers) > 1:
        text = f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]}'
        yield invalid(field, meta.get("ownerReferences"), f"{text} and {controllers[1]}")


def _validate_finalizers(finalizers: list[str], check: Callable[[str], list[str]]) -> Iterator[Cause]:
    for finalizer in finalizers:
        for fault in check(finalizer):
            yield invalid("metadata.finalizers", finalizer, fault)
    if _ORPHAN in finalizers and _FOREGROUND in finalizers:
        text = f"finalizer {_ORPHAN} and {_FOREGROUND} cannot be both set"
        yield invalid("metadata.finalizers", [*finalizers], text)


def _validate_change(meta: JsonObject, old: JsonObject) -> Iterator[Cause]:
    for name in ("name", "namespace"):
        if str_at(meta, name) != str_at(old, name):
            yield invalid(f"metadata.{name}", str_at(meta, name), "field is immutable")
    if str_at(old, "deletionTimestamp"):
        added = sorted(set(strs_at(meta, "finalizers")) - set(strs_at(old, "finalizers")))
        if added:
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers {added!r}"
            yield forbidden("metadata.finalizers", text.replace("'", '"').replace(", ", ","))


def _address_faults(name: str) -> list[str]:
    try:
        canonical = str(ipaddress.ip_address(name))
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if canonical == name else ["must be in canonical form"]


def _bundle_name_faults(name: str) -> list[str]:
    """`example.com:signer:name` for one that is linked to a signer: what follows its prefix is a subdomain, as is the
    name of one that is linked to none."""
    return subdomain_faults(name.rpartition(":")[2])


_NAMES: Final[dict[str, Callable[[str], list[str]]]] = {
    "namespaces": label_1123_faults,
    "services": label_1035_faults,
    "clustertrustbundles.certificates.k8s.io": _bundle_name_faults,
    "events": path_segment_faults,
    "events.events.k8s.io": path_segment_faults,
    "ipaddresses.networking.k8s.io": _address_faults,
    **{
        f"{plural}.rbac.authorization.k8s.io": path_segment_faults
        for plural in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
    },
}
