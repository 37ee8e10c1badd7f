"""What a federation put into a region, and has no row for any more: what strays. Pure.

A row leaves a ledger when its member says that it is carried out. So a region that still has the object was set back
to an older state of its own, or its global cloud was, and does not know the object. The epoch tells which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.federation import (
    MemberObject,
    Source,
    Target,
    membership_of,
    read_member_object,
)
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, annotations_of

STRAY: Final = "skerry.dev/stray"
"""Annotation of a RegionObject whose row is gone: the epoch of the global cloud in which it had it; "" of one that a
global cloud of another epoch does not know."""
OF_STRAY: Final = "skerry.dev/of-stray"
"""Annotation of a MemberObject that was written to clean up what strays: the epoch of the stray."""
STRAYS_MAX: Final = 100
"""That are told, and cleaned up at a time in a member; the others are counted."""
_TEXT_LENGTH_MAX: Final = 253
_LEASE_S_MAX: Final = 3600
"""As of a PlacementPolicy: who waits for what strays waits no longer."""


class Stray(Frozen):
    """One object."""

    target: Target
    source: Source
    epoch: str
    orphan: bool
    lease_s: int = 0
    """The longest that the region may go by, of when it was lent; 0: it never was."""


def is_stray(region_object: JsonObject) -> bool:
    return STRAY in annotations_of(region_object)


def told_strays(region_objects: Sequence[JsonObject]) -> JsonObject:
    """What a region says of all of them."""
    told: list[Json] = []
    for obj in region_objects[:STRAYS_MAX]:
        row = read_member_object(obj)
        spec = map_at(obj, "spec")
        entry: JsonObject = {"object": spec.get("object", {}), "source": spec.get("source", {})}
        if lease_s := max(row.lease_s, int_at(obj, "status", "leaseSeconds")):
            entry["leaseSeconds"] = lease_s
        told.append({**entry, "orphan": row.orphan, "epoch": annotations_of(obj).get(STRAY, "")})
    return {"count": len(region_objects), "objects": told} if told else {}


def read_strays(told: JsonObject, member: JsonObject) -> JsonObject:
    """What is kept in the status of a KubeFedCluster of what its region said; {} for none."""
    found: list[Json] = []
    for entry in maps_at(told, "objects")[:STRAYS_MAX]:
        kept: JsonObject = {"orphan": bool_at(entry, "orphan"), "epoch": str_at(entry, "epoch")[:_TEXT_LENGTH_MAX]}
        if lease_s := max(0, min(int_at(entry, "leaseSeconds"), _LEASE_S_MAX)):
            kept["leaseSeconds"] = lease_s
        for part, names in (
            ("object", ("apiVersion", "kind", "namespace", "name")),
            ("source", ("resource", "namespace", "name", "uid")),
        ):
            kept[part] = {name: str_at(entry, part, name)[:_TEXT_LENGTH_MAX] for name in names}
        found.append(kept)
    if not found:
        return {}
    count = max(len(found), min(int_at(told, "count"), 2**31 - 1))
    return {"count": count, "objects": found, "membership": membership_of(member)}


def strays_of(member: JsonObject) -> list[Stray]:
    """Of a KubeFedCluster; those of an earlier membership are nobody's."""
    told = map_at(member, "status", "strays")
    if not told or str_at(told, "membership") != membership_of(member):
        return []
    found: list[Stray] = []
    for entry in maps_at(told, "objects"):
        target = Target(
            api_version=str_at(entry, "object", "apiVersion"),
            kind=str_at(entry, "object", "kind"),
            namespace=str_at(entry, "object", "namespace"),
            name=str_at(entry, "object", "name"),
        )
        key = Key(
            str_at(entry, "source", "resource"), str_at(entry, "source", "namespace"), str_at(entry, "source", "name")
        )
        source = Source(key=key, uid=str_at(entry, "source", "uid"))
        found.append(
            Stray(
                target=target,
                source=source,
                epoch=str_at(entry, "epoch"),
                orphan=bool_at(entry, "orphan"),
                lease_s=int_at(entry, "leaseSeconds"),
            )
        )
    return found


def tombstone_of(stray: Stray, member: str, *, lease_s: int = 0) -> MemberObject:
    """With which it is cleaned up. `lease_s`: with which its source is lent, 0 where that may run twice, or is gone.

    Another member may begin what is lent, so that it does not stay as an orphan; and it is waited for as long as it
    is lent, be it that the region says nothing of a lease: else who says that it strays and falls silent would
    have all others wait for ever.
    """
    return MemberObject(
        member=member,
        target=stray.target,
        source=stray.source,
        revision=0,
        manifest={},
        removal="Orphan" if stray.orphan and not lease_s else "Delete",
        orphan=stray.orphan,
        lease_s=stray.lease_s or lease_s,
    )
