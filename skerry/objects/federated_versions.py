"""Versions of a federated object: its template and its overrides, as they were. Pure.

How many replicas a member has is no version: an override of `/spec/replicas` counts as it is now, whatever version
the member has, as a preference divides replicas again and again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, clone, encode_object, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of, uid_of

NOT_SHOWN: Final = "not shown"
REPLICAS: Final = "/spec/replicas"
_NAME_LENGTH_MAX: Final = 210
_DIGEST_LENGTH: Final = 32
"""So many that nobody finds two contents of one name; what counts is the content all the same."""


class Version(Frozen):
    """A FederatedRevision, parsed."""

    name: str
    number: int
    data: JsonObject
    created: str
    obj: JsonObject
    lost: bool = False
    """Its content is not there, or is not known to who asks: nobody can go back to it."""

    @property
    def begun(self) -> tuple[str, ...]:
        return tuple(strs_at(map_at(self.obj, "status"), "begun"))

    @property
    def approved(self) -> frozenset[str]:
        return frozenset(strs_at(map_at(self.obj, "spec"), "approved"))

    @property
    def aborted(self) -> bool:
        return map_at(self.obj, "spec").get("aborted") is True

    @property
    def outcome(self) -> str:
        """`Complete`, `RolledBack`, or "" while it is neither."""
        return str_at(self.obj, "status", "outcome")

    @property
    def stopped(self) -> bool:
        """Nobody else gets it: it was aborted, or taken back from all, before it was everywhere."""
        return self.outcome != "Complete" and (self.aborted or self.outcome == "RolledBack")

    @property
    def proven(self) -> bool:
        """It was rolled out to the end, in this life or before."""
        return bool(str_at(self.obj, "status", "completedAt"))


def version_of(obj: JsonObject, *, content: JsonObject | None = None) -> Version:
    """`content`: of one that is sealed, where it is known."""
    clear = "data" in map_at(obj, "spec")
    return Version(
        name=name_of(obj),
        number=int_at(obj, "spec", "revision"),
        data=map_at(obj, "spec", "data") if clear else content or {},
        lost=not clear and content is None,
        created=str_at(obj, "metadata", "creationTimestamp"),
        obj=obj,
    )


def data_of(federated: JsonObject) -> JsonObject:
    """What of it makes a version."""
    overrides: list[Json] = []
    for entry in maps_at(federated, "spec", "overrides"):
        steps = [step for step in maps_at(entry, "clusterOverrides") if str_at(step, "path") != REPLICAS]
        if steps:
            overrides.append({"clusterName": str_at(entry, "clusterName"), "clusterOverrides": [*steps]})
    overrides.sort(key=lambda entry: str_at(entry, "clusterName") if isinstance(entry, dict) else "")
    return {"template": map_at(federated, "spec", "template"), "overrides": overrides}


def version_name(kind: str, federated: JsonObject, data: JsonObject) -> str:
    """The same for the same content, whatever the order of its fields."""
    text = _sorted(data)
    digest = hashlib.sha256(encode_object({"uid": uid_of(federated), "data": text})).hexdigest()[:_DIGEST_LENGTH]
    return f"{f'{kind.lower()}-{name_of(federated)}'[:_NAME_LENGTH_MAX]}-{digest}"


def content_name(kind: str, federated: JsonObject, number: int) -> str:
    """Of a version whose content is secret: nothing in it follows from that."""
    digest = hashlib.sha256(encode_object({"uid": uid_of(federated), "revision": number})).hexdigest()
    return f"{f'{kind.lower()}-{name_of(federated)}'[:_NAME_LENGTH_MAX]}-{digest[:_DIGEST_LENGTH]}"


def _sorted(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def at_version(federated: JsonObject, data: JsonObject) -> JsonObject:
    """The object as it was, but for what members have of replicas."""
    by_name = {
        str_at(each, "clusterName"): [*maps_at(each, "clusterOverrides")] for each in maps_at(data, "overrides")
    }
    for name, step in live_replicas(federated):
        by_name.setdefault(name, []).append(step)
    overrides: list[Json] = [
        {"clusterName": name, "clusterOverrides": [*steps]} for name, steps in sorted(by_name.items())
    ]
    spec: JsonObject = {**map_at(federated, "spec"), "template": map_at(data, "template"), "overrides": overrides}
    return {**federated, "spec": spec}


def live_replicas(federated: JsonObject) -> Iterable[tuple[str, JsonObject]]:
    """By member: the step that says how many it has."""
    for entry in maps_at(federated, "spec", "overrides"):
        for step in maps_at(entry, "clusterOverrides"):
            if str_at(step, "path") == REPLICAS:
                yield str_at(entry, "clusterName"), step


def with_replicas(manifest: JsonObject, step: JsonObject | None) -> JsonObject:
    """What a member has, with the replicas that it is to have now."""
    if step is None or "value" not in step:
        return manifest
    if map_at(manifest, "spec").get("replicas") == step["value"]:
        return manifest
    made = clone(manifest)
    map_at(made, "spec")["replicas"] = step["value"]
    return made


def next_number(versions: Iterable[Version]) -> int:
    return max((each.number for each in versions), default=0) + 1


def without_secrets(data: JsonObject) -> JsonObject:
    """Of a federated Secret, as it may be shown: with the names of what is in it alone."""
    template = {**map_at(data, "template")}
    for field in ("data", "stringData"):
        if field in template:
            template[field] = dict.fromkeys(map_at(template, field), NOT_SHOWN)
    overrides: list[Json] = []
    for entry in maps_at(data, "overrides"):
        steps: list[Json] = [
            {**step, "value": NOT_SHOWN}
            if "value" in step and not str_at(step, "path").startswith("/metadata")
            else step
            for step in maps_at(entry, "clusterOverrides")
        ]
        overrides.append({**entry, "clusterOverrides": steps})
    return {**data, "template": template, "overrides": overrides}


def same_data(one: JsonObject, other: JsonObject) -> bool:
    """They are the same version, whatever the order of fields. (1, 1.0 and true are not the same.)"""
    mine, theirs = _content(one), _content(other)
    return mine == theirs and encode_object({"of": _sorted(mine)}) == encode_object({"of": _sorted(theirs)})


def _content(data: JsonObject) -> JsonObject:
    overrides: list[Json] = [*maps_at(data, "overrides")]
    return {"template": map_at(data, "template"), "overrides": overrides}


def base_of(versions: Iterable[Version], target: str) -> Version | None:
    """What members have until their wave: the newest that was rolled out to the end, other than the target."""
    proven = [each for each in versions if each.proven and not each.lost and each.name != target]
    return max(proven, key=lambda each: each.number, default=None)


def surplus(versions: Iterable[Version], keep: Iterable[str], limit: int) -> list[Version]:
    """Of those that are not to be kept, the oldest beyond the limit."""
    kept = frozenset(keep)
    old = sorted((each for each in versions if each.name not in kept), key=lambda each: each.number)
    return old[: max(0, len(old) - limit)]
