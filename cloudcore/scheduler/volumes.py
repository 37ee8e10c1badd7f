"""What a pod's claims ask of its node, and which volumes they get there. Pure; keeps nothing.

Volumes that are bound say where they can be reached. A claim that waits for its first consumer takes a free volume
that the node reaches, or has one made for the node. The rules and the words are those of the plugins VolumeBinding
and VolumeRestrictions of Kubernetes' scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from cloudcore.registry.volumes import Search, allows, best_volume, node_selector_of
from cloudcore.scheduler.ask import Ask
from cloudcore.scheduler.cluster import Node
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, str_at, strs_at
from skerry.objects.meta import annotations_of, being_deleted, name_of, namespace_of
from skerry.objects.select import NodeSelector
from skerry.objects.volumes import (
    SELECTED_NODE,
    PodClaim,
    class_of,
    is_bound,
    request_of,
    waits_for_consumer,
)

UNBOUND_IMMEDIATE: Final = "pod has unbound immediate PersistentVolumeClaims"
USED_ALONE: Final = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
_ELSEWHERE: Final = "node(s) didn't match PersistentVolume's node affinity"
_NONE_FREE: Final = "node(s) didn't find available persistent volumes to bind"
_NO_VOLUME: Final = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
_NO_PROVISIONER: Final = ("", "kubernetes.io/no-provisioner")


class OpenClaim(Frozen):
    """A claim whose volume is chosen with its pod's node."""

    claim: JsonObject
    volumes: tuple[JsonObject, ...]
    """Those that it may come to have."""
    storage_class: JsonObject


class VolumeNeeds(Frozen):
    """All that a pod's claims ask."""

    refusal: str = ""
    """Why the pod can go nowhere now."""
    places: tuple[NodeSelector, ...] = ()
    """Where the volumes that it has already can be reached."""
    lost: bool = False
    """A volume that it has is not there."""
    open: tuple[OpenClaim, ...] = ()
    """The largest request last."""
    alone: frozenset[str] = frozenset()
    """Names of claims that one pod may use at a time."""
    taken: frozenset[str] = frozenset()
    """Names of volumes that other pods were given, and that do not say so yet."""


NO_NEEDS: Final = VolumeNeeds()


class Assignment(Frozen):
    """What an open claim gets."""

    claim: JsonObject
    volume: JsonObject | None
    """None: one is made for the node."""


class Storage(Protocol):
    """Claims, volumes and classes as they are now."""

    def claim(self, namespace: str, name: str) -> JsonObject | None: ...

    def volume(self, name: str) -> JsonObject | None: ...

    def storage_class(self, name: str) -> JsonObject | None: ...

    def candidates(self, claim: JsonObject) -> Sequence[JsonObject]:
        """The volumes that the claim may come to have."""
        ...


def needs_of(ask: Ask, storage: Storage, taken: frozenset[str] = frozenset()) -> VolumeNeeds:
    """Of a pod with claims."""
    places: list[NodeSelector] = []
    waiting: list[OpenClaim] = []
    alone: set[str] = set()
    lost = False
    for wanted in ask.claims:
        claim = storage.claim(ask.key.namespace, wanted.name)
        why = _refusal(ask, wanted, claim)
        if why or claim is None:
            return VolumeNeeds(refusal=why)
        if "ReadWriteOncePod" in strs_at(claim, "spec", "accessModes"):
            alone.add(wanted.name)
        if is_bound(claim):
            volume = storage.volume(str_at(claim, "spec", "volumeName"))
            lost = lost or volume is None
            place = _place_of(volume) if volume is not None else None
            places += [place] if place is not None else []
            continue
        found = storage.storage_class(class_of(claim)) if class_of(claim) else None
        if found is None or not waits_for_consumer(found) or str_at(claim, "spec", "volumeName"):
            return VolumeNeeds(refusal=UNBOUND_IMMEDIATE)
        waiting.append(OpenClaim(claim=claim, volumes=tuple(storage.candidates(claim)), storage_class=found))
    return VolumeNeeds(
        places=tuple(places),
        lost=lost,
        open=tuple(sorted(waiting, key=lambda each: request_of(each.claim).nano)),
        alone=frozenset(alone),
        taken=taken,
    )


def _refusal(ask: Ask, wanted: PodClaim, claim: JsonObject | None) -> str:
    if claim is None:
        if wanted.ephemeral:
            made = f'"{wanted.name}"'
            return f"waiting for ephemeral volume controller to create the persistentvolumeclaim {made}"
        return f'persistentvolumeclaim "{wanted.name}" not found'
    if being_deleted(claim):
        return f'persistentvolumeclaim "{wanted.name}" is being deleted'
    if wanted.ephemeral and not any(
        str_at(owner, "uid") == ask.uid and owner.get("controller") is True for owner in _owners(claim)
    ):
        place = f"{namespace_of(claim)}/{wanted.name}"
        return f"PVC {place} was not created for pod {ask.key.namespace}/{ask.key.name} (pod is not owner)"
    if str_at(claim, "status", "phase") == "Lost":
        volume = str_at(claim, "spec", "volumeName")
        return f'persistentvolumeclaim "{wanted.name}" bound to non-existent persistentvolume "{volume}"'
    return ""


def _owners(claim: JsonObject) -> list[JsonObject]:
    metadata = claim.get("metadata")
    references = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    return [each for each in references if isinstance(each, dict)] if isinstance(references, list) else []


def _place_of(volume: JsonObject) -> NodeSelector | None:
    try:
        return node_selector_of(volume)
    except BadRequestError:
        # It bypassed validation: what can't be read is satisfied nowhere.
        return NodeSelector(())


def volume_faults(needs: VolumeNeeds, node: Node) -> tuple[str, ...]:
    """Why the node won't do; none when it will."""
    if needs.lost:
        return (_NO_VOLUME,)
    if not all(place.matches(node.labels, node.name) for place in needs.places):
        return (_ELSEWHERE,)
    return () if assigned(needs, node) is not None else (_NONE_FREE,)


def assigned(needs: VolumeNeeds, node: Node) -> tuple[Assignment, ...] | None:
    """What each open claim gets on the node; None when one gets nothing."""
    taken = set(needs.taken)
    given: list[Assignment] = []
    for each in needs.open:
        selected = annotations_of(each.claim).get(SELECTED_NODE, "")
        if selected and selected != node.name:
            return None
        search = Search(reachable=lambda volume: _reaches(node, volume), taken=frozenset(taken))
        volume = None if selected else best_volume(each.claim, each.volumes, search)
        if volume is not None:
            taken.add(name_of(volume))
        elif not _is_made(each, node):
            return None
        given.append(Assignment(claim=each.claim, volume=volume))
    return tuple(given)


def _reaches(node: Node, volume: JsonObject) -> bool:
    place = _place_of(volume)
    return place is None or place.matches(node.labels, node.name)


def _is_made(each: OpenClaim, node: Node) -> bool:
    provisioner = str_at(each.storage_class, "provisioner")
    return provisioner not in _NO_PROVISIONER and allows(each.storage_class, dict(node.labels))
