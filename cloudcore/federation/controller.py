"""Keeps the ledger of every member: rows for what it is to have, tombstones for what is to go, and the status.

A federated object that is deleted is gone at once; what its members have of it is found by its rows, which become
tombstones and stay until the member says that they are carried out. A row leaves by that alone, or with its member.
Where a RolloutPolicy is about it, members get its newest version as that says (`cloudcore.federation.rollouts`).
Nothing else is kept in memory: after a crash every federated object and every row is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudcore.federation.handover import NOBODY, Handover, handover
from cloudcore.federation.hearing import Seated
from cloudcore.federation.ledger import Ledger
from cloudcore.federation.placement import placed, read_placement
from cloudcore.federation.planner import IN_TIME_MS, Plan, Scene, plan, status_of, with_times
from cloudcore.federation.policy_lookup import acts, chosen_of, is_undecided, policy_of
from cloudcore.federation.propagated_versions import PropagatedVersions
from cloudcore.federation.rollouts import Rollouts, Staged, Subject
from cloudcore.federation.stray_cleanup import StrayCleanup, stray_sources
from cloudcore.federation.version_store import SECRETS
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.federation import (
    CONFIGS,
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    POLICIES,
    REVISIONS,
    ROLLOUT_POLICIES,
    TYPES,
    FederatedType,
    federated_type,
    is_ready,
    membership_of,
    read_member_object,
)
from skerry.objects.federation_config import NAME as CONFIG
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import (
    Key,
    Revision,
    being_deleted,
    generation_of,
    labels_of,
    name_of,
    namespace_of,
    owners_of,
    uid_of,
)
from skerry.objects.placement_policies import targets_of
from skerry.objects.sealed_versions import SEALED_TYPE
from skerry.objects.strays import strays_of
from skerry.objects.times import ms_at, time_text

_UNDER_WAY: Final = ("Progressing", "RollingBack")
_NOTHING: Final = Staged(plan=Plan(rows={}, faults={}))


class FederationController:
    """See the module."""

    name = "federation-controller"
    workers = 4

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._ledger = Ledger(tools)
        self._strays = StrayCleanup(tools, self._ledger)
        self._rollouts = Rollouts(tools)
        self._seated = Seated(tools.clock)
        self._propagated = PropagatedVersions(tools)
        self._types: dict[str, FederatedType] = {}
        self._types_at = Revision(-1)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._keys)]

    def _keys(self, change: Seen) -> Iterable[Key]:
        resource = change.key.resource
        if resource == MEMBER_OBJECTS:
            source = map_at(change.last, "spec", "source")
            yield Key(str_at(source, "resource"), str_at(source, "namespace"), str_at(source, "name"))
        elif resource == REVISIONS:
            source = map_at(change.last, "spec", "source")
            yield Key(str_at(source, "resource"), change.key.namespace, str_at(source, "name"))
        elif resource == MEMBERS:
            if _matters(change):
                yield from self._all()
            yield from (key for key in stray_sources(change) if self._type(key.resource) is not None)
        elif resource == SECRETS:
            if change.deleted and str_at(change.last, "type") == SEALED_TYPE:
                yield from self._version_owners(change.last)
        elif resource in (TYPES, CONFIGS):
            yield from self._all()
            if resource == TYPES:
                yield from self._sources()
        elif resource in (POLICIES, ROLLOUT_POLICIES):
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
        targets = {target for side in sides for of in (side, acts(side)) for target in targets_of(of)}
        for of in tuple(self._types.values()):
            for stored in self._tools.cache.select(of.resource, namespace=change.key.namespace):
                if any(target.means(of.kind, stored.key.name) for target in targets):
                    yield stored.key

    def _version_owners(self, secret: JsonObject) -> Iterable[Key]:
        """Whose version was in it: sealed again at once, while it is known what is declared."""
        self._type("")
        for owner in owners_of(secret):
            for of in tuple(self._types.values()):
                if owner.kind == of.kind:
                    yield Key(of.resource, namespace_of(secret), owner.name)

    def _sources(self) -> Iterable[Key]:
        """Whatever has rows: what was deleted while its type was disabled is found by them alone."""
        found: set[Key] = set()
        for stored in self._tools.cache.select(MEMBER_OBJECTS):
            source = map_at(self._tools.cache.obj(stored), "spec", "source")
            key = Key(str_at(source, "resource"), str_at(source, "namespace"), str_at(source, "name"))
            if key.resource in self._types and key not in found:
                found.add(key)
                yield key
        for member in self._members().values():
            strays = (stray.source.key for stray in strays_of(member))
            yield from (key for key in strays if key.resource in self._types)

    async def reconcile(self, key: Key) -> float | None:
        of = self._type(key.resource)
        stored = self._tools.cache.read(key)
        federated = None if stored is None else self._tools.cache.obj(stored)
        seal_s: float | None = None
        if of is None or of.of_secrets:
            seal_s = await self._rollouts.seal(key, federated, secret=of is not None)
        if of is None:
            return seal_s
        if federated is not None and being_deleted(federated):
            federated = None
        members = self._members()
        if federated is None:
            self._rollouts.forget(key)
            self._seated.forget(key)
            await self._ledger.keep(key, _NOTHING.plan, members)
            return _earliest(seal_s, await self._strays.clean(key, members, ()))
        subject, staged = await self._planned(key, federated, of, members)
        await self._ledger.keep(key, staged.plan, members)
        cleaned_s = await self._clean_up(subject, staged.plan)
        told_s = await self._tell(key, federated, of, staged, members)
        return _earliest(told_s, cleaned_s, staged.again_s, seal_s)

    async def _clean_up(self, subject: Subject, found: Plan) -> float | None:
        """What strays. What is wanted in a member is left, although it has no row of it yet: a rollout holds it back,
        or another member has the lease."""
        plans, chosen = (found, subject.wanted), subject.scene.chosen
        wanted = {name for each in plans for names in (each.rows, each.faults) for name in names}
        waits = chosen is not None and chosen.waits
        return await self._strays.clean(
            subject.key,
            subject.members,
            wanted,
            spared=lambda _member, stray: waits and stray.lease_s > 0,  # it is stopped
            lease_s=0 if chosen is None else chosen.lease_s,
        )

    async def _planned(
        self, key: Key, federated: JsonObject, of: FederatedType, members: Mapping[str, JsonObject]
    ) -> tuple[Subject, Staged]:
        policy = policy_of(self._tools.cache, key, of.kind)
        if policy is not None and is_undecided(policy):
            raise UnfinishedError(f"the PlacementPolicy {name_of(policy)} has not chosen yet")
        scene = Scene(
            members={name: labels_of(member) for name, member in members.items()},
            namespace=self._namespace(key, of, members),
            adopt=self._adopts(),
            chosen=None if policy is None else chosen_of(policy, members),
        )
        leaving = self._handover(key, federated, scene, members)
        scene = replace(scene, keepers=leaving.keepers)
        subject = Subject(
            key=key,
            federated=federated,
            of=of,
            scene=scene,
            wanted=plan(key, federated, of, scene),
            rows=self._ledger.of(key),
            members=members,
        )
        staged = await self._rollouts.stage(subject)
        plan_now = self._one_alone(key, staged.plan, scene)
        return subject, replace(staged, plan=plan_now, again_s=_earliest(staged.again_s, leaving.again_s))

    def _handover(self, key: Key, federated: JsonObject, scene: Scene, members: Mapping[str, JsonObject]) -> Handover:
        now_ms = self._tools.clock.wall_ms()
        chosen = self._seated.counted(key, scene.chosen, now_ms)
        if chosen is None:
            return NOBODY  # most have no policy, and their rows need no reading for it
        try:
            where = placed(read_placement(federated), scene.members, namespace=scene.namespace)
        except InvalidError:
            return NOBODY  # the plan tells it, and moves nothing
        heard = [name for name, member in members.items() if is_ready(member)]
        return handover(chosen, where, self._ledger.rows(key), heard, now_ms=now_ms)

    def _one_alone(self, key: Key, found: Plan, scene: Scene) -> Plan:
        """Of what may run once alone none begins while another member has something of it, and may run it: that one's
        row changes when it is gone."""
        if scene.chosen is None or not scene.chosen.lease_s:
            return found
        rows = [read_member_object(obj) for obj in self._ledger.of(key)]
        there = {row.member for row in rows if not row.removal}
        others = {row.member for row in rows} & scene.members.keys() - found.rows.keys() - scene.chosen.past
        if not others:
            return found
        return Plan(
            rows={member: row for member, row in found.rows.items() if member in there},
            faults=found.faults,
            reason=found.reason,
        )

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
        stored = self._tools.objects.read(Key(CONFIGS, NAMESPACE, CONFIG))
        said = {} if stored is None else self._tools.cache.obj(stored)
        return str_at(said, "spec", "syncController", "adoptResources") != "Disabled"

    # --- status ---

    async def _tell(
        self, key: Key, federated: JsonObject, of: FederatedType, staged: Staged, members: Mapping[str, JsonObject]
    ) -> float | None:
        kind = self._tools.scheme.of_resource(key.resource)
        if kind is None:
            return None
        rows = self._ledger.rows(key)
        planned = {name: ms_at(row.wanted.planned_at) for name, row in rows.items()}
        now_ms = self._tools.clock.wall_ms()
        heard = [name for name, member in members.items() if is_ready(member)]
        told, waiting = status_of(
            map_at(federated, "status"),
            staged.plan,
            rows,
            heard=heard,
            collects=of.collects,
            now_ms=now_ms,
            planned_ms=planned,
            rollout=staged.told,
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
        if waiting:
            return IN_TIME_MS / 1000
        if str_at(staged.told or {}, "phase") not in _UNDER_WAY:  # each of a thousand members would write it anew
            await self._propagated.keep(key, federated, of, rows)
        return None


def _earliest(*waits_s: float | None) -> float | None:
    return min((each for each in waits_s if each is not None), default=None)


def _matters(change: Seen) -> bool:
    """Whether a member came, went, joined again, was labelled otherwise, or is heard otherwise."""
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    return (
        labels_of(before) != labels_of(after)
        or is_ready(before) != is_ready(after)
        or being_deleted(before) != being_deleted(after)
        or membership_of(before) != membership_of(after)
    )
