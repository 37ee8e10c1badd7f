"""What becomes of a volume: its phase, and what is done with it when its claim is gone. Pure; keeps nothing.

The rules are those of Kubernetes' persistent volume controller (`syncVolume`). A volume whose claim is gone is
reclaimed by its policy: kept as it is, or deleted. The directory of a gateway goes before its volume does.
"""

from __future__ import annotations

from cloudcore.controllers.garbage.plan import without_finalizer
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, str_at, strs_at
from skerry.objects.meta import annotations_of, being_deleted, name_of, uid_of
from skerry.objects.volumes import (
    BOUND_BY_CONTROLLER,
    DIRECTORY,
    PROVISIONED_BY,
    gateway_of,
    is_to_be_removed,
)


class Phase(Frozen):
    """Say so in its status, and in an Event where there is a reason."""

    phase: str
    reason: str = ""
    message: str = ""


class Delete(Frozen):
    """Delete the volume: what it holds is to go."""


class Unbind(Frozen):
    """Its claim has another volume: it is free again."""


class Complete(Frozen):
    """Its claim has not heard of it yet: that is the claim's next step."""


class LetGo(Frozen):
    """No gateway has to remove anything (any more)."""


VolumeStep = Phase | Delete | Unbind | Complete | LetGo | None


def plan_volume(volume: JsonObject, claim: JsonObject | None, *, node_exists: bool) -> VolumeStep:
    """`claim` is what has the name that the volume's `claimRef` gives; `node_exists` is said of its gateway."""
    if being_deleted(volume):
        held = DIRECTORY in strs_at(volume, "metadata", "finalizers")
        kept = str_at(volume, "spec", "persistentVolumeReclaimPolicy") != "Delete"
        # A gateway that left the fleet takes its directories along.
        if held and (kept or not gateway_of(volume) or (is_to_be_removed(volume) and not node_exists)):
            return LetGo()
    ref = map_at(volume, "spec", "claimRef")
    if not str_at(ref, "uid"):
        return _phase(volume, "Available")
    if claim is None or uid_of(claim) != str_at(ref, "uid"):
        return _reclaim(volume)
    holder = str_at(claim, "spec", "volumeName")
    if not holder:
        return Complete()
    if holder == name_of(volume):
        return _phase(volume, "Bound")
    if PROVISIONED_BY in annotations_of(volume) and _policy(volume) == "Delete":
        return _reclaim(volume)  # made for a claim that found another
    return Unbind()


def _policy(volume: JsonObject) -> str:
    return str_at(volume, "spec", "persistentVolumeReclaimPolicy") or "Retain"


def _phase(volume: JsonObject, phase: str) -> Phase | None:
    return None if str_at(volume, "status", "phase") == phase else Phase(phase=phase)


def _reclaim(volume: JsonObject) -> VolumeStep:
    if str_at(volume, "status", "phase") not in ("Released", "Failed"):
        return Phase(phase="Released")
    if _policy(volume) == "Retain" or being_deleted(volume):
        return None
    if _policy(volume) == "Recycle":
        return _failed(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
    if gateway_of(volume):
        return Delete()
    if map_at(volume, "spec", "csi") or PROVISIONED_BY in annotations_of(volume):
        return None  # whoever made it deletes it
    text = f'error getting deleter volume plugin for volume "{name_of(volume)}": no deletable volume plugin matched'
    return _failed(volume, "VolumeFailedDelete", text)


def _failed(volume: JsonObject, reason: str, message: str) -> Phase | None:
    if str_at(volume, "status", "phase") == "Failed":
        return None
    return Phase(phase="Failed", reason=reason, message=message)


def freed(volume: JsonObject) -> JsonObject:
    """The volume without its claim; one that a user promised to a name stays promised to it."""
    spec = dict(map_at(volume, "spec"))
    annotations = dict(map_at(volume, "metadata", "annotations"))
    if annotations.pop(BOUND_BY_CONTROLLER, None) is None:
        ref = map_at(spec, "claimRef")
        spec["claimRef"] = {key: value for key, value in ref.items() if key not in ("uid", "resourceVersion")}
    else:
        spec.pop("claimRef", None)
    metadata: dict[str, Json] = {**map_at(volume, "metadata"), "annotations": annotations}
    return {**volume, "metadata": metadata, "spec": spec}


def let_go(volume: JsonObject) -> JsonObject:
    return without_finalizer(volume, DIRECTORY)
