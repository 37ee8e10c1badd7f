"""The life of an object: how it is born, what an update may change, and how it goes.

Pure, and the same for every kind except where Kubernetes treats one differently; those differences are the
tables at the top. Sources: k8s.io/apiserver `pkg/registry/rest/{create,update,delete}.go` and the strategies
of each kind, as observed from kube-apiserver 1.36.
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.bodies import same
from cloudcore.registry.job_selectors import lacks_selector, with_selector
from cloudcore.registry.pod_parts import PARTS
from cloudcore.registry.port import DeleteOptions, Subresource
from cloudcore.registry.refusals import conflict, invalid
from skerry.errors import BadRequestError, Cause
from skerry.frozen import Frozen
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.json import (
    Json,
    JsonObject,
    clone,
    ensure_map,
    int_at,
    list_at,
    map_at,
    maps_at,
    str_at,
    str_map_at,
    strs_at,
)
from skerry.objects.meta import being_deleted, name_of, namespace_of, uid_of
from skerry.objects.scheme import Kind
from skerry.objects.times import parse_time, time_text

NAME_TRIES: Final = 8
"""Names tried for a generateName before giving up (kube's `maxNameGenerationCreateAttempts`)."""
SUFFIX_LENGTH: Final = 5
_GENERATED_LENGTH_MAX: Final = 63

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
CRD_CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"
_NAMESPACE_FINALIZER: Final = "kubernetes"
_NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
_DEFAULT_GRACE_S: Final = 30

_STATUS_AT_BIRTH: Final[dict[str, JsonObject]] = {
    "namespaces": {"phase": "Active"},
    "persistentvolumeclaims": {"phase": "Pending"},
    "persistentvolumes": {"phase": "Pending"},
    "commands.skerry.dev": {"phase": "Pending"},
    "rulemessages.skerry.dev": {"phase": "Pending"},
}
_BORN_WITH_STATUS: Final = frozenset({"nodes"})
"""A node is created by its agent, which knows its status."""
_SIGNING_REQUESTS: Final = "certificatesigningrequests.certificates.k8s.io"
_STATUS_ALONE: Final = frozenset({"customresourcedefinitions.apiextensions.k8s.io"})
"""Kinds whose /status takes no metadata along, as that of every custom kind."""
_STATUS_WITHOUT_LABELS: Final = frozenset({"deployments.apps"})
_DECISIONS: Final = ("Approved", "Denied")
_JOBS: Final = "jobs.batch"
_ORPHANS_BY_DEFAULT: Final = frozenset({_JOBS, "replicationcontrollers"})
_JOB_WARNING: Final = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)

_KEPT = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)
"""Metadata that no update changes."""
_NEVER = ("managedFields", "selfLink")
"""Metadata that is not kept: nothing here applies on the server's side yet, and links are of the past."""
_OMITTED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")


class Birth(Frozen):
    """What an object does not bring itself."""

    name: str
    uid: str
    now_ms: int
    keep_status: bool = False
    """The creator knows the status as well: a node's report."""


class Deletion(Frozen):
    """What a delete makes of an object."""

    obj: JsonObject
    gone: bool
    """Nothing holds it: remove it. Else it stays, as `obj`."""
    warnings: tuple[str, ...] = ()


def generated_name(base: str, suffix: str) -> str:
    """`generateName` and its random end, cut so that the name is a DNS label."""
    return base[: _GENERATED_LENGTH_MAX - SUFFIX_LENGTH] + suffix


def check_creatable(kind: Kind, namespace: str, obj: JsonObject) -> None:
    """What can be said against creating `obj` in `namespace` before anything is filled in."""
    if str_at(obj, "metadata", "resourceVersion"):
        raise BadRequestError("resourceVersion should not be set on objects to be created")
    check_namespace(kind, namespace, obj)
    if not name_of(obj) and not str_at(obj, "metadata", "generateName"):
        message = "Required value: name or generateName is required"
        raise invalid(kind, "", [Cause(field="metadata.name", reason="FieldValueRequired", message=message)])


def check_namespace(kind: Kind, namespace: str, obj: JsonObject) -> None:
    if kind.namespaced and namespace_of(obj) not in ("", namespace):
        raise BadRequestError("the namespace of the provided object does not match the namespace sent on the request")


