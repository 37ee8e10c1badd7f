"""What a member does about one row of its ledger: make, change, leave or remove an object. Pure.

Only what the template says is ours. A field that the template changed is changed; a field that somebody changed in
the member has *drifted*, and the policy says what becomes of it: `Revert` puts it back while the member is in touch
with the global cloud (cut off, people have to be able to help themselves), `Keep` leaves it until the template
itself changes that field. What somebody deleted is made again when the member is in touch. All is told. Nothing
is removed but by a tombstone, and nothing that lost our mark.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from skerry.frozen import Frozen, replace
from skerry.objects.federation import MANAGED, ROW, MemberObject, object_version
from skerry.objects.json import Json, JsonObject, clone, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of, being_deleted, labels_of, with_annotations
from skerry.objects.patches import difference, merge_patch

_FOUND_LENGTH_MAX: Final = 200
_NOT_SHOWN: Final = "not shown"
_DELETED: Final = "deleted"
WHOLE: Final = ""
"""Path of a drift: of the whole object, as in a JSON pointer."""
_DRIFTS_MAX: Final = 50
_REMEMBERED_MAX: Final = 20
"""Drifts that are remembered of one object."""
_SCALED: Final = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"})
_SUSPENDED: Final = frozenset({"Job", "CronJob"})
_STILL: Final = frozenset(
    {"PersistentVolumeClaim", "PersistentVolume", "ConfigMap", "Secret", "Namespace", "Service", "ServiceAccount"}
)
"""What runs nothing, and has or holds what would be lost: it stays when a lease ends."""
_TRIAL: Final = "skerry-trial"
_NAME_LENGTH_MAX: Final = 40
LEASE_ENDED: Final = "LeaseEnded"
_REPLICAS: Final = "/spec/replicas"
HAD: Final = "skerry.dev/replicas-before-stop"
"""Annotation of what is stopped, and whose replicas the member decides by itself: as many as it had."""
_LEFT_ALONE: Final = f"it has the label {MANAGED}: false in the member, and is left alone"
_ENDED: Final = "the global cloud has not answered for as long as it may run: it is stopped until it does"

Outcome = Literal["Kept", "Reverted"]


class Drifted(Frozen):
    path: str
    found: str
    outcome: Outcome


class Decision(Frozen):
    """What is to be done."""

    act: Literal["none", "create", "update", "delete", "release", "wait"]
    obj: JsonObject | None = None
    """To be written."""
    drift: tuple[Drifted, ...] = ()
    code: str = ""
    message: str = ""
    removed: bool = False
    is_unserved: bool = False
    """The member serves nothing of the kind."""


def stopped(row: MemberObject) -> MemberObject | None:
    """As it is to be when its lease has ended: there, and running nothing. None: that can't be of its kind."""
    field: dict[str, Json] = {}
    if row.target.kind in _SCALED:
        field = {"replicas": 0}
    elif row.target.kind in _SUSPENDED:
        field = {"suspend": True}
    if not field:
        return None
    manifest: JsonObject = {**row.manifest, "spec": {**map_at(row.manifest, "spec"), **field}}
    return replace(row, manifest=manifest, drift="Revert", retain=())


def trial_of(row: MemberObject) -> JsonObject:
    """What is made anew, under a name that is nobody's, to see whether it would be taken."""
    metadata = map_at(row.manifest, "metadata")
    name = f"{row.target.name[:_NAME_LENGTH_MAX]}-{_TRIAL}"
    return {**row.manifest, "metadata": {**metadata, "name": name}}


def may_recreate(row: MemberObject, present: JsonObject) -> bool:
    """Only what the federation made, or took over before: never what is the member's own yet."""
    return row.recreate and annotations_of(present).get(ROW) == row.name


def anew(refused: str) -> Decision:
    """It was deleted, to be made as it is to be."""
    return Decision(
        act="wait", code="UpdateFailed", message=f"is made anew, as it can't be changed: {refused}"[:1000]
    )


def decide_stop(row: MemberObject, present: JsonObject | None, applied: JsonObject) -> Decision:
    """Of a row whose lease has ended."""
    idle = stopped(row)
    if idle is not None:
        decision = decide(idle, present, applied, in_touch=True) if present is not None else Decision(act="none")
        if present is not None and decision.obj is not None and _REPLICAS in row.retain:
            decision = _remembering(decision, present, decision.obj)
    elif (
        row.target.kind in _STILL
        or present is None
        or annotations_of(present).get(ROW) != row.name
        or being_deleted(present)
    ):
        decision = Decision(act="none")
    else:
        decision = Decision(act="delete")
    return decision if decision.code else replace(decision, code=LEASE_ENDED, message=_ENDED, drift=())


