"""What a CustomResourceDefinition's status should say. Pure.

Source: apiextensions-apiserver `pkg/controller/{status,establish,finalizer}`; the reasons and messages are theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.registry.custom import storage_version
from skerry.frozen import Frozen
from skerry.objects.conditions import Condition, is_true, with_condition
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import being_deleted, name_of
from skerry.objects.scheme import Kind

ESTABLISHED: Final = "Established"
_NAMES: Final = ("plural", "singular", "shortNames", "kind", "listKind")
"""In the order in which they are looked at: the last conflict is the one that is told."""


class Names(Frozen):
    """Words that a definition wants or has: kinds and resource names are two separate lists."""

    resources: frozenset[str]
    kinds: frozenset[str]

    @classmethod
    def of(cls, names: JsonObject) -> Names:
        words = (str_at(names, "plural"), str_at(names, "singular"), *strs_at(names, "shortNames"))
        kinds = (str_at(names, "kind"), str_at(names, "listKind"))
        return cls(resources=frozenset(filter(None, words)), kinds=frozenset(filter(None, kinds)))


def names_taken(crd: JsonObject, others: Iterable[JsonObject], builtin: Iterable[Kind]) -> Names:
    """What other definitions and built-in kinds of the same group have."""
    group = str_at(crd, "spec", "group")
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if str_at(other, "spec", "group") == group and name_of(other) != name_of(crd):
            accepted = Names.of(map_at(other, "status", "acceptedNames"))
            resources |= accepted.resources
            kinds |= accepted.kinds
    for kind in builtin:
        if kind.group == group and not kind.custom:
            resources |= {kind.plural, kind.singular, *kind.short_names}
            kinds |= {kind.kind, kind.list_kind}
    return Names(resources=frozenset(resources), kinds=frozenset(kinds))


def status_of(crd: JsonObject, taken: Names, *, now_ms: int) -> JsonObject:
    """The status of a definition that is not being deleted."""
    status = map_at(crd, "status")
    accepted, conflicts = _accepted(map_at(crd, "spec", "names"), map_at(status, "acceptedNames"), taken)
    if conflicts:
        reason, message = conflicts[-1]
        naming = Condition(type="NamesAccepted", status="False", reason=reason, message=message)
    else:
        naming = Condition(type="NamesAccepted", status="True", reason="NoConflicts", message="no conflicts found")
    conditions = with_condition(maps_at(status, "conditions"), naming, now_ms=now_ms)
    if not is_true(crd, ESTABLISHED):
        # Once established, a definition stays so: its objects are there.
        established = _establishing(accepted=not conflicts)
        conditions = with_condition(_maps(conditions), established, now_ms=now_ms)
    stored, now = strs_at(status, "storedVersions"), storage_version(crd)
    versions: list[Json] = [*stored] if now in stored else [*stored, now]
    return {**status, "acceptedNames": accepted, "conditions": conditions, "storedVersions": versions}


def terminating(crd: JsonObject, *, left: int, now_ms: int) -> JsonObject:
    """The status of a definition whose objects are being deleted."""
    condition = (
        Condition(
            type="Terminating",
            status="True",
            reason="InstanceDeletionInProgress",
            message="CustomResource deletion is in progress",
        )
        if left
        else Condition(
            type="Terminating",
            status="False",
            reason="InstanceDeletionCompleted",
            message="removed all instances",
        )
    )
    status = map_at(crd, "status")
    return {**status, "conditions": with_condition(maps_at(status, "conditions"), condition, now_ms=now_ms)}


def is_served(crd: JsonObject) -> bool:
    """Are the kinds of this definition served? Also while it is being deleted: finalizers must be removable."""
    return is_true(crd, ESTABLISHED)


def wants_cleanup(crd: JsonObject, finalizer: str) -> bool:
    """Is the definition being deleted, and waiting for its objects to go?"""
    return being_deleted(crd) and finalizer in strs_at(crd, "metadata", "finalizers")


def _establishing(*, accepted: bool) -> Condition:
    if accepted:
        return Condition(
            type=ESTABLISHED,
            status="True",
            reason="InitialNamesAccepted",
            message="the initial names have been accepted",
        )
    return Condition(type=ESTABLISHED, status="False", reason="NotAccepted", message="not all names are accepted")


def _accepted(wanted: JsonObject, before: JsonObject, taken: Names) -> tuple[JsonObject, Sequence[tuple[str, str]]]:
    """The names that the definition gets, and the conflicts: (reason, message)."""
    accepted: JsonObject = dict(before)
    conflicts: list[tuple[str, str]] = []
    for name in _NAMES:
        words = strs_at(wanted, name) or [word for word in [str_at(wanted, name)] if word]
        used = taken.kinds if name in ("kind", "listKind") else taken.resources
        clashing = [word for word in words if word in used]
        if clashing:
            reason = f"{name[:1].upper()}{name[1:]}Conflict"
            conflicts.append((reason, f'"{clashing[0]}" is already in use'))
        elif name in wanted:
            accepted[name] = wanted[name]
        else:
            accepted.pop(name, None)
    if "categories" in wanted:
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    accepted.setdefault("plural", "")
    accepted.setdefault("kind", "")
    return accepted, conflicts


def _maps(items: list[Json]) -> list[JsonObject]:
    return [item for item in items if isinstance(item, dict)]
