"""What becomes of an object whose owners, or whose dependents, are going. Pure.

The rules are those of Kubernetes' garbage collector ("Owners and Dependents", `pkg/controller/garbagecollector`):
an object lives while one of its owners does; a foreground deletion waits for the dependents that block it; an
orphaning one cuts them loose. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cloudcore.controllers.ownership import with_metadata
from cloudcore.registry.port import Propagation
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, maps_at, str_at, strs_at
from skerry.objects.meta import being_deleted, owners_of, uid_of

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"

Fate = Literal["solid", "dangling", "waiting"]
"""Of an owner: it stands; it is gone; it is going, and waits for its dependents."""


class CutLoose(Frozen):
    """Take the owner out of every dependent, then its `orphan` finalizer away."""


class LetGo(Frozen):
    """Nothing blocks it any more: take its `foregroundDeletion` finalizer away."""


class Wait(Frozen):
    """Dependents still block it; `ask` those that nobody has asked to go."""

    ask: tuple[JsonObject, ...]


class Forget(Frozen):
    """It has an owner that stands: only the references to the others go."""

    uids: frozenset[str]


class Collect(Frozen):
    """No owner of it stands: delete it. `unblock` first where it would wait for itself, round a circle."""

    propagation: Propagation
    unblock: bool = False


Action = CutLoose | LetGo | Wait | Forget | Collect | None


def fate_of(owner: JsonObject | None, uid: str) -> Fate:
    """`owner` is whatever has the name that the reference gives; None when nothing has."""
    if owner is None or uid_of(owner) != uid:
        return "dangling"
    return "waiting" if is_waiting(owner) else "solid"


def is_waiting(obj: JsonObject) -> bool:
    """It is being deleted, and its dependents first."""
    return being_deleted(obj) and FOREGROUND in strs_at(obj, "metadata", "finalizers")


def plan(obj: JsonObject, fates: dict[str, Fate], dependents: Sequence[JsonObject]) -> Action:
    """`fates` by the uid of each owner that `obj` names."""
    finalizers = strs_at(obj, "metadata", "finalizers")
    if being_deleted(obj):
        if ORPHAN in finalizers:
            return CutLoose()
        if FOREGROUND in finalizers:
            return _going(obj, dependents)
        return None
    if not fates:
        return None
    gone = frozenset(uid for uid, fate in fates.items() if fate != "solid")
    if len(gone) < len(fates):
        return Forget(uids=gone) if gone else None
    return _collect(fates, finalizers, dependents)


def _going(obj: JsonObject, dependents: Sequence[JsonObject]) -> Action:
    blocking = [each for each in dependents if _blocks(each, uid_of(obj))]
    if not blocking:
        return LetGo()
    return Wait(ask=tuple(each for each in blocking if not being_deleted(each)))


def _blocks(dependent: JsonObject, owner_uid: str) -> bool:
    return any(owner.uid == owner_uid and owner.block_owner_deletion for owner in owners_of(dependent))


def _collect(fates: dict[str, Fate], finalizers: Sequence[str], dependents: Sequence[JsonObject]) -> Collect:
    if "waiting" in fates.values() and dependents:
        # Its own dependents go before it. If one of those already waits for dependents, we may be among them.
        return Collect(propagation="Foreground", unblock=any(is_waiting(each) for each in dependents))
    if ORPHAN in finalizers:
        return Collect(propagation="Orphan")
    return Collect(propagation="Foreground" if FOREGROUND in finalizers else "Background")


def without_owners(obj: JsonObject, uids: frozenset[str]) -> JsonObject:
    references: list[Json] = [
        found for found in maps_at(obj, "metadata", "ownerReferences") if str_at(found, "uid") not in uids
    ]
    return with_metadata(obj, ownerReferences=references)


def without_finalizer(obj: JsonObject, finalizer: str) -> JsonObject:
    rest: list[Json] = [name for name in strs_at(obj, "metadata", "finalizers") if name != finalizer]
    return with_metadata(obj, finalizers=rest)


def unblocked(obj: JsonObject) -> JsonObject:
    """It holds none of its owners back any more."""
    references: list[Json] = [
        {**found, "blockOwnerDeletion": False} if found.get("blockOwnerDeletion") is True else found
        for found in maps_at(obj, "metadata", "ownerReferences")
    ]
    return with_metadata(obj, ownerReferences=references)