def born(kind: Kind, namespace: str, obj: JsonObject, birth: Birth) -> JsonObject:
    """The object as it is first stored (before admission)."""
    metadata = _clean(map_at(obj, "metadata"))
    for name in ("namespace", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(name, None)
    metadata |= {"name": birth.name, "uid": birth.uid, "creationTimestamp": time_text(birth.now_ms)}
    if kind.namespaced:
        metadata["namespace"] = namespace
    if kind.has_generation:
        metadata["generation"] = 1
    new: JsonObject = {**obj, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
    if "status" in kind.subresources and kind.resource not in _BORN_WITH_STATUS and not birth.keep_status:
        new.pop("status", None)
        if kind.resource in _STATUS_AT_BIRTH:
            new["status"] = dict(_STATUS_AT_BIRTH[kind.resource])
    if kind.resource == "pods":
        new["status"] = {"phase": "Pending", "qosClass": qos_class(new)}
    if kind.resource == "namespaces":
        _bear_namespace(new, birth.name)
    return with_selector(new) if kind.resource == _JOBS else new


def updated(kind: Kind, wanted: JsonObject, old: JsonObject, subresource: Subresource, *, now_ms: int) -> JsonObject:
    """What `wanted` makes of `old` through a subresource ("": the object itself), before admission.

    Raises `ConflictError` where the subresource refuses; `InvalidError` for new finalizers on a deleting object.
    """
    new: JsonObject
    match subresource:
        case "" | "scale":
            new = _main(kind, wanted, old)
        case "status" | "approval":
            new = _status(kind, wanted, old)
            if kind.resource == _SIGNING_REQUESTS:
                new["status"] = _signing_status(new, old, approval=subresource == "approval")
        case "binding":
            new = _bound(kind, wanted, old, now_ms=now_ms)
        case "finalize":
            spec: JsonObject = {**map_at(old, "spec"), "finalizers": list_at(wanted, "spec", "finalizers")}
            new = {**old, "spec": spec}
        case "ephemeralcontainers" | "resize":
            new = PARTS[subresource](wanted, old)
        case "token":
            raise BadRequestError(f"{kind.resource}/{subresource} is not written through an update")
    _check_finalizers(kind, new, old)
    return new


def released(obj: JsonObject) -> bool:
    """An object being deleted that nothing holds any more: no finalizers, no grace left."""
    if not being_deleted(obj) or strs_at(obj, "metadata", "finalizers"):
        return False
    if obj.get("kind") == "Namespace" and strs_at(obj, "spec", "finalizers"):
        return False
    return int_at(obj, "metadata", "deletionGracePeriodSeconds") == 0


def without_grace(obj: JsonObject) -> JsonObject:
    """A deleting object whose grace is over."""
    if not being_deleted(obj):
        return obj
    return {**obj, "metadata": {**map_at(obj, "metadata"), "deletionGracePeriodSeconds": 0}}


def deleted(kind: Kind, old: JsonObject, options: DeleteOptions, *, now_ms: int) -> Deletion:
    """What deleting `old` makes of it. Preconditions were checked by the caller."""
    obj = clone(old)
    metadata = ensure_map(obj, "metadata")
    orphaning = not options.propagation and kind.resource in _ORPHANS_BY_DEFAULT
    finalizers = _finalizers_of_deletion(strs_at(old, "metadata", "finalizers"), options, orphaning=orphaning)
    first = not being_deleted(old)
    if kind.resource == "customresourcedefinitions.apiextensions.k8s.io" and first:
        finalizers = list(dict.fromkeys((*finalizers, CRD_CLEANUP)))
        _mark_definition(obj, now_ms)
    _set_finalizers(metadata, finalizers)
    if kind.resource == "namespaces":
        ensure_map(obj, "status")["phase"] = "Terminating"
    grace_s = _grace_s(kind, old, options)
    held = (
        grace_s > 0
        or bool(finalizers)
        or (kind.resource == "namespaces" and bool(list_at(old, "spec", "finalizers")))
    )
    if first and held:
        metadata["deletionTimestamp"] = time_text(now_ms + 1000 * grace_s)
        if kind.resource != "namespaces":
            metadata["deletionGracePeriodSeconds"] = grace_s
        if kind.has_generation:
            metadata["generation"] = int_at(old, "metadata", "generation") + 1
    elif not first and grace_s < int_at(old, "metadata", "deletionGracePeriodSeconds"):
        _shorten(metadata, grace_s)
    warnings = (_JOB_WARNING,) if orphaning and kind.resource == _JOBS else ()
    return Deletion(obj=obj, gone=not held, warnings=warnings)


def check_preconditions(kind: Kind, old: JsonObject, options: DeleteOptions) -> None:
    """Raises `ConflictError` when the object is not the one, or not in the state, that the caller means."""
    name = name_of(old)
    if options.uid and options.uid != uid_of(old):
        raise uid_conflict(kind, name, options.uid, uid_of(old))
    revision = str_at(old, "metadata", "resourceVersion")
    if options.revision is not None and str(options.revision) != revision:
        why = f"ResourceVersion in precondition: {options.revision}, ResourceVersion in object meta: {revision}"
        raise conflict(kind, name, f"Precondition failed: {why}")


def uid_conflict(kind: Kind, name: str, wanted: str, found: str) -> Exception:
    why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    return conflict(kind, name, why)


def qos_class(pod: JsonObject) -> str:
    """Guaranteed, Burstable or BestEffort (Kubernetes: "Pod Quality of Service Classes")."""
    containers = maps_at(pod, "spec", "containers") + maps_at(pod, "spec", "initContainers")
    requests = [_resources(container, "requests") for container in containers]
    limits = [_resources(container, "limits") for container in containers]
    if not any(requests) and not any(limits):
        return "BestEffort"
    complete = all(limit.keys() == {"cpu", "memory"} for limit in limits)
    return "Guaranteed" if complete and requests == limits else "Burstable"


def _resources(container: JsonObject, which: str) -> dict[str, str]:
    found = str_map_at(container, "resources", which)
    return {name: amount for name, amount in found.items() if name in ("cpu", "memory") and amount != "0"}


def _clean(metadata: JsonObject) -> JsonObject:
    return {
        name: value
        for name, value in metadata.items()
        if name not in _NEVER and not (name in _OMITTED_WHEN_EMPTY and not value)
    }


def _bear_namespace(namespace: JsonObject, name: str) -> None:
    labels = dict(map_at(namespace, "metadata", "labels"))
    labels[_NAMESPACE_LABEL] = name
    ensure_map(namespace, "metadata")["labels"] = labels
    finalizers = strs_at(namespace, "spec", "finalizers")
    if _NAMESPACE_FINALIZER not in finalizers:
        finalizers.append(_NAMESPACE_FINALIZER)
    namespace["spec"] = {**map_at(namespace, "spec"), "finalizers": list[Json](finalizers)}


def _metadata(wanted: JsonObject, old: JsonObject) -> JsonObject:
    new = _clean(map_at(wanted, "metadata"))
    new.pop("resourceVersion", None)
    before = map_at(old, "metadata")
    for name in _KEPT:
        if name in before:
            new[name] = before[name]
        else:
            new.pop(name, None)
    return new


def _main(kind: Kind, wanted: JsonObject, old: JsonObject) -> JsonObject:
    new: JsonObject = {
        **wanted,
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": _metadata(wanted, old),
    }
    if "status" in kind.subresources:
        _take(new, old, "status")
    if kind.resource == "namespaces":
        # Only /finalize changes these.
        _take(new, old, "spec")
    if kind.resource == _JOBS and lacks_selector(old) and not being_deleted(old):
        # One that goes makes no pods: it needs none, and is not judged for having got one.
        new = with_selector(new)
    if kind.has_generation and not same(_said(kind, new), _said(kind, old)):
        ensure_map(new, "metadata")["generation"] = int_at(old, "metadata", "generation") + 1
    return new


def _said(kind: Kind, obj: JsonObject) -> JsonObject:
    """What the generation counts changes of: all that users say, without what is told back to them."""
    apart = ["apiVersion", "kind", "metadata"]
    if "status" in kind.subresources or not kind.custom:
        apart.append("status")
    return {name: value for name, value in obj.items() if name not in apart}


def _status(kind: Kind, wanted: JsonObject, old: JsonObject) -> JsonObject:
    new = dict(old)
    if not kind.custom and kind.resource not in _STATUS_ALONE:
        # Labels, annotations and finalizers may come along with a status; who owns the object may not.
        metadata = _metadata(wanted, old)
        _take(metadata, map_at(old, "metadata"), "ownerReferences")
        if kind.resource in _STATUS_WITHOUT_LABELS:
            _take(metadata, map_at(old, "metadata"), "labels")
        new["metadata"] = metadata
    _take(new, wanted, "status")
    return new


def _signing_status(new: JsonObject, old: JsonObject, *, approval: bool) -> JsonObject:
    """Whoever approves does not issue, and whoever issues does not approve."""
    status = dict(map_at(new, "status"))
    if approval:
        _take(status, map_at(old, "status"), "certificate")
        return status
    decided = [each for each in maps_at(old, "status", "conditions") if str_at(each, "type") in _DECISIONS]
    others = [each for each in maps_at(status, "conditions") if str_at(each, "type") not in _DECISIONS]
    if decided or others or "conditions" in status:
        status["conditions"] = [*decided, *others]
    return status


def _bound(kind: Kind, wanted: JsonObject, old: JsonObject, *, now_ms: int) -> JsonObject:
    name, node = name_of(old), str_at(old, "spec", "nodeName")
    if being_deleted(old):
        raise conflict(kind, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if node:
        raise conflict(kind, name, f'pod {name} is already assigned to node "{node}"')
    target = str_at(wanted, "spec", "nodeName")
    if not target:
        message = "Required value"
        raise invalid(kind, name, [Cause(field="target.name", reason="FieldValueRequired", message=message)])
    metadata = dict(map_at(old, "metadata"))
    _take(metadata, map_at(wanted, "metadata"), "annotations")
    scheduled = Condition(type="PodScheduled", status="True", reason="")
    conditions = with_condition(maps_at(old, "status", "conditions"), scheduled, now_ms=now_ms)
    for condition in conditions:
        if isinstance(condition, dict) and condition.get("type") == "PodScheduled":
            # Being scheduled needs no reason, and kube gives none.
            condition.pop("reason", None)
    return {
        **old,
        "metadata": metadata,
        "spec": {**map_at(old, "spec"), "nodeName": target},
        "status": {**map_at(old, "status"), "conditions": conditions},
    }


def _take(new: JsonObject, source: JsonObject, name: str) -> None:
    """Have `name` as `source` has it, or not at all."""
    if name in source:
        new[name] = source[name]
    else:
        new.pop(name, None)


def _check_finalizers(kind: Kind, new: JsonObject, old: JsonObject) -> None:
    if not being_deleted(old):
        return
    before = strs_at(old, "metadata", "finalizers")
    added = [name for name in strs_at(new, "metadata", "finalizers") if name not in before]
    if added:
        listed = ", ".join(f'"{name}"' for name in added)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{listed}}}"
        )
        cause = Cause(field="metadata.finalizers", reason="FieldValueForbidden", message=message)
        raise invalid(kind, name_of(old), [cause])


