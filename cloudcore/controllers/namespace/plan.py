"""What to delete next in a namespace that is going, and what its conditions say. Pure.

Pods go first, and everything else only when they are gone: a pod on its way down may still need its ConfigMaps
(Kubernetes' ordered namespace deletion). The words of the conditions are Kubernetes'. Keeps nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cloudcore.controllers.ownership import with_metadata
from skerry.frozen import Frozen
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.json import Json, JsonObject, map_at, maps_at, strs_at
from skerry.objects.meta import Key, being_deleted

FINALIZER = "kubernetes"


class Content(Frozen):
    """One object that is left."""

    key: Key
    leaving: bool
    finalizers: tuple[str, ...]


def content(key: Key, obj: JsonObject) -> Content:
    return Content(key=key, leaving=being_deleted(obj), finalizers=tuple(strs_at(obj, "metadata", "finalizers")))


def to_delete(left: Sequence[Content]) -> list[Key]:
    """Those that nobody has asked to go yet, and that may go now."""
    pods = [each for each in left if each.key.resource == "pods"]
    return [each.key for each in (pods or left) if not each.leaving]


def conditions_of(namespace: JsonObject, left: Sequence[Content], *, now_ms: int) -> list[Json]:
    """core/v1 NamespaceConditions of a namespace with so much left in it."""
    known = maps_at(namespace, "status", "conditions")
    for condition in _said(left):
        known = [each for each in with_condition(known, condition, now_ms=now_ms) if isinstance(each, dict)]
    return [*known]


def _said(left: Sequence[Content]) -> list[Condition]:
    return [
        Condition(
            type="NamespaceDeletionDiscoveryFailure",
            status="False",
            reason="ResourcesDiscovered",
            message="All resources successfully discovered",
        ),
        Condition(
            type="NamespaceDeletionGroupVersionParsingFailure",
            status="False",
            reason="ParsedGroupVersions",
            message="All legacy kube types successfully parsed",
        ),
        Condition(
            type="NamespaceDeletionContentFailure",
            status="False",
            reason="ContentDeleted",
            message="All content successfully deleted, may be waiting on finalization",
        ),
        _remaining(left),
        _held(left),
    ]


def _remaining(left: Sequence[Content]) -> Condition:
    type_ = "NamespaceContentRemaining"
    if not left:
        text = "All content successfully removed"
        return Condition(type=type_, status="False", reason="ContentRemoved", message=text)
    counts = Counter(_dotted(each.key.resource) for each in left)
    parts = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(counts.items()))
    text = f"Some resources are remaining: {parts}"
    return Condition(type=type_, status="True", reason="SomeResourcesRemain", message=text)


def _held(left: Sequence[Content]) -> Condition:
    type_ = "NamespaceFinalizersRemaining"
    counts = Counter(name for each in left for name in each.finalizers)
    if not counts:
        text = "All content-preserving finalizers finished"
        return Condition(type=type_, status="False", reason="ContentHasNoFinalizers", message=text)
    parts = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(counts.items()))
    text = f"Some content in the namespace has finalizers remaining: {parts}"
    return Condition(type=type_, status="True", reason="SomeFinalizersRemain", message=text)


def _dotted(resource: str) -> str:
    """Core resources are written with a trailing dot, as `GroupResource` does: `pods.`"""
    return resource if "." in resource else f"{resource}."


def finalized(namespace: JsonObject) -> JsonObject:
    """The namespace with nothing of ours holding it."""
    rest: list[Json] = [name for name in strs_at(namespace, "spec", "finalizers") if name != FINALIZER]
    return {**with_metadata(namespace), "spec": {**map_at(namespace, "spec"), "finalizers": rest}}
