"""Keeps the ledger of every member: rows for what it is to have, tombstones for what is to go, and the status.

A federated object that is deleted is gone at once; what its members have of it is found by its rows, which become
tombstones and stay until the member says that they are carried out. A row leaves by that alone, or with its member.
Nothing is kept in memory: after a crash every federated object and every row is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudcore.federation.placement import placed, read_placement
from cloudcore.federation.planner import IN_TIME_MS, Plan, Row, Scene, plan, status_of, with_times
from cloudcore.federation.policy_lookup import chosen_by, is_undecided, policy_of
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_SOURCE, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import AlreadyExistsError, InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.federation import (
    CONFIGS,
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    POLICIES,
    TYPES,
    FederatedType,
    MemberObject,
    federated_type,
    is_ready,
    read_member_object,
    spec_of,
)
from skerry.objects.json import JsonObject, bool_at, map_at, str_at
from skerry.objects.meta import Key, Revision, being_deleted, generation_of, labels_of, name_of, uid_of
from skerry.objects.placement_policies import targets_of
from skerry.objects.times import ms_at, time_text

_AT_ONCE: Final = 32
"""Rows of one object that are written at a time: a thousand members are not written one after the other."""
_NOTHING: Final = Plan(rows={}, faults={})


class FederationController:
    """See the module."""

    name = "federation-controller"
    workers = 4

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._rows = tools.kind(MEMBER_OBJECTS)
        self._types: dict[str, FederatedType] = {}
        self._types_at = Revision(-1)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._keys)]

    def _keys(self, change: Seen) -> Iterable[Key]:
        resource = change.key.resource
        if resource == MEMBER_OBJECTS:
            source = map_at(change.last, "spec", "source")
            yield Key(str_at(source, "resource"), str_at(source, "namespace"), str_at(source, "name"))
        elif resource == MEMBERS:
            if _matters(change):
                yield from self._all()
        elif resource in (TYPES, CONFIGS):
            yield from self._all()
            if resource == TYPES:
                yield from self._sources()
        elif resource == POLICIES:
            yield from self._targets(change)
        elif (of := self._type(resource)) is not None:
            yield change.key
            if of.of_namespaces:
                yield from self._all(change.key.namespace)

    def _type(self, resource: str) -> FederatedType | None:
        changed = self._tools.cache.changed(TYPES)
        if changed != self._types_at:
            self._types_at = changed
            stored = self._tools.cache.select(TYPES, namespace=NAMESPACE)
            found = [federated_type(self._tools.cache.obj(each)) for each in stored]
            self._types = {each.resource: each for each in found if each.enabled}
        return self._types.get(resource)

    def _all(self, namespace: str = "") -> Iterable[Key]:
        self._type("")
        for resource in tuple(self._types):
            for stored in self._tools.cache.select(resource, namespace=namespace):
                yield stored.key

    def _targets(self, change: Seen) -> Iterable[Key]:
        """Of a policy, before and after."""
        self._type("")
        sides = [side for side in (change.before, change.after) if side is not None]
        targets = {target for side in sides for target in targets_of(side)}
        for of in tuple(self._types.values()):
            for stored in self._tools.cache.select(of.resource, namespace=change.key.namespace):
                if any(target.means(of.kind, stored.key.name) for target in targets):
                    yield stored.key

    def _sources(self) -> Iterable[Key]:
        """Whatever has rows: what was deleted while its type was disabled is found by them alone."""
        found: set[Key] = set()
        for stored in self._tools.cache.select(MEMBER_OBJECTS):
            source = map_at(self._tools.cache.obj(stored), "spec", "source")
            key = Key(str_at(source, "resource"), str_at(source, "namespace"), str_at(source, "name"))
            if key.resource in self._types and key not in found:
                found.add(key)
                yield key

    async def reconcile(self, key: Key) -> float | None:
        of = self._type(key.resource)
        if of is None:
            return None
        stored = self._tools.cache.read(key)
        federated = None if stored is None else self._tools.cache.obj(stored)
        if federated is not None and being_deleted(federated):
            federated = None
        members = self._members()
        found = _NOTHING
        if federated is not None:
            policy = policy_of(self._tools.cache, key, of.kind)
            if policy is not None and is_undecided(policy):
                raise UnfinishedError(f"the PlacementPolicy {name_of(policy)} has not chosen yet")
            scene = Scene(
                members={name: labels_of(member) for name, member in members.items()},
                namespace=self._namespace(key, of, members),
                adopt=self._adopts(),
                chosen=None if policy is None else chosen_by(policy),
            )
            found = plan(key, federated, of, scene)
        await self._keep(key, found, members)
        if federated is None:
            return None
        return await self._tell(key, federated, of, found, members)

    # --- what a plan depends on ---

    def _members(self) -> dict[str, JsonObject]:
        stored = self._tools.cache.select(MEMBERS, namespace=NAMESPACE)
        members = [self._tools.cache.obj(each) for each in stored]
        return {name_of(member): member for member in members if not being_deleted(member)}

    def _namespace(self, key: Key, of: FederatedType, members: Mapping[str, JsonObject]) -> frozenset[str] | None:
        """Where the object's namespace is federated to; None where that does not matter. Raises `UnfinishedError`
        where it can't be known: members keep what they have."""
        if not of.target_namespaced or of.of_namespaces:
            return None
        namespaces = next((each for each in self._types.values() if each.of_namespaces), None)
        if namespaces is None:
            raise UnfinishedError("namespaces are not federated: their FederatedTypeConfig is not there, or disabled")
        for stored in self._tools.cache.select(namespaces.resource, namespace=key.namespace):
            federated = self._tools.cache.obj(stored)
            if stored.key.name != key.namespace or being_deleted(federated):
                continue
            try:
                return placed(read_placement(federated), {name: labels_of(obj) for name, obj in members.items()})
            except InvalidError as error:
                raise UnfinishedError(f"the placement of the namespace {key.namespace}: {error}") from error
        return frozenset()

    def _adopts(self) -> bool:
        for stored in self._tools.cache.select(CONFIGS, namespace=NAMESPACE):
            said = str_at(self._tools.cache.obj(stored), "spec", "syncController", "adoptResources")
            return said != "Disabled"
        return True

    # --- the ledger ---

    def _ledger(self, key: Key) -> list[JsonObject]:
        value = f"{key.resource}/{key.namespace}/{key.name}"
        return [self._tools.cache.obj(each) for each in self._tools.cache.indexed(MEMBER_OBJECTS_BY_SOURCE, value)]

    async def _keep(self, key: Key, found: Plan, members: Mapping[str, JsonObject]) -> None:
        rows = {name_of(each): each for each in self._ledger(key)}
        wanted = {row.name: row for row in found.rows.values()}
        work = [self._want(row, rows.get(name)) for name, row in wanted.items()]
        for name, obj in rows.items():
            if name not in wanted:
                work.append(self._drop(obj, found, members))
        for at in range(0, len(work), _AT_ONCE):
            await asyncio.gather(*work[at : at + _AT_ONCE])

    async def _want(self, row: MemberObject, present: JsonObject | None) -> None:
        if present is not None and _same(read_member_object(present), row):
            return
        at, now = self._tools.cache.revision, time_text(self._tools.clock.wall_ms())

        def wanting(current: JsonObject) -> JsonObject:
            before = read_member_object(current)
            if _same(before, row):
                return current
            new = replace(row, revision=max(before.revision + 1, at), planned_at=now)
            return {**current, "spec": spec_of(new)}

        key = self._rows.key("", row.name)
        if present is None:
            obj: JsonObject = {
                "apiVersion": self._rows.api_version,
                "kind": self._rows.kind,
                "metadata": {"name": row.name, "labels": {"skerry.dev/member": row.member}},
                "spec": spec_of(replace(row, revision=max(at, 1), planned_at=now)),
            }
            try:
                await self._tools.objects.create(self._rows, "", obj)
            except AlreadyExistsError:
                pass  # a tombstone of an earlier life, or of another object: it is this one's now
            else:
                return
        await self._tools.objects.update(self._rows, key, wanting)

    async def _drop(self, obj: JsonObject, found: Plan, members: Mapping[str, JsonObject]) -> None:
        """Of a row that is not wanted: its tombstone, or nothing where its fault is the plan's."""
        row = read_member_object(obj)
        key = self._rows.key("", name_of(obj))
        carried_out = row.removal and Row(wanted=row, told=map_at(obj, "status")).current
        try:
            if row.member not in members or (carried_out and bool_at(obj, "status", "removed")):
                await self._tools.objects.delete(self._rows, key, DeleteOptions(uid=uid_of(obj)))
            elif not row.removal and row.member not in found.faults:
                at, now = self._tools.cache.revision, time_text(self._tools.clock.wall_ms())

                def burying(current: JsonObject) -> JsonObject:
                    before = read_member_object(current)
                    if before.removal or uid_of(current) != uid_of(obj):
                        return current
                    new = replace(
                        before,
                        revision=max(before.revision + 1, at),
                        manifest={},
                        removal="Orphan" if before.orphan else "Delete",
                        planned_at=now,
                    )
                    return {**current, "spec": spec_of(new)}

                await self._tools.objects.update(self._rows, key, burying)
        except NotFoundError:
            return

    # --- status ---

    async def _tell(
        self, key: Key, federated: JsonObject, of: FederatedType, found: Plan, members: Mapping[str, JsonObject]
    ) -> float | None:
        kind = self._tools.scheme.of_resource(key.resource)
        if kind is None:
            return None
        rows: dict[str, Row] = {}
        planned: dict[str, int] = {}
        for obj in self._ledger(key):
            row = Row(wanted=read_member_object(obj), told=map_at(obj, "status"))
            rows[row.wanted.member] = row
            planned[row.wanted.member] = ms_at(row.wanted.planned_at)
        now_ms = self._tools.clock.wall_ms()
        heard = [name for name, member in members.items() if is_ready(member)]
        told, waiting = status_of(
            map_at(federated, "status"),
            found,
            rows,
            heard=heard,
            collects=of.collects,
            now_ms=now_ms,
            planned_ms=planned,
        )
        generation, now = generation_of(federated), time_text(now_ms)
        status = with_times(told, map_at(federated, "status"), generation, now)
        if status != map_at(federated, "status"):

            def transform(current: JsonObject) -> JsonObject:
                return {**current, "status": status} if uid_of(current) == uid_of(federated) else current

            try:
                await self._tools.objects.update(kind, key, transform, subresource="status")
            except NotFoundError:
                return None
        return IN_TIME_MS / 1000 if waiting else None


def _matters(change: Seen) -> bool:
    """Whether a member came, went, was labelled otherwise, or is heard otherwise."""
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    return (
        labels_of(before) != labels_of(after)
        or is_ready(before) != is_ready(after)
        or being_deleted(before) != being_deleted(after)
    )


def _same(before: MemberObject, wanted: MemberObject) -> bool:
    return replace(before, revision=0, planned_at="") == wanted