def _remembering(decision: Decision, present: JsonObject, stops: JsonObject) -> Decision:
    """With the replicas that it has: they are the member's own, and nobody else knows them."""
    count = map_at(present, "spec").get("replicas", 1)
    if not isinstance(count, int) or (not count and HAD in annotations_of(present)):
        return decision
    noted = with_annotations(stops, {HAD: str(count)})
    return replace(decision, act="none" if noted == present else "update", obj=noted)


def _lent_again(row: MemberObject, present: JsonObject, applied: JsonObject) -> JsonObject:
    """With the replicas that it had before it was stopped; with the template's where that is not known."""
    if _REPLICAS not in row.retain or row.target.kind not in _SCALED:
        return present
    had, spec = annotations_of(present).get(HAD, ""), map_at(present, "spec")
    metadata, notes = map_at(present, "metadata"), dict(annotations_of(present))
    notes.pop(HAD, None)
    found: JsonObject = {**present, "metadata": {**metadata, "annotations": {**notes}}}
    wanted = map_at(row.manifest, "spec").get("replicas", 1)
    was_stopped = map_at(applied, "spec").get("replicas") == 0 != wanted
    if spec.get("replicas") != 0 or not (had or was_stopped):
        return found
    return {**found, "spec": {**spec, "replicas": int(had) if had.isdecimal() else wanted}}


def decide(row: MemberObject, present: JsonObject | None, applied: JsonObject, *, in_touch: bool) -> Decision:
    """`applied`: the manifest that was applied last; {} for none."""
    ours = present is not None and annotations_of(present).get(ROW) == row.name
    if row.removal:
        return _removal(row, present, applied, ours=ours)
    if present is None:
        return _making(row, applied, in_touch=in_touch)
    if being_deleted(present):
        return Decision(act="wait", code="UpdateFailed", message="it is being deleted in the member")
    if is_unmanaged(present) and not row.lease_s:  # what may run once alone is stopped, whatever its label says
        return Decision(act="none", code="ManagedLabelFalse", message=_LEFT_ALONE)
    if not ours and not row.adopt:
        return Decision(act="none", code="AlreadyExists", message="it is there already, and adoption is disabled")
    base = applied if ours else {}
    wanted = _without(row.manifest, row.retain)
    base = _without(base, row.retain)
    start = _lent_again(row, present, applied) if ours else present
    merged = merge_patch(clone(start), difference(base, wanted))
    settled = wanted if not base else _common(base, wanted)
    drift = list(_drift(settled, present, "")) if ours and base else []
    reverts = row.drift == "Revert" and in_touch
    if drift and reverts:
        merged = merge_patch(merged, _lacking(wanted, merged))
    lost = list(_overwritten(base, wanted, present, "")) if base else list(_taken(wanted, present))
    is_secret = str_at(row.manifest, "kind") == "Secret"  # what is told of it is read by who may read no Secret
    told = [*_told(drift, "Reverted" if reverts else "Kept", is_secret=is_secret)]
    told += _told(lost, "Reverted", is_secret=is_secret)
    noted = _noted(merged, row.name)
    return Decision(act="none" if noted == present else "update", obj=noted, drift=tuple(told[:_DRIFTS_MAX]))


def _making(row: MemberObject, applied: JsonObject, *, in_touch: bool) -> Decision:
    """Of what is not there. If it was, and nothing else is wanted since, then somebody deleted it here: cut off,
    that stands as a change of it does. Whether it is here is said by its placement, so `Keep` keeps no deletion."""
    if not applied or applied != row.manifest:
        return Decision(act="create", obj=_noted(row.manifest, row.name))
    if not in_touch:
        return Decision(act="none", drift=(Drifted(path=WHOLE, found=_DELETED, outcome="Kept"),))
    drift = (Drifted(path=WHOLE, found=_DELETED, outcome="Reverted"),)
    return Decision(act="create", obj=_noted(row.manifest, row.name), drift=drift)


def remembered(before: JsonObject, decision: Decision, now: str) -> list[Json]:
    """Of the status of a row: what drifted and was kept stands while it does, since when it was seen; what was put
    back is remembered, newest first."""
    old = maps_at(before, "drift")
    fresh: list[JsonObject] = []
    for each in decision.drift:
        entry: JsonObject = {"path": each.path, "found": each.found, "outcome": each.outcome}
        known = next((one for one in old if {**entry, "at": one.get("at")} == one), None)
        fresh.append(known if known is not None else {**entry, "at": now})
    history = [one for one in old if str_at(one, "outcome") == "Reverted" and one not in fresh]
    told: list[Json] = [*fresh, *history]
    return told[:_REMEMBERED_MAX]


def _told(drift: Iterable[tuple[str, str]], outcome: Outcome, *, is_secret: bool) -> Iterator[Drifted]:
    for path, found in drift:
        yield Drifted(path=path, found=_NOT_SHOWN if is_secret and found else found, outcome=outcome)