def _finalizers_of_deletion(finalizers: list[str], options: DeleteOptions, *, orphaning: bool) -> list[str]:
    if options.propagation:
        wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(options.propagation)
    else:
        # What an earlier delete asked for stands, and then what the kind does by default.
        wanted = next((name for name in finalizers if name in (ORPHAN, FOREGROUND)), ORPHAN if orphaning else None)
    kept = [name for name in finalizers if name not in (FOREGROUND, ORPHAN) or name == wanted]
    return kept if wanted is None or wanted in kept else [*kept, wanted]


def _set_finalizers(metadata: JsonObject, finalizers: list[str]) -> None:
    if finalizers:
        metadata["finalizers"] = list[Json](finalizers)
    else:
        metadata.pop("finalizers", None)


def _grace_s(kind: Kind, old: JsonObject, options: DeleteOptions) -> int:
    """Seconds that the object's work may still take. Only pods end gracefully, and only where they may run."""
    if kind.resource != "pods":
        return 0
    if not str_at(old, "spec", "nodeName") or str_at(old, "status", "phase") in ("Succeeded", "Failed"):
        return 0
    asked = options.grace_s
    if asked is None:
        asked = int_at(old, "spec", "terminationGracePeriodSeconds", default=_DEFAULT_GRACE_S)
    asked = asked if asked >= 0 else 1
    if not being_deleted(old):
        return asked
    left = int_at(old, "metadata", "deletionGracePeriodSeconds")
    return left if options.grace_s is None else min(asked, left)


def _shorten(metadata: JsonObject, grace_s: int) -> None:
    end_ms = parse_time(str_at(metadata, "deletionTimestamp"))
    less_s = int_at(metadata, "deletionGracePeriodSeconds") - grace_s
    metadata["deletionTimestamp"] = time_text(end_ms - 1000 * less_s)
    metadata["deletionGracePeriodSeconds"] = grace_s


def _mark_definition(definition: JsonObject, now_ms: int) -> None:
    condition = Condition(
        type="Terminating",
        status="True",
        reason="InstanceDeletionPending",
        message="CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    )
    status = ensure_map(definition, "status")
    status["conditions"] = with_condition(maps_at(status, "conditions"), condition, now_ms=now_ms)
