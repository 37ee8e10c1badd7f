"""Devices and DeviceModels as files: what of an object is its author's, what applying a file makes of it, and how two
of them differ, property by property.

Lists of properties and methods are merged by name here, as everything else is by field. Kubernetes merges such lists
whole, and a file that says nothing of a setpoint would take away what somebody set. Pure; keeps no data.

Source of the three-way rule: the Kubernetes documentation's page on declarative object configuration ("How apply
calculates differences and merges changes").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from skerry.frozen import Frozen
from skerry.objects.device_desired import IF_MATCH, REMOVED, REVISION, SEEN, SERVERS_METADATA, ms_of
from skerry.objects.device_owner import OWNER
from skerry.objects.holds import HOLD_BY, HOLD_SINCE
from skerry.objects.json import Json, JsonObject, clone, map_at, maps_at, str_at, str_map_at

GROUP: Final = "devices.kubeedge.io"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
NAMED_LISTS: Final = frozenset({"properties", "methods"})
"""Fields of a spec whose entries are told apart by their name."""
NUDGE: Final = "requested"
"""Metadata of a desired value that says no more than when it was asked for again."""

_SERVERS_ANNOTATIONS: Final = frozenset({REMOVED, SEEN, REVISION, IF_MATCH, OWNER, HOLD_BY, HOLD_SINCE, LAST_APPLIED})
_AUTHORS_METADATA: Final = ("name", "namespace", "labels", "annotations", "finalizers")
_TERMS: Final = ("expires", "reason", "onReconnect")
"""Metadata that belong to the value with which they were written."""


# --- what is the author's ---------------------------------------------------------------------------------


def bare(obj: JsonObject) -> JsonObject:
    """The object as its author would write it: no status, nothing that the server wrote. Applied again, it changes
    nothing; applied elsewhere, it makes the same device."""
    metadata: JsonObject = {
        name: value for name, value in map_at(obj, "metadata").items() if name in _AUTHORS_METADATA and value
    }
    if "annotations" in metadata:
        kept = {
            name: text
            for name, text in str_map_at(metadata, "annotations").items()
            if name not in _SERVERS_ANNOTATIONS
        }
        metadata = {name: value for name, value in metadata.items() if name != "annotations"}
        metadata |= {"annotations": {**kept}} if kept else {}
    out: JsonObject = {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}
    out |= {name: clone_json(value) for name, value in obj.items() if name not in {*out, "status"}}
    for entry in maps_at(out, "spec", "properties"):
        desired = entry.get("desired")
        if isinstance(desired, dict) and str_at(desired, "metadata", "fallback") == "true":
            del entry["desired"]  # nobody's wish: the gateway fell back to it
        elif isinstance(desired, dict):
            entry["desired"] = bare_desired(desired)
    return out


def bare_desired(desired: JsonObject) -> JsonObject:
    """The value, and what its writer said beside it."""
    said = {
        name: text
        for name, text in str_map_at(desired, "metadata").items()
        if name not in SERVERS_METADATA and name != NUDGE
    }
    return {"value": desired.get("value"), **({"metadata": {**said}} if said else {})}


def clone_json(value: Json) -> Json:
    """A copy of any JSON value."""
    return clone({"value": value})["value"]


# --- applying ---------------------------------------------------------------------------------------------


def applied(current: JsonObject, manifest: JsonObject, last: JsonObject) -> JsonObject:
    """`current` as the manifest has it. What the manifest before (`last`) said and this one does not is removed; what
    neither names stays, values that somebody wanted of the device among it. The status is never touched."""
    own = {name: value for name, value in manifest.items() if name not in ("status", "apiVersion", "kind")}
    before = {name: value for name, value in last.items() if name not in ("status", "apiVersion", "kind")}
    return _merged(current, own, before)


def _merged(current: JsonObject, wanted: JsonObject, last: JsonObject) -> JsonObject:
    out = {name: clone_json(value) for name, value in current.items() if name in wanted or name not in last}
    for name, value in wanted.items():
        there, before = current.get(name), last.get(name)
        if name == "desired" and isinstance(value, dict):
            out[name] = _desired(_map(there), value, _map(before))
        elif isinstance(value, dict):
            out[name] = _merged(_map(there), value, _map(before))
        elif name in NAMED_LISTS and isinstance(value, list):
            out[name] = _named(_list(there), value, _list(before))
        else:
            out[name] = clone_json(value)
    return out


def _desired(current: JsonObject, wanted: JsonObject, last: JsonObject) -> JsonObject:
    """Another value comes with its own terms, and without those of the one before."""
    merged = _merged(current, wanted, last)
    there, asked = str_at(current, "metadata", "expires"), str_at(merged, "metadata", "expires")
    if asked and ms_of(asked) is not None and ms_of(asked) == ms_of(there):
        map_at(merged, "metadata")["expires"] = there  # the same time in the server's words
    if current.get("value") == wanted.get("value"):
        return merged
    given = map_at(wanted, "metadata")
    kept = {name: text for name, text in map_at(merged, "metadata").items() if name in given or name not in _TERMS}
    return {**merged, "metadata": kept} if kept else {"value": merged.get("value")}


def _named(current: list[Json], wanted: list[Json], last: list[Json]) -> list[Json]:
    """By name. The order is the manifest's and entries of others come after, unless all that it names is there in
    that order already."""
    there, before = _by_name(current), _by_name(last)
    if there is None or before is None or (asked := _by_name(wanted)) is None:
        return [clone_json(entry) for entry in wanted]
    made: dict[str, Json] = {
        name: _merged(there.get(name, {}), entry, before.get(name, {})) for name, entry in asked.items()
    }
    kept: dict[str, Json] = {
        name: clone_json(entry) for name, entry in there.items() if name not in asked and name not in before
    }
    if [name for name in there if name in made] == [*made]:
        return [value for name in there if (value := (made | kept).get(name)) is not None]
    return [*made.values(), *kept.values()]


def _by_name(entries: list[Json]) -> dict[str, JsonObject] | None:
    """None where they can't be told apart by name."""
    named = {str_at(entry, "name"): entry for entry in entries if isinstance(entry, dict) and str_at(entry, "name")}
    return named if len(named) == len(entries) else None