def _removal(row: MemberObject, present: JsonObject | None, applied: JsonObject, *, ours: bool) -> Decision:
    if present is None or not ours or (is_unmanaged(present) and not row.lease_s):
        return Decision(act="none", removed=True)
    if row.removal == "Orphan":
        return release(present)
    if being_deleted(present):
        return Decision(act="wait", code="WaitingForRemoval", message="finalizers hold it")
    changed = _drift(_without(applied, row.retain), present, "")  # somebody's work there goes with it
    told = _told(changed, "Reverted", is_secret=row.target.kind == "Secret")
    return Decision(act="delete", drift=tuple(told)[:_DRIFTS_MAX])


def is_unmanaged(present: JsonObject) -> bool:
    """Somebody in the member took it out of the federation's hands, as KubeFed lets him."""
    return labels_of(present).get(MANAGED) == "false"


def is_ours(row: MemberObject, present: JsonObject) -> bool:
    """Whether a row put it there, and a tombstone would do something about it."""
    marked = annotations_of(present).get(ROW) == row.name
    return marked and (bool(row.lease_s) or not is_unmanaged(present))


def release(present: JsonObject) -> Decision:
    """It stays, and is ours no more."""
    return Decision(act="release", obj=_released(present), removed=True)


def version_of(before: JsonObject, decision: Decision, now: JsonObject | None) -> str:
    """Of the object as it was written last; `before`: the row's status. What others write beside it counts for
    nothing where it has no generation: each of their writes would be told."""
    if now is None or decision.removed:
        return ""
    was, found = str_at(before, "version"), object_version(now)
    return was if was.startswith("rv:") and decision.act not in ("create", "update") else found


def _common(base: JsonObject, wanted: JsonObject) -> JsonObject:
    """What both say alike: the template did not change it."""
    found: JsonObject = {}
    for name, value in wanted.items():
        old = base.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _common(old, value):
                found[name] = inner
        elif name in base and old == value:
            found[name] = value
    return found


def _drift(wanted: JsonObject, found: Mapping[str, Json], path: str) -> Iterator[tuple[str, str]]:
    for name, value in wanted.items():
        place = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        other = found.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from _drift(value, other, place)
        elif not contains(value, other):
            text = json.dumps(other, sort_keys=True, separators=(",", ":")) if name in found else ""
            yield place, text[:_FOUND_LENGTH_MAX]


def _overwritten(
    base: Mapping[str, Json], wanted: Mapping[str, Json], found: Mapping[str, Json], path: str
) -> Iterator[tuple[str, str]]:
    """What somebody had changed, and the template changes now to something else: it goes, and not in silence."""
    for name, old in base.items():
        place = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        new, other = wanted.get(name), found.get(name)
        if isinstance(old, dict) and isinstance(other, dict) and (isinstance(new, dict) or new is None):
            yield from _overwritten(old, new or {}, other, place)
        elif old != new and not contains(old, other) and not contains(new, other):
            text = json.dumps(other, sort_keys=True, separators=(",", ":")) if name in found else ""
            yield place, text[:_FOUND_LENGTH_MAX]


def _taken(wanted: JsonObject, present: JsonObject) -> Iterator[tuple[str, str]]:
    """What an object that becomes ours had otherwise."""
    return ((place, found) for place, found in _drift(wanted, present, "") if found)


def contains(wanted: Json, found: Json) -> bool:
    """Whether all that is wanted is there; defaults that were added beside it don't count."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return not wanted and found is None
        return all(contains(value, found.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return not wanted and found is None
        return all(contains(one, other) for one, other in zip(wanted, found, strict=True))
    return wanted == found


def _lacking(wanted: JsonObject, found: Mapping[str, Json]) -> JsonObject:
    """A merge patch that puts back what is not as wanted."""
    patch: JsonObject = {}
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            if inner := _lacking(value, other):
                patch[name] = inner
        elif not contains(value, other):
            patch[name] = value
    return patch


def _without(obj: JsonObject, pointers: tuple[str, ...]) -> JsonObject:
    if not pointers or not obj:
        return obj
    made = clone(obj)
    for pointer in pointers:
        *steps, last = pointer.strip("/").split("/")
        map_at(made, *steps).pop(last, None)
    return made


def _noted(obj: JsonObject, row: str) -> JsonObject:
    metadata = map_at(obj, "metadata")
    return {**obj, "metadata": {**metadata, "annotations": {**map_at(metadata, "annotations"), ROW: row}}}


def _released(obj: JsonObject) -> JsonObject:
    metadata = dict(map_at(obj, "metadata"))
    for field, name in (("annotations", ROW), ("labels", MANAGED)):
        kept = {key: value for key, value in map_at(metadata, field).items() if key != name}
        metadata[field] = kept
        if not kept:
            del metadata[field]
    return {**obj, "metadata": metadata}
