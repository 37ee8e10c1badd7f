"""Whose end ends the claims of a StatefulSet: `persistentVolumeClaimRetentionPolicy`. Pure.

A claim that is to go with the set, or with a pod that scaling takes away, is owned by it; the garbage collector does
the rest. Claims that somebody else controls are left alone, as in Kubernetes. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.controllers.ownership import controller_reference, with_metadata
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, maps_at, str_at
from skerry.objects.meta import being_deleted, controller_of, name_of, owners_of, uid_of


class Retention(Frozen):
    """What ends with what."""

    with_set: bool
    with_scaling: bool


def retention_of(owner: JsonObject) -> Retention:
    def deletes(name: str) -> bool:
        return str_at(owner, "spec", "persistentVolumeClaimRetentionPolicy", name) == "Delete"

    return Retention(with_set=deletes("whenDeleted"), with_scaling=deletes("whenScaled"))


def owned_claim(claim: JsonObject, owner: JsonObject, pod: JsonObject, *, condemned: bool) -> JsonObject:
    """The claim with the owners that it should have; itself where it has them. `condemned`: scaling ends the pod."""
    controller = controller_of(claim)
    if controller is not None and controller.kind not in ("StatefulSet", "Pod"):
        return claim
    policy = retention_of(owner)
    by_pod = condemned and policy.with_scaling
    by_set = policy.with_set and not by_pod
    wanted = pod if by_pod else owner if by_set else None
    references = maps_at(claim, "metadata", "ownerReferences")
    kept: list[Json] = [each for each in references if not _is_of(each, owner, pod)]
    if wanted is not None:
        if len(kept) + 1 == len(references) and any(str_at(each, "uid") == uid_of(wanted) for each in references):
            return claim
        kept.append(controller_reference(wanted))
    return claim if len(kept) == len(references) and wanted is None else with_metadata(claim, ownerReferences=kept)


def _is_of(reference: JsonObject, owner: JsonObject, pod: JsonObject) -> bool:
    kind, name = str_at(reference, "kind"), str_at(reference, "name")
    return (kind, name) in (("StatefulSet", name_of(owner)), ("Pod", name_of(pod)))


def is_stale(claims: Sequence[JsonObject], pod: str) -> bool:
    """Some claim goes with an earlier pod of that name: a new one would lose it."""
    return any(
        being_deleted(claim) or any(each.kind == "Pod" and each.name == pod for each in owners_of(claim))
        for claim in claims
    )
