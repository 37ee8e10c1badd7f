"""Desired values in KubeEdge's Device (`devices.kubeedge.io/v1beta1`): read, numbered, merged, removed.

Pure functions from objects to objects; they keep no data. A desired value is
`Device.spec.properties[].desired.value`; everything else about it is in the free string map beside it,
`desired.metadata`: `ver`, `hlc`, `origin`, `side`, `conflict...` are the API server's; `expires` and `onReconnect` a
writer may set; `ifMatch` and `take` tell the API server under which condition, or what, to write, and are not kept.

A value that was removed leaves a tombstone in an annotation of the Device until its gateway has seen it; the versions
of those that are gone for good are kept joined in another, so that what is wanted next is newer than all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from skerry.errors import BadRequestError, ConflictError, InvalidError
from skerry.frozen import replace
from skerry.objects.desired import (
    HLC_ZERO,
    ON_RECONNECT,
    UNSEEN,
    Desired,
    Hlc,
    Vector,
    desired_from,
    desired_json,
    hlc_of,
    merge,
    next_hlc,
    on_reconnect_of,
    side_of,
    vector_of,
)
from skerry.objects.json import Json, JsonObject, clone, dig, ensure_map, list_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import annotations_of, generation_of
from skerry.objects.times import parse_time, time_text
from skerry.objects.twins import TwinDesired

REMOVED: Final = "twin.skerry.dev/removed"
"""Annotation: tombstones by property, as JSON."""
SEEN: Final = "twin.skerry.dev/seen"
"""Annotation: the joined version of the tombstones that the gateway has seen."""
REVISION: Final = "twin.skerry.dev/revision"
"""Annotation: of all that is wanted of the device, another text whenever any of it is another."""
IF_MATCH: Final = "twin.skerry.dev/if-match"
"""Annotation of a write, not kept: the revision that its author has seen."""
TOMBSTONES_MAX: Final = 256
"""Of one Device; beyond, those that come last in the alphabet are taken for seen."""


def ms_of(text: str) -> int | None:
    """RFC 3339 or milliseconds as text; None for neither."""
    if text.isdecimal():
        return int(text)
    try:
        return parse_time(text)
    except BadRequestError:
        return None


# --- reading ----------------------------------------------------------------------------------------------


def property_of(device: JsonObject, prop: str) -> JsonObject | None:
    """The entry of `spec.properties[]` itself."""
    return next((entry for entry in maps_at(device, "spec", "properties") if str_at(entry, "name") == prop), None)


def desired_of(device: JsonObject, prop: str) -> Desired | None:
    """What the Device wants of a property; None for nothing."""
    entry = property_of(device, prop)
    return None if entry is None else _desired_in(dig(entry, "desired"), device)


def record_of(device: JsonObject, prop: str) -> Desired | None:
    """What the Device wants of a property, or the tombstone of what it wanted. None: it knows of neither."""
    return desired_of(device, prop) or tombstones_of(device).get(prop)


def tombstones_of(device: JsonObject | None) -> dict[str, Desired]:
    """By property. What does not parse is none: whoever writes annotations by hand may break them."""
    found = {name: desired_from(entry) for name, entry in _removed_in(device).items()}
    return {name: desired for name, desired in found.items() if desired is not None and desired.removed}


def _removed_in(device: JsonObject | None) -> JsonObject:
    if device is None or not (text := annotations_of(device).get(REMOVED, "")):
        return {}
    try:
        held: Json = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def desired_revision(device: JsonObject) -> str:
    """Of all that is wanted of a device, for preconditions: another text whenever any of it is another."""
    digest = hashlib.blake2s(digest_size=8)
    for entry in sorted(maps_at(device, "spec", "properties"), key=lambda entry: str_at(entry, "name")):
        desired = _desired_in(dig(entry, "desired"), device)
        if desired is not None:
            digest.update(json.dumps([str_at(entry, "name"), desired_json(desired)], sort_keys=True).encode())
    return digest.hexdigest()


def _desired_in(shown: Json, device: JsonObject) -> Desired | None:
    value = dig(shown, "value")
    if not isinstance(value, str):
        return None
    metadata = str_map_at(shown, "metadata")
    # An object that never went through `stamp_desired` (another API server's) counts its spec's changes instead.
    ver = vector_of(metadata["ver"]) if "ver" in metadata else Vector(cloud=max(1, generation_of(device)))
    return Desired(
        value=value,
        ver=ver,
        hlc=hlc_of(metadata["hlc"]) if "hlc" in metadata else Hlc(ms_of(metadata.get("timestamp", "")) or 0, 0),
        side=side_of(metadata.get("side", "")),
        origin=metadata.get("origin", ""),
        synced=metadata.get("clock", "synced") == "synced",
        expires_ms=ms_of(metadata.get("expires", "")),
        on_reconnect=on_reconnect_of(metadata.get("onReconnect", "")),
        fallback=metadata.get("fallback") == "true",
        waiting=metadata.get("conflict") == "waiting",
        write=vector_of(metadata["write"]) if "write" in metadata else None,
        rivals=_rivals_in(metadata.get("rivals", "")),
    )


def _rivals_in(text: str) -> tuple[Desired, ...]:
    if not text:
        return ()
    try:
        held: Json = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    holder = desired_from({"rivals": held})
    return holder.rivals if holder is not None else ()


SERVERS_METADATA: Final = frozenset(
    {"ver", "hlc", "side", "origin", "clock", "timestamp", "fallback"}
    | {"conflict", "conflictValue", "conflictHlc", "conflictOrigin", "conflictSide", "conflictRemoved"}
    | {"write", "rivals"}
)
"""Metadata of a desired value that the API server writes."""
_OURS: Final = SERVERS_METADATA | {"expires", "onReconnect", "ifMatch", "take"}


# --- writing ----------------------------------------------------------------------------------------------


def desired_shown(desired: Desired, others: dict[str, str]) -> JsonObject:
    """`desired` as the API has it; `others` are a user's own metadata, kept."""
    metadata = {name: text for name, text in others.items() if name not in _OURS}
    metadata |= {
        "timestamp": str(desired.hlc.wall_ms),
        "ver": str(desired.ver),
        "hlc": str(desired.hlc),
        "side": desired.side,
        "origin": desired.origin,
    }
    if not desired.synced:
        metadata["clock"] = "unsynced"
    if desired.expires_ms is not None:
        metadata["expires"] = time_text(desired.expires_ms)
    if desired.on_reconnect:
        metadata["onReconnect"] = desired.on_reconnect
    if desired.fallback:
        metadata["fallback"] = "true"
    if desired.write is not None:
        metadata["write"] = str(desired.write)
    if desired.rivals:
        rivals: list[Json] = [desired_json(rival) for rival in desired.rivals]
        metadata["rivals"] = json.dumps(rivals, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if desired.conflict:
        metadata |= {
            "conflict": "waiting" if desired.waiting else "settled",
            "conflictValue": desired.conflict.value,
            "conflictHlc": str(desired.conflict.hlc),
            "conflictOrigin": desired.conflict.origin,
            "conflictSide": desired.conflict.side,
        }
        metadata |= {"conflictRemoved": "true"} if desired.conflict.removed else {}
    return {"value": desired.value, "metadata": {**metadata}}


def with_desired(device: JsonObject, prop: str, desired: Desired) -> JsonObject:
    """The Device with this wanted of `prop`; the property is added where the instance does not name it yet. With a
    tombstone, nothing is wanted."""
    device = clone(device)
    tombstones = _removed_in(device)
    entry = property_of(device, prop)
    if desired.removed:
        if entry is not None:
            entry.pop("desired", None)
        _annotate(device, REMOVED, {**tombstones, prop: desired_json(desired)})
        return device
    if entry is None:
        entry: JsonObject | None = {"name": prop}
        spec = ensure_map(device, "spec")
        spec["properties"] = [*list_at(spec, "properties"), entry]
    entry["desired"] = desired_shown(desired, str_map_at(entry, "desired", "metadata"))
    if prop in tombstones:
        _annotate(device, REMOVED, {name: held for name, held in tombstones.items() if name != prop})
    return device


def with_twins(device: JsonObject, wanted: Mapping[str, Desired]) -> JsonObject:
    """The Device with what a gateway holds of what is wanted, by property, where the Device does not know better."""
    for prop, desired in wanted.items():
        held = record_of(device, prop)
        if held is None or (held != desired and not held.ver.covers(desired.ver)) or _is_newer(desired.ver, held.ver):
            device = with_desired(device, prop, desired)
    return _with_revision(device)


def _annotate(device: JsonObject, name: str, held: JsonObject) -> None:
    annotations = ensure_map(device, "metadata", "annotations")
    if held:
        annotations[name] = json.dumps(held, sort_keys=True, separators=(",", ":"))
    else:
        annotations.pop(name, None)


def with_tombstone_seen(device: JsonObject, prop: str, ver: Vector) -> JsonObject:
    """The Device after its gateway has seen that nothing is wanted of `prop` since version `ver`."""
    held = tombstones_of(device).get(prop)
    if held is None or not ver.covers(held.ver):
        return device
    device = clone(device)
    _annotate(device, REMOVED, {**_removed_in(device), prop: {"seen": str(ver)}})
    return device


def merged_desired(device: JsonObject, report: TwinDesired) -> JsonObject:
    """The Device after a write made on the edge has been merged in: the transform of a `twin_desired` report."""
    mine = record_of(device, report.prop)
    merged = merge(mine, report.desired, report.policy)
    assert merged is not None, "one of them is there"
    return device if merged == mine else with_desired(device, report.prop, merged)


# --- numbering --------------------------------------------------------------------------------------------


def stamp_desired(
    old: JsonObject | None, new: JsonObject, *, now_ms: int, origin: str, life: str = "", merging: bool = False
) -> JsonObject:
    """Number the desired values that a write of a Device's spec changes: what the API server does before it stores.

    A value that the writer left alone keeps its version even where the writer dropped our metadata (`kubectl
    replace`). A changed one gets the next version, time and author, and so does the same value with other metadata
    of the user's own (`requested: <time>`): that is how one asks for it again. What the write removes becomes a
    tombstone. Values of one write are numbered in the order of the properties, and carried out in it. `life` is the
    cloud's, "" until it is restored from a backup. With `merging` versions that cover the old ones were decided
    already (by the hub, which merged what a gateway holds), and stand: also the same version, where a policy that was
    changed settles it otherwise. Returns `new` itself when nothing is to be
    done.

    Raises `ConflictError` where `ifMatch` names another version than what is there, or the annotation `IF_MATCH`
    another revision of it all, `InvalidError` for metadata that
    mean nothing.
    """
    _check_revision(old, new)
    write = _Write(old=old, now_ms=now_ms, origin=origin, life=life, merging=merging)
    stamped, last = new, HLC_ZERO
    for entry in maps_at(new, "spec", "properties"):
        prop = str_at(entry, "name")
        if not isinstance(dig(entry, "desired", "value"), str):
            _refuse_orders(entry)
            continue
        wanted = write.numbered(entry, after=last)
        last = max(last, wanted.hlc if wanted.hlc.wall_ms >= now_ms else HLC_ZERO)
        shown = desired_shown(wanted, str_map_at(entry, "desired", "metadata"))
        if shown != dig(entry, "desired"):
            if stamped is new:
                stamped = clone(new)
            target = property_of(stamped, prop)
            assert target is not None, "a clone has the same properties"
            target["desired"] = shown
    return _with_revision(write.buried(stamped))


def _check_revision(old: JsonObject | None, new: JsonObject) -> None:
    expected = annotations_of(new).get(IF_MATCH, "")
    now = desired_revision(old) if old is not None else ""
    if expected and expected.strip('"') != now:
        there = f"is at revision {now}" if now else "is nothing"
        raise ConflictError(f"what is wanted of the device {there}; the write expects {expected}")


def _with_revision(device: JsonObject) -> JsonObject:
    """The Device with the revision of what is wanted, where anything is or was."""
    annotations = annotations_of(device)
    wants = any(isinstance(dig(entry, "desired", "value"), str) for entry in maps_at(device, "spec", "properties"))
    revision = desired_revision(device) if wants or REVISION in annotations or SEEN in annotations else ""
    if IF_MATCH not in annotations and annotations.get(REVISION, "") == revision:
        return device
    device = clone(device)
    kept = ensure_map(device, "metadata", "annotations")
    kept.pop(IF_MATCH, None)
    kept.pop(REVISION, None)
    if revision:
        kept[REVISION] = revision
    return device


def _refuse_orders(entry: JsonObject) -> None:
    if "ifMatch" in str_map_at(entry, "desired", "metadata") or "take" in str_map_at(entry, "desired", "metadata"):
        raise InvalidError(f"spec.properties[{str_at(entry, 'name')}].desired.value: required beside its metadata")


class _Write:
    """One write of a Device."""

    __slots__ = ("before", "floor", "life", "merging", "now_ms", "old", "origin")

    def __init__(self, *, old: JsonObject | None, now_ms: int, origin: str, life: str, merging: bool) -> None:
        self.old = old
        self.merging = merging
        self.now_ms = now_ms
        self.origin = origin
        self.life = life
        names = [str_at(entry, "name") for entry in maps_at(old, "spec", "properties")] if old is not None else []
        found = {name: desired_of(old, name) for name in names} if old is not None else {}
        self.before = tombstones_of(old) | {name: desired for name, desired in found.items() if desired is not None}
        self.floor = vector_of(annotations_of(old).get(SEEN, "")) if old is not None else UNSEEN

    def numbered(self, entry: JsonObject, *, after: Hlc) -> Desired:
        prop, metadata = str_at(entry, "name"), str_map_at(entry, "desired", "metadata")
        given = _desired_in(dig(entry, "desired"), entry)
        assert given is not None, "the caller looked"
        before = self.before.get(prop)
        _check_orders(prop, metadata, before)
        if "take" in metadata:
            return self._next(before, replace(given, value=_taken(prop, metadata["take"], before)), after)
        if self.merging and "ver" in metadata and (before is None or given.ver.covers(before.ver)):
            return given
        if before is not None:
            asked_again = _own_of(entry) != _own_of(self.old, prop)
            same_terms = (given.expires_ms or before.expires_ms, given.on_reconnect or before.on_reconnect) == (
                before.expires_ms,
                before.on_reconnect,
            )
            if given.value == before.value and not before.removed and same_terms and not asked_again:
                return before
        return self._next(before, given, after)

    def _next(self, before: Desired | None, given: Desired, after: Hlc) -> Desired:
        same_expiry = before is not None and given.expires_ms == before.expires_ms and given.value != before.value
        return Desired(
            value=given.value,
            ver=self._version(before),
            hlc=next_hlc(max(before.hlc if before else HLC_ZERO, after), self.now_ms),
            side="cloud",
            origin=self.origin,
            # The expiry belongs to the value it came with: one that `kubectl edit` carried along has no say here,
            # unless it lies ahead (then it was surely meant, or does no harm).
            expires_ms=None if same_expiry and (given.expires_ms or 0) <= self.now_ms else given.expires_ms,
            on_reconnect=given.on_reconnect,
        )

    def _version(self, before: Desired | None) -> Vector:
        if before is not None:
            return before.ver.advanced("cloud", life=self.life)
        # An object that another API server wrote before counts its spec's changes.
        generation = generation_of(self.old) if self.old is not None else 0
        return self.floor.advanced("cloud", life=self.life, above=generation)

    # --- tombstones ---

    def buried(self, stamped: JsonObject) -> JsonObject:
        """The Device with the tombstones that belong to it."""
        marks, told = _removed_in(stamped), tombstones_of(stamped)
        wanted = {
            str_at(entry, "name")
            for entry in maps_at(stamped, "spec", "properties")
            if isinstance(dig(entry, "desired", "value"), str)
        }
        after: dict[str, Desired] = {}
        floor = self.floor
        for prop in sorted(self.before.keys() | told.keys()):
            if prop in wanted:
                continue
            before, decided = self.before.get(prop), told.get(prop) if self.merging else None
            if decided is not None and (before is None or decided.ver.covers(before.ver)):
                after[prop] = decided
            elif before is None:
                continue  # what nobody wanted needs no tombstone
            elif not before.removed:
                after[prop] = self._tombstone(before)
            elif self.merging and vector_of(str_at(marks, prop, "seen")).covers(before.ver):
                floor = floor.joined(before.ver)
            else:
                after[prop] = before
        for prop in [*after][TOMBSTONES_MAX:]:
            floor = floor.joined(after.pop(prop).ver)
        return _with_tombstones(stamped, after, floor)

    def _tombstone(self, before: Desired | None) -> Desired:
        return Desired(
            value="",
            ver=self._version(before),
            hlc=next_hlc(before.hlc if before else HLC_ZERO, self.now_ms),
            side="cloud",
            origin=self.origin,
            removed=True,
        )


def _is_newer(ver: Vector, before: Vector) -> bool:
    return ver != before and ver.covers(before)


def _with_tombstones(device: JsonObject, tombstones: dict[str, Desired], floor: Vector) -> JsonObject:
    held: JsonObject = {name: desired_json(desired) for name, desired in tombstones.items()}
    text = "" if floor == UNSEEN else str(floor)
    annotations = annotations_of(device)
    if _removed_in(device) == held and annotations.get(SEEN, "") == text and (REMOVED in annotations) == bool(held):
        return device
    device = clone(device)
    _annotate(device, REMOVED, held)
    metadata = ensure_map(device, "metadata")
    kept = map_at(metadata, "annotations")
    metadata["annotations"] = {name: value for name, value in kept.items() if name != SEEN} | (
        {SEEN: text} if text else {}
    )
    return device


def _own_of(holder: JsonObject | None, prop: str = "") -> dict[str, str]:
    """A user's own metadata of a desired value: in an entry, or in a Device's entry of that name."""
    entry = property_of(holder, prop) if holder is not None and prop else holder
    metadata = str_map_at(entry, "desired", "metadata")
    return {name: text for name, text in metadata.items() if name not in _OURS}


def _check_orders(prop: str, metadata: dict[str, str], before: Desired | None) -> None:
    here = f"spec.properties[{prop}].desired.metadata"
    if "ifMatch" in metadata:
        check_version(prop, metadata["ifMatch"], before)
    text = metadata.get("onReconnect", "")
    if text and on_reconnect_of(text) is None:
        raise InvalidError(f"{here}.onReconnect: {text!r} is not one of {', '.join(ON_RECONNECT)}")
    if metadata.get("expires") and ms_of(metadata["expires"]) is None:
        raise InvalidError(f"{here}.expires: {metadata['expires']!r} is not a time such as 2026-01-31T12:00:00Z")


def check_version(prop: str, expected: str, now: Desired | None) -> None:
    """Raises `ConflictError` that says what is there, where that is another version than the expected one (`0.0`:
    nothing was ever wanted)."""
    ver = now.ver if now is not None else UNSEEN
    if expected.strip('"') == str(ver):
        return
    if now is None:
        there = "nothing was ever wanted of it"
    elif now.removed:
        there = f"nothing is wanted of it since version {ver}, by {now.origin}"
    else:
        there = f"{now.value!r} is wanted of it, version {ver}, by {now.origin}"
    raise ConflictError(f"{prop}: {there}; the write expects version {expected}")


def _taken(prop: str, take: str, before: Desired | None) -> str:
    """The value that `take` names. Raises `InvalidError`."""
    here = f"spec.properties[{prop}].desired.metadata.take"
    try:
        return taken_value(take, before)
    except InvalidError as error:
        raise InvalidError(f"{here}: {error}") from error


def taken_value(take: str, before: Desired | None) -> str:
    """Of a conflict, the value that was written on one side (`cloud`, `edge`), or the one that is wanted now
    (`desired`): to be wanted anew. Raises `InvalidError` where there is none."""
    if before is None or before.removed:
        raise InvalidError("nothing is wanted of the property now")
    lost = before.conflict
    match take:
        case "desired":
            return before.value
        case "cloud" | "edge" if lost is None:
            raise InvalidError("there is no conflict to settle")
        case "cloud" | "edge" if take == before.side:
            return before.value
        case "cloud" | "edge" if lost is not None and take == lost.side and not lost.removed:
            return lost.value
        case "cloud" | "edge":
            raise InvalidError(f"the {take} has no value in this conflict")
        case _:
            raise InvalidError(f"{take!r} is not one of cloud, edge, desired")
