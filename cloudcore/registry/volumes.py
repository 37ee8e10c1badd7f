"""Which volume a claim may have, and which class it has when it says none. Pure; keeps nothing.

The binder and the scheduler choose by the same rules: those of Kubernetes' `FindMatchingVolume` and
`AccessModes` (component-helpers `storage/volume`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import being_deleted, name_of, namespace_of, uid_of, with_annotations
from skerry.objects.select import EVERYTHING, NodeSelector, label_selector, node_selector
from skerry.objects.volumes import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    capacity_of,
    class_of,
    is_default_class,
    is_for,
    mode_of,
    request_of,
)


class Search(Frozen):
    """How a volume is looked for."""

    reachable: Callable[[JsonObject], bool] | None = None
    """Whether a node reaches a volume, where it is looked for on behalf of one; None: nodes do not matter."""
    promised_only: bool = False
    """The choice among free ones is left to the scheduler."""
    taken: frozenset[str] = frozenset()
    """Names of volumes that others have been given meanwhile."""


_ANYWHERE = Search()


def best_volume(claim: JsonObject, volumes: Iterable[JsonObject], how: Search = _ANYWHERE) -> JsonObject | None:
    """The volume that is promised to the claim; else of the free ones that fit, that which is wasted least: with the
    fewest modes, then the smallest."""
    fitting: list[JsonObject] = []
    wanted = map_at(claim, "spec").get("selector")
    selector = label_selector(wanted) if isinstance(wanted, dict) else EVERYTHING
    for volume in volumes:
        if name_of(volume) in how.taken or being_deleted(volume) or mismatch(volume, claim, of_class=False):
            continue
        near = how.reachable is None or how.reachable(volume)
        if is_for(volume, claim):
            # Promised, and out of reach: then no other will do on this node.
            return volume if near else None
        if how.promised_only or not near or map_at(volume, "spec", "claimRef"):
            continue
        if str_at(volume, "status", "phase") != "Available" or class_of(volume) != class_of(claim):
            continue
        if selector.selects(volume):
            fitting.append(volume)
    return min(fitting, key=_waste, default=None)


def _waste(volume: JsonObject) -> tuple[int, int, str]:
    return len(strs_at(volume, "spec", "accessModes")), capacity_of(volume).nano, name_of(volume)


def mismatch(volume: JsonObject, claim: JsonObject, *, of_class: bool = True) -> str:
    """Why the claim can't have the volume; "" when it can."""
    if capacity_of(volume) < request_of(claim):
        return "requested PV is too small"
    if of_class and class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if mode_of(volume) != mode_of(claim):
        return "incompatible volumeMode"
    if not {*strs_at(claim, "spec", "accessModes")} <= {*strs_at(volume, "spec", "accessModes")}:
        return "incompatible accessMode"
    return ""


def node_selector_of(volume: JsonObject) -> NodeSelector | None:
    """Where the volume can be reached; None: everywhere."""
    required = map_at(volume, "spec", "nodeAffinity", "required")
    return node_selector(required) if required else None


def default_class(classes: Iterable[JsonObject]) -> JsonObject | None:
    """The class of claims that say none: of several the newest, as Kubernetes chooses."""
    defaults = sorted((found for found in classes if is_default_class(found)), key=name_of)
    return max(defaults, key=lambda found: str_at(found, "metadata", "creationTimestamp"), default=None)


def promised(volume: JsonObject, claim: JsonObject) -> JsonObject:
    """The volume, promised to this life of the claim; itself where it is that already."""
    ref = map_at(volume, "spec", "claimRef")
    if is_for(volume, claim) and str_at(ref, "uid"):
        return volume
    full: JsonObject = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
        "resourceVersion": str_at(claim, "metadata", "resourceVersion"),
    }
    bound: JsonObject = {**volume, "spec": {**map_at(volume, "spec"), "claimRef": full}}
    # What a user promised stays promised when the claim goes elsewhere; what the controller did is taken back.
    return bound if is_for(volume, claim) else with_annotations(bound, {BOUND_BY_CONTROLLER: "yes"})


def holding(claim: JsonObject, volume: JsonObject) -> JsonObject:
    """The claim, with the volume for good; itself where it has it already."""
    said = {BIND_COMPLETED: "yes"}
    if str_at(claim, "spec", "volumeName") != name_of(volume):
        said[BOUND_BY_CONTROLLER] = "yes"
        claim = {**claim, "spec": {**map_at(claim, "spec"), "volumeName": name_of(volume)}}
    return with_annotations(claim, said)


def allows(storage_class: JsonObject, labels: dict[str, str]) -> bool:
    """Whether the class makes volumes for a node with these labels (`allowedTopologies`)."""
    terms = maps_at(storage_class, "allowedTopologies")
    return not terms or any(
        all(
            labels.get(str_at(asked, "key")) in strs_at(asked, "values")
            for asked in maps_at(term, "matchLabelExpressions")
        )
        for term in terms
    )
