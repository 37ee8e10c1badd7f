"""Makes, changes and deletes the objects of each EdgeApplication, and says which of them are available.

What it made is known by its owner reference, and what it last wanted of it by an annotation; a crash between two
writes leaves the rest to the next pass. An object of a wanted name that somebody else made is left alone, and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudcore.controllers.edgeapplication.plan import Fault, Wanted, plan
from cloudcore.controllers.ownership import controller_reference, with_metadata
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import BY_OWNER, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import AlreadyExistsError, CallerError, InvalidError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.edge_applications import AVAILABLE, EDGE_APPLICATIONS, LAST_APPLIED, PROCESSING
from skerry.objects.json import Json, JsonObject, int_at, map_at, read_json, str_at
from skerry.objects.meta import Key, annotations_of, being_deleted, controller_of, name_of, namespace_of, uid_of
from skerry.objects.patches import difference, merge_patch
from skerry.objects.scheme import Kind, split_api_version

_COUNTED: Final[Mapping[str, tuple[str, str]]] = {
    "Deployment": ("spec.replicas", "availableReplicas"),
    "StatefulSet": ("spec.replicas", "readyReplicas"),
    "ReplicaSet": ("spec.replicas", "availableReplicas"),
    "ReplicationController": ("spec.replicas", "availableReplicas"),
    "DaemonSet": ("status.desiredNumberScheduled", "numberAvailable"),
}
"""Kinds that are available when the second, of their status, has reached the first."""


class _Outcome(Frozen):
    wanted: Wanted
    kind: Kind | None
    obj: JsonObject | None
    """As it is now; None where it is not."""
    why: str = ""
    """Why it is not as it is to be."""


class EdgeApplicationController:
    """See the module."""

    name = "edgeapplication-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._apps = tools.kind(EDGE_APPLICATIONS)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._keys)]

    def _keys(self, change: Seen) -> Iterable[Key]:
        if change.key.resource == EDGE_APPLICATIONS:
            yield change.key
            return
        for side in (change.before, change.after):
            owner = None if side is None else controller_of(side)
            if owner is not None and owner.kind == self._apps.kind:
                yield Key(EDGE_APPLICATIONS, change.key.namespace, owner.name)

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        app = self._tools.cache.obj(stored)
        if being_deleted(app):
            return None  # its objects go with it: they are owned
        wanted, faults = plan(app)
        outcomes = [await self._bring_about(app, each) for each in wanted]
        kept = {(each.kind.resource, name_of(each.wanted.obj)) for each in outcomes if each.kind is not None}
        if not faults:
            await self._drop_others(app, kept)
        await self._tell(key, app, _statuses(outcomes, faults))
        if faults or any(each.why for each in outcomes):
            raise UnfinishedError("; ".join([*(each.why for each in outcomes if each.why), *(f.why for f in faults)]))
        return None

    # --- objects ---

    def _kind_of(self, obj: JsonObject) -> Kind | None:
        return self._tools.scheme.named(*split_api_version(str_at(obj, "apiVersion")), str_at(obj, "kind"))

    async def _bring_about(self, app: JsonObject, wanted: Wanted) -> _Outcome:
        kind = self._kind_of(wanted.obj)
        if kind is None or not kind.namespaced or "create" not in kind.verbs:
            said = f"{str_at(wanted.obj, 'apiVersion')} {str_at(wanted.obj, 'kind')}"
            why = f"manifest {wanted.ordinal}: {said} is no kind that lives in a namespace here"
            return _Outcome(wanted=wanted, kind=None, obj=None, why=why)
        key = kind.key(namespace_of(app), name_of(wanted.obj))
        stored = self._tools.objects.read(key)
        try:
            if stored is None:
                made = await self._tools.objects.create(kind, key.namespace, _made(app, wanted.obj))
                return _Outcome(wanted=wanted, kind=kind, obj=made.obj)
            present = self._tools.cache.obj(stored)
            controller = controller_of(present)
            if controller is None or controller.uid != uid_of(app):
                why = f"{kind.kind} {key.name} is there already, and not of this application"
                return _Outcome(wanted=wanted, kind=kind, obj=None, why=why)
            return _Outcome(wanted=wanted, kind=kind, obj=await self._changed(kind, key, present, wanted.obj))
        except AlreadyExistsError:
            raise UnfinishedError(f"{kind.kind} {key.name} has come meanwhile") from None
        except NotFoundError:
            raise UnfinishedError(f"{kind.kind} {key.name} has gone meanwhile") from None
        except CallerError as error:
            return _Outcome(wanted=wanted, kind=kind, obj=None, why=f"{kind.kind} {key.name}: {error}")

    async def _changed(self, kind: Kind, key: Key, present: JsonObject, wanted: JsonObject) -> JsonObject:
        text = _text(wanted)
        if annotations_of(present).get(LAST_APPLIED) == text:
            return present

        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(present):
                return current
            merged = merge_patch(current, difference(_applied(current), wanted))
            return _noted(merged, text)

        return (await self._tools.objects.update(kind, key, transform)).obj

    async def _drop_others(self, app: JsonObject, kept: set[tuple[str, str]]) -> None:
        """What it made and does not want any more."""
        for stored in self._tools.cache.indexed(BY_OWNER, uid_of(app)):
            obj = self._tools.cache.obj(stored)
            controller = controller_of(obj)
            kind = self._kind_of(obj)
            mine = controller is not None and controller.uid == uid_of(app)
            if not mine or kind is None or being_deleted(obj) or (kind.resource, stored.key.name) in kept:
                continue
            try:
                await self._tools.objects.delete(kind, stored.key, DeleteOptions(uid=stored.uid))
            except NotFoundError:
                continue

    # --- status ---

    async def _tell(self, key: Key, app: JsonObject, told: list[Json]) -> None:
        if map_at(app, "status").get("workloadStatus", []) == told:
            return

        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(app):
                return current
            return {**current, "status": {**map_at(current, "status"), "workloadStatus": told}}

        try:
            await self._tools.objects.update(self._apps, key, transform, subresource="status")
        except NotFoundError:
            return


def _applied(obj: JsonObject) -> JsonObject:
    """What was applied last; {} where somebody wrote something else there: then nothing is known to go."""
    try:
        said = read_json(annotations_of(obj).get(LAST_APPLIED, "{}"))
    except InvalidError:
        return {}
    return said if isinstance(said, dict) else {}


def _text(obj: JsonObject) -> str:
    return json.dumps(obj, sort_keys=True, separators=(",", ":"))


def _made(app: JsonObject, wanted: JsonObject) -> JsonObject:
    owned = with_metadata(wanted, ownerReferences=[controller_reference(app)])
    return _noted(owned, _text(wanted))


def _noted(obj: JsonObject, applied: str) -> JsonObject:
    """With what it was made of."""
    annotations: JsonObject = {**annotations_of(obj), LAST_APPLIED: applied}
    return with_metadata(obj, annotations=annotations)


def _statuses(outcomes: Sequence[_Outcome], faults: Sequence[Fault]) -> list[Json]:
    told = [(each.wanted.ordinal, name_of(each.wanted.obj), _status_of(each)) for each in outcomes]
    for fault in faults:
        status: JsonObject = {
            "identifier": _identifier(fault.ordinal, fault.obj, None),
            "conditions": PROCESSING,
            "message": fault.why,
        }
        told.append((fault.ordinal, str_at(fault.obj, "metadata", "name"), status))
    return [status for _, _, status in sorted(told, key=lambda each: each[:2])]


def _status_of(outcome: _Outcome) -> JsonObject:
    wanted = outcome.wanted
    ready = outcome.obj is not None and not outcome.why and _is_available(outcome.obj)
    told: JsonObject = {
        "identifier": _identifier(wanted.ordinal, wanted.obj, outcome.kind),
        "conditions": AVAILABLE if ready else PROCESSING,
    }
    return told | {"message": outcome.why} if outcome.why else told


def _identifier(ordinal: int, obj: JsonObject, kind: Kind | None) -> JsonObject:
    group, version = split_api_version(str_at(obj, "apiVersion"))
    return {
        "ordinal": ordinal,
        "group": group,
        "version": version,
        "kind": str_at(obj, "kind"),
        "resource": "" if kind is None else kind.plural,
        "namespace": str_at(obj, "metadata", "namespace"),
        "name": str_at(obj, "metadata", "name"),
    }


def _is_available(obj: JsonObject) -> bool:
    kind = str_at(obj, "kind")
    if kind == "Pod":
        return str_at(obj, "status", "phase") in ("Running", "Succeeded")
    counted = _COUNTED.get(kind)
    if counted is None:
        return True
    place, field = counted
    needed = int_at(obj, *place.split("."), default=1 if place.startswith("spec") else 0)
    current = int_at(obj, "status", "observedGeneration") >= int_at(obj, "metadata", "generation")
    return current and int_at(obj, "status", field) >= needed