def _map(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


# --- differences ------------------------------------------------------------------------------------------


class FieldChange(Frozen):
    """One field that is another afterwards."""

    field: str
    """Where in the object, entries of lists by their name: `spec.properties[setpoint].desired.value`."""
    sign: Literal["+", "-", "~"]
    """It comes, goes, or is another."""
    before: Json
    after: Json
    """None where it was not there, or is not there any more."""
    prop: str = ""
    """The property that it is about; "" for the object itself."""


def changes_between(before: JsonObject, after: JsonObject) -> tuple[FieldChange, ...]:
    """What an author sees change, in the order of the fields. Either may be empty: nothing is there."""
    return tuple(_changes(bare(before) if before else {}, bare(after) if after else {}, ""))


def _changes(before: JsonObject, after: JsonObject, path: str, prop: str = "") -> Iterator[FieldChange]:
    for name in dict.fromkeys([*before, *after]):
        where = f"{path}.{name}" if path else name
        if where in ("apiVersion", "kind"):
            continue
        yield from _change(before.get(name), after.get(name), where, prop, present=(name in before, name in after))


def _change(before: Json, after: Json, where: str, prop: str, *, present: tuple[bool, bool]) -> Iterator[FieldChange]:
    maps = [value for value, there in ((before, present[0]), (after, present[1])) if there]
    if any(isinstance(value, dict) and value for value in maps) and all(isinstance(value, dict) for value in maps):
        yield from _changes(_map(before), _map(after), where, prop)
        return
    if where.rpartition(".")[2] in NAMED_LISTS and all(isinstance(value, list) for value in maps):
        old, new = _by_name(_list(before)), _by_name(_list(after))
        if old is not None and new is not None:
            yield from _entry_changes(old, new, where)
            return
    if before != after or present[0] != present[1]:
        sign: Literal["+", "-", "~"] = "~" if all(present) else "+" if present[1] else "-"
        yield FieldChange(field=where, sign=sign, before=before, after=after, prop=prop)


def _entry_changes(old: Mapping[str, JsonObject], new: Mapping[str, JsonObject], where: str) -> Iterator[FieldChange]:
    kept = [name for name in old if name in new]
    if kept != [name for name in new if name in old]:
        yield FieldChange(field=f"{where} (order)", sign="~", before=[*old], after=[*new])
    for name in dict.fromkeys([*old, *new]):
        here, prop = f"{where}[{name}]", name if where.endswith("properties") else ""
        changed = list(_changes(old.get(name, {}), new.get(name, {}), here, prop))
        # Of an entry that comes or goes the name says so, and need not be told again.
        rest = [change for change in changed if change.field != f"{here}.name"]
        if name not in old or name not in new:
            sign: Literal["+", "-", "~"] = "+" if name in new else "-"
            yield FieldChange(
                field=here,
                sign=sign,
                before=None if name in new else name,
                after=name if name in new else None,
                prop=prop,
            )
        yield from rest


def wanted_changes(before: JsonObject, after: JsonObject) -> dict[str, str | None]:
    """What is wanted afresh of the device by property, in the order in which it is carried out; None: nothing any
    more. KubeEdge's "" is nothing."""
    old, new = _wanted_in(before), _wanted_in(after)
    gone: dict[str, str | None] = {prop: None for prop in old if prop not in new}
    return {prop: value for prop, value in new.items() if old.get(prop) != value} | gone


def _wanted_in(device: JsonObject) -> dict[str, str]:
    found = {
        str_at(entry, "name"): str_at(entry, "desired", "value") for entry in maps_at(device, "spec", "properties")
    }
    return {prop: value for prop, value in found.items() if value}
