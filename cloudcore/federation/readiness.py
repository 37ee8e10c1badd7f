"""Whether what a member has of an object is in order, by what it tells of it: of every kind, as kstatus does. Pure.

(The rules are those of sigs.k8s.io/cli-utils `pkg/kstatus/status`: what its controller has not seen yet is in
progress; then the kind's own words; then the common conditions; what says nothing is in order once it is there.)
The object itself is not at hand, only its manifest, its status and its generation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from skerry.frozen import Frozen
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at

Health = Literal["ready", "progressing", "failed", "alone"]
"""`alone`: it was decided on purpose that the member has it otherwise: neither in order, nor a failure."""
LEFT_ALONE: Final = frozenset({"ManagedLabelFalse", "AlreadyExists"})
"""Codes of a row that say so: somebody there took it out of the federation's hands, or adoption is off."""


class Readiness(Frozen, kw_only=False):
    health: Health
    why: str = ""


_READY: Final = Readiness("ready")


def readiness(
    manifest: JsonObject, status: JsonObject, *, generation: int, retains_replicas: bool = False
) -> Readiness:
    """`status`: as the member told it; `generation`: of the object that it is of, 0 where that is not told;
    `retains_replicas`: how many there are to be is the member's own affair."""
    seen = status.get("observedGeneration")
    if isinstance(seen, int) and generation and seen < generation:
        return Readiness("progressing", "its controller has not seen the change yet")
    for type_, health in (("Stalled", "failed"), ("Reconciling", "progressing")):
        if _condition(status, type_) == "True":
            return Readiness(health, _message(status, type_))  # type: ignore[arg-type]
    wanted = int_at(manifest, "spec", "replicas", default=1)
    if retains_replicas:
        wanted = int_at(status, "replicas")
    check = _KINDS.get(str_at(manifest, "kind"))
    return _generic(status) if check is None else check(manifest, status, wanted)


def _condition(status: JsonObject, type_: str) -> str:
    return str_at(find_condition(maps_at(status, "conditions"), type_) or {}, "status")


def _message(status: JsonObject, type_: str) -> str:
    found = find_condition(maps_at(status, "conditions"), type_) or {}
    said = str_at(found, "message") or str_at(found, "reason")
    return f"{type_}: {said}"[:300] if said else type_


def _generic(status: JsonObject) -> Readiness:
    if _condition(status, "Ready") in ("False", "Unknown"):
        return Readiness("progressing", _message(status, "Ready"))
    return _READY


def _unseen(status: JsonObject) -> Readiness | None:
    """What only its controller can say, and has not said."""
    return None if "observedGeneration" in status else Readiness("progressing", "its controller has said nothing yet")


def _deployment(_: JsonObject, status: JsonObject, wanted: int) -> Readiness:
    progress = find_condition(maps_at(status, "conditions"), "Progressing") or {}
    if str_at(progress, "reason") == "ProgressDeadlineExceeded":
        return Readiness("failed", _message(status, "Progressing"))
    return _unseen(status) or _counted(
        ("updatedReplicas", int_at(status, "updatedReplicas"), wanted),
        ("replicas of the version before", int_at(status, "updatedReplicas"), int_at(status, "replicas")),
        ("availableReplicas", int_at(status, "availableReplicas"), wanted),
        ("readyReplicas", int_at(status, "readyReplicas"), wanted),
    )


def _replica_set(_: JsonObject, status: JsonObject, wanted: int) -> Readiness:
    if _condition(status, "ReplicaFailure") == "True":
        return Readiness("progressing", _message(status, "ReplicaFailure"))
    return _unseen(status) or _counted(
        ("replicas", int_at(status, "replicas"), wanted),
        ("availableReplicas", int_at(status, "availableReplicas"), wanted),
        ("readyReplicas", int_at(status, "readyReplicas"), wanted),
    )


def _stateful_set(manifest: JsonObject, status: JsonObject, wanted: int) -> Readiness:
    if str_at(manifest, "spec", "updateStrategy", "type") == "OnDelete":
        return _READY
    kept = int_at(manifest, "spec", "updateStrategy", "rollingUpdate", "partition")
    counted = _unseen(status) or _counted(
        ("replicas", int_at(status, "replicas"), wanted),
        ("readyReplicas", int_at(status, "readyReplicas"), wanted),
        ("updatedReplicas", int_at(status, "updatedReplicas"), max(0, wanted - kept)),
    )
    if counted.health == "ready" and not kept and wanted:
        current, update = str_at(status, "currentRevision"), str_at(status, "updateRevision")
        if current != update:
            return Readiness("progressing", "pods of the version before are there yet")
    return counted


def _daemon_set(manifest: JsonObject, status: JsonObject, _: int) -> Readiness:
    wanted = int_at(status, "desiredNumberScheduled")
    return _unseen(status) or _counted(
        ("updatedNumberScheduled", int_at(status, "updatedNumberScheduled"), wanted),
        ("numberAvailable", int_at(status, "numberAvailable"), wanted),
        ("numberReady", int_at(status, "numberReady"), wanted),
    )


def _job(_: JsonObject, status: JsonObject, __: int) -> Readiness:
    if _condition(status, "Failed") == "True":
        return Readiness("failed", _message(status, "Failed"))
    if _condition(status, "Complete") == "True" or str_at(status, "startTime"):
        return _READY
    return Readiness("progressing", "it has not begun")


def _pod(_: JsonObject, status: JsonObject, __: int) -> Readiness:
    match str_at(status, "phase"):
        case "Succeeded":
            return _READY
        case "Failed":
            return Readiness("failed", str_at(status, "message")[:300] or "it failed")
        case "Running" if _condition(status, "Ready") == "True":
            return _READY
        case phase:
            return Readiness("progressing", f"it is {phase or 'not there'}")


def _claim(_: JsonObject, status: JsonObject, __: int) -> Readiness:
    phase = str_at(status, "phase")
    return _READY if phase == "Bound" else Readiness("progressing", f"it is {phase or 'not bound'}")


def _budget(_: JsonObject, status: JsonObject, __: int) -> Readiness:
    return _unseen(status) or _counted(
        ("currentHealthy", int_at(status, "currentHealthy"), int_at(status, "desiredHealthy"))
    )


def _definition(_: JsonObject, status: JsonObject, __: int) -> Readiness:
    if _condition(status, "NamesAccepted") == "False":
        return Readiness("failed", _message(status, "NamesAccepted"))
    return _READY if _condition(status, "Established") == "True" else Readiness("progressing", "is not established")


def _counted(*counts: tuple[str, int, int]) -> Readiness:
    for name, found, wanted in counts:
        if found < wanted:
            return Readiness("progressing", f"{name}: {found} of {wanted}")
    return _READY


_KINDS: Final[Mapping[str, Callable[[JsonObject, JsonObject, int], Readiness]]] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "ReplicationController": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "PodDisruptionBudget": _budget,
    "CustomResourceDefinition": _definition,
}


def told_readiness(manifest: JsonObject, told: JsonObject, *, retains_replicas: bool) -> Readiness:
    """Of a row's status that is of the row as it is now."""
    if code := str_at(told, "code"):
        health = "alone" if code in LEFT_ALONE else "progressing"
        return Readiness(health, f"{code}: {str_at(told, 'message')}"[:300].rstrip(": "))
    return readiness(
        manifest, map_at(told, "remote"), generation=int_at(told, "generation"), retains_replicas=retains_replicas
    )
