"""Says on each RolloutPolicy for which objects it counts, how far those are, and who is in which wave.

What carries it out looks at the policy itself (`cloudcore.federation.rollouts`): a status that is late costs nothing.
Of a policy that only tries nothing else is done. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudcore.federation.replicas import tie_of
from cloudcore.federation.rollout_lookup import rollout_policy_of
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_SOURCE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import InvalidError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    ROLLOUT_POLICIES,
    TYPES,
    FederatedType,
    federated_type,
)
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, Revision, generation_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.placement_policies import targets_of
from skerry.objects.rollout_policies import RolloutPolicy, read_rollout_policy, waves_of

TARGETS_MAX: Final = 100
"""Objects that are shown."""
NAMES_MAX: Final = 20
"""Members of a wave that are named."""


class _Found(Frozen):
    entries: tuple[JsonObject, ...]
    remarks: tuple[str, ...]
    counts: bool
    """For one at least."""


class RolloutPlanController:
    """See the module."""

    name = "rolloutpolicy-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._policies = tools.kind(ROLLOUT_POLICIES)
        self._found: dict[str, FederatedType] = {}
        self._found_at = Revision(-1)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._keys)]

    def _keys(self, change: Seen) -> Iterable[Key]:
        resource = change.key.resource
        if resource == ROLLOUT_POLICIES:
            yield from self._all(change.key.namespace)  # another one may count from now on
        elif resource == MEMBERS:
            before, after = change.before, change.after
            if before is None or after is None or labels_of(before) != labels_of(after):
                yield from self._all()
        elif resource == TYPES:
            yield from self._all()
        elif resource == MEMBER_OBJECTS:
            before, after = change.before, change.after
            if before is None or after is None or _removal(before) != _removal(after):
                source = map_at(change.last, "spec", "source")
                yield from self._about(*(str_at(source, field) for field in ("resource", "namespace", "name")))
        elif resource in self._types() and _shown(change.before) != _shown(change.after):
            yield from self._about(resource, change.key.namespace, change.key.name)

    def _all(self, namespace: str = "") -> Iterable[Key]:
        return [stored.key for stored in self._tools.cache.select(ROLLOUT_POLICIES, namespace=namespace)]

    def _about(self, resource: str, namespace: str, name: str) -> Iterable[Key]:
        """Policies about an object."""
        of = self._types().get(resource)
        if of is None:
            return
        for stored in self._tools.cache.select(ROLLOUT_POLICIES, namespace=namespace):
            if any(target.means(of.kind, name) for target in targets_of(self._tools.cache.obj(stored))):
                yield stored.key

    def _types(self) -> dict[str, FederatedType]:
        changed = self._tools.cache.changed(TYPES)
        if changed != self._found_at:
            self._found_at = changed
            stored = self._tools.cache.select(TYPES, namespace=NAMESPACE)
            found = [federated_type(self._tools.cache.obj(each)) for each in stored]
            self._found = {each.resource: each for each in found if each.enabled}
        return self._found

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        policy = self._tools.cache.obj(stored)
        try:
            rules = read_rollout_policy(policy)
        except InvalidError as error:
            await self._tell(policy, _Found(entries=(), remarks=(str(error),), counts=False))
            return None
        await self._tell(policy, self._look(policy, rules))
        return None

    def _look(self, policy: JsonObject, rules: RolloutPolicy) -> _Found:
        labels = {
            stored.key.name: labels_of(self._tools.cache.obj(stored))
            for stored in self._tools.cache.select(MEMBERS, namespace=NAMESPACE)
        }
        entries: list[JsonObject] = []
        remarks = [*self._unknown(policy, rules, labels)]
        counts = False
        for of in self._types().values():
            for stored in self._tools.cache.select(of.resource, namespace=namespace_of(policy)):
                federated = self._tools.cache.obj(stored)
                if not any(target.means(of.kind, stored.key.name) for target in targets_of(policy)):
                    continue
                acting = rollout_policy_of(self._tools.cache, stored.key, of.kind)
                mine = acting is not None and uid_of(acting) == uid_of(policy)
                if not mine and acting is not None and not rules.dry_run:
                    remarks.append(f"{of.kind} {stored.key.name}: {name_of(acting)} is older, and counts")
                    continue
                counts = counts or mine
                entry, nobody = self._entry(stored.key, of, federated, rules, labels)
                entries.append(entry)
                remarks += nobody
        entries.sort(key=lambda each: (str_at(each, "kind"), str_at(each, "name")))
        return _Found(entries=tuple(entries[:TARGETS_MAX]), remarks=tuple(remarks), counts=counts)

    def _unknown(
        self, policy: JsonObject, rules: RolloutPolicy, members: Mapping[str, Mapping[str, str]]
    ) -> Iterable[str]:
        kinds = {each.kind for each in self._types().values()}
        for target in targets_of(policy):
            if target.kind not in kinds:
                yield f"no type is enabled that is federated as {target.kind}"
        earlier: dict[str, str] = {}
        for wave in rules.waves:
            strangers = [name for name in wave.clusters or () if name not in members]
            if strangers:
                yield f"wave {wave.name}: no member is called {', '.join(strangers[:NAMES_MAX])}"
            taken = [f"{name} is in {earlier[name]}" for name in wave.clusters or () if name in earlier]
            if taken:
                yield f"wave {wave.name}: {', '.join(taken[:NAMES_MAX])}, which comes before it"
            whole = wave.members is None and wave.selector is None
            earlier.update({name: wave.name for name in wave.clusters or () if whole and name not in earlier})

    def _entry(
        self,
        key: Key,
        of: FederatedType,
        federated: JsonObject,
        rules: RolloutPolicy,
        labels: Mapping[str, Mapping[str, str]],
    ) -> tuple[JsonObject, list[str]]:
        rows = self._tools.cache.indexed(MEMBER_OBJECTS_BY_SOURCE, f"{key.resource}/{key.namespace}/{key.name}")
        specs = [map_at(self._tools.cache.obj(each), "spec") for each in rows]
        placed = {str_at(spec, "member") for spec in specs if not spec.get("remove")} & labels.keys()
        tie = f"{key.namespace}/{key.name}"
        order = sorted(placed, key=lambda name: (tie_of(name, tie), name))
        wave_at = waves_of(rules, {name: labels[name] for name in placed}, order, ())
        entry: JsonObject = {"kind": of.kind, "name": key.name}
        if not rules.dry_run and (told := map_at(federated, "status", "rollout")):
            entry["phase"], entry["revision"] = str_at(told, "phase"), int_at(told, "revision")
        waves: list[Json] = []
        nobody: list[str] = []
        for at, wave in enumerate(rules.waves):
            mine = sorted(name for name in placed if wave_at[name] == at)
            named: list[Json] = [*mine[:NAMES_MAX]]
            waves.append({"name": wave.name, "count": len(mine), "members": named})
            if not mine and placed and at < len(rules.waves) - 1:
                nobody.append(f"wave {wave.name} has no member of {of.kind} {key.name}")
        entry["waves"] = waves
        return entry, nobody

    async def _tell(self, policy: JsonObject, found: _Found) -> None:
        dry = bool_at(policy, "spec", "dryRun")
        condition = Condition(
            type="Counts",
            status="True" if found.counts else "False",
            reason="DryRun" if dry else "Oldest" if found.counts else "NothingToRollOut",
            message="; ".join(found.remarks)[:1000],
            observed_generation=generation_of(policy),
        )
        before = map_at(policy, "status")
        now_ms = self._tools.clock.wall_ms()
        targets: list[Json] = [*found.entries]
        status: JsonObject = {
            "observedGeneration": generation_of(policy),
            "targets": targets,
            "conditions": with_condition(maps_at(before, "conditions"), condition, now_ms=now_ms),
        }
        if found.remarks:
            status["message"] = "; ".join(found.remarks)[:1000]
        if before == status:
            return

        def telling(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid_of(policy) else current

        try:
            key = self._policies.key(namespace_of(policy), name_of(policy))
            await self._tools.objects.update(self._policies, key, telling, subresource="status")
        except NotFoundError:
            return


def _shown(federated: JsonObject | None) -> tuple[str, int] | None:
    """What is said of it on its policies, beside what its rows say."""
    told = map_at(federated or {}, "status", "rollout")
    return None if federated is None else (str_at(told, "phase"), int_at(told, "revision"))


def _removal(row: JsonObject) -> bool:
    return bool(str_at(row, "spec", "remove"))
