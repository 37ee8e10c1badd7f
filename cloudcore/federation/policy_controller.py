"""Has each PlacementPolicy choose, again whenever a member comes, goes, or is heard otherwise, or time says so.

What it chose is in its status, from which the planner narrows the placement of its targets: nothing is written into
them. Of something that may run once alone the next copy is placed only when the one before is told to be gone, or its
lease has ended: by a clock that nobody sets, so that one that is set forward ends no lease early. Keeps since when
members are seen to be silent by that clock; after a crash leases are given their full time again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from cloudcore.federation.policies import MARGIN_S, Seat, Verdict, decide
from cloudcore.federation.policy_lookup import policy_of
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_SOURCE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.conditions import Condition, condition_of, with_condition
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    POLICIES,
    TYPES,
    federated_type,
    is_pulling,
    is_ready,
    read_member_object,
)
from skerry.objects.json import Json, JsonObject, bool_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, being_deleted, generation_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.placement_policies import Candidate, Policy, read_policy, targets_of
from skerry.objects.times import ms_at, time_text

REASONS_MAX: Final = 500
"""Members whose reasons are shown; those that have it first."""
_LOOK_S: Final = 2.0
"""Between looks at whether a copy is gone."""
_REGION: Final = "topology.kubernetes.io/region"
_ZONE: Final = "topology.kubernetes.io/zone"


class PolicyController:
    """See the module."""

    name = "placementpolicy-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._policies = tools.kind(POLICIES)
        self._silent_s: dict[str, float] = {}
        """Members that are silent, since when, monotonic."""

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=POLICIES, keys=self._beside),
            Keys(resource=MEMBERS, keys=lambda change: self._all() if _matters(change) else []),
        ]

    def _all(self) -> Iterable[Key]:
        return [stored.key for stored in self._tools.cache.select(POLICIES)]

    def _beside(self, change: Seen) -> Iterable[Key]:
        """One that comes or goes may make another of its namespace count."""
        if change.before is not None and change.after is not None:
            return [change.key]
        return [stored.key for stored in self._tools.cache.select(POLICIES, namespace=change.key.namespace)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)
        try:
            policy = read_policy(obj)
        except InvalidError as error:
            await self._tell(obj, {**map_at(obj, "status"), "message": str(error)})
            return None
        now_ms = self._tools.clock.wall_ms()
        members = [self._tools.cache.obj(each) for each in self._tools.cache.select(MEMBERS, namespace=NAMESPACE)]
        here = [member for member in members if not being_deleted(member)]
        candidates = [candidate_of(each) for each in here if is_pulling(each) or not policy.lease_s]
        self._watch_silence(here)
        if policy.lease_s:
            candidates = [self._by_steady_clock(each, now_ms) for each in candidates]
        seats = [
            Seat(member=str_at(each, "name"), since_ms=ms_at(str_at(each, "since"), default=now_ms))
            for each in maps_at(obj, "status", "placed")
        ]
        moves = [ms_at(each) for each in strs_at(map_at(obj, "status"), "moves")]
        tie = f"{key.namespace}/{key.name}"
        verdict = decide(policy, candidates, seats, moves, now_ms=now_ms, key=tie)
        waits_for = self._not_gone(obj, policy, verdict, candidates, now_ms) if policy.lease_s else []
        status = status_of(obj, verdict, waits_for, now_ms=now_ms)
        status["message"] = self._remark(obj, verdict, waits_for)
        await self._tell(obj, status)
        return _LOOK_S if waits_for else verdict.again_s

    def _watch_silence(self, members: Sequence[JsonObject]) -> None:
        now_s = self._tools.clock.monotonic_s()
        silent = [name_of(member) for member in members if not is_ready(member)]
        self._silent_s = {name: self._silent_s.get(name, now_s) for name in silent}

    def _by_steady_clock(self, candidate: Candidate, now_ms: int) -> Candidate:
        """Silent for no longer than it was seen to be."""
        since_s = self._silent_s.get(candidate.name)
        if since_s is None:
            return candidate
        seen_ms = round((self._tools.clock.monotonic_s() - since_s) * 1000)
        return replace(candidate, since_ms=max(candidate.since_ms, now_ms - seen_ms))

    def _not_gone(
        self, obj: JsonObject, policy: Policy, verdict: Verdict, candidates: Sequence[Candidate], now_ms: int
    ) -> list[str]:
        """Members that may still run a copy, where another is to have it."""
        by_name = {each.name: each for each in candidates}
        found: set[str] = set()
        for member in self._holders(obj):
            candidate = by_name.get(member)
            if member in verdict.placed or candidate is None:
                continue
            silent_ms = 0 if candidate.ready else now_ms - candidate.since_ms
            if silent_ms < (policy.lease_s + MARGIN_S) * 1000:
                found.add(member)
        return sorted(found)

    def _holders(self, obj: JsonObject) -> Iterator[str]:
        """Members with rows of its targets, tombstones that are not carried out among them."""
        types = [federated_type(self._tools.cache.obj(each)) for each in self._tools.cache.select(TYPES)]
        resources = {of.kind: of.resource for of in types}
        for target in targets_of(obj):
            resource = resources.get(target.kind, "")
            if target.name:
                source = f"{resource}/{namespace_of(obj)}/{target.name}"
                rows = self._tools.cache.indexed(MEMBER_OBJECTS_BY_SOURCE, source)
            else:
                rows = self._tools.cache.select(MEMBER_OBJECTS)
            for stored in rows:
                row = read_member_object(self._tools.cache.obj(stored))
                if row.source.key.resource == resource and row.source.key.namespace == namespace_of(obj):
                    yield row.member

    def _remark(self, obj: JsonObject, verdict: Verdict, waits_for: Sequence[str]) -> str:
        for target in targets_of(obj):
            if target.name:
                key = Key("", namespace_of(obj), target.name)
                counts = policy_of(self._tools.cache, key, target.kind)
                if counts is not None and uid_of(counts) != uid_of(obj):
                    return f"{target.kind} {target.name}: {name_of(counts)} is older, and counts"
        if waits_for:
            return f"waits until {', '.join(waits_for[:10])} has stopped it"
        return verdict.short or verdict.frozen

    async def _tell(self, obj: JsonObject, status: JsonObject) -> None:
        status = {**status, "observedGeneration": generation_of(obj)}
        if not status.get("message"):
            status.pop("message", None)
        if map_at(obj, "status") == status:
            return

        def telling(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid_of(obj) else current

        try:
            key = self._policies.key(namespace_of(obj), name_of(obj))
            await self._tools.objects.update(self._policies, key, telling, subresource="status")
        except NotFoundError:
            return


def _matters(change: Seen) -> bool:
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    return candidate_of(before) != candidate_of(after) or being_deleted(before) != being_deleted(after)


def candidate_of(member: JsonObject) -> Candidate:
    """Of a KubeFedCluster. Where it is, its labels say, or else its own nodes."""
    labels, ready = labels_of(member), condition_of(member, "Ready") or {}
    return Candidate(
        name=name_of(member),
        labels=labels,
        region=labels.get(_REGION) or str_at(member, "status", "region"),
        zone=labels.get(_ZONE) or next(iter(strs_at(map_at(member, "status"), "zones")), ""),
        ready=is_ready(member),
        since_ms=ms_at(str_at(ready, "lastTransitionTime"), default=0),
    )


def status_of(obj: JsonObject, verdict: Verdict, waits_for: Sequence[str], *, now_ms: int) -> JsonObject:
    """Without what is told in words. Of a dry run who has it stays as it is."""
    before = map_at(obj, "status")
    seats = [] if waits_for else list(verdict.seats)
    placed: list[Json] = [{"name": seat.member, "since": time_text(seat.since_ms)} for seat in seats]
    told: JsonObject = {"choice": verdict.choice}
    if bool_at(obj, "spec", "dryRun"):
        told["wouldPlace"] = placed
        if "placed" in before:
            told["placed"] = before["placed"]
    else:
        told["placed"] = placed
        moves: list[Json] = [time_text(at) for at in verdict.moves_ms]
        told["moves"] = moves
    names = sorted(verdict.reasons, key=lambda name: (name not in verdict.placed, name))[:REASONS_MAX]
    reasons: list[Json] = [
        {"name": name, "placed": name in verdict.placed and not waits_for, "reason": verdict.reasons[name]}
        for name in names
    ]
    told["members"] = reasons
    told["conditions"] = _conditions(before, verdict, waits_for, now_ms)
    return told


def _conditions(before: Mapping[str, Json], verdict: Verdict, waits_for: Sequence[str], now_ms: int) -> list[Json]:
    fine = not verdict.short and not waits_for
    placed = Condition(
        type="Placed",
        status="True" if fine else "False",
        reason="AsWanted" if fine else "WaitsForLease" if waits_for else "TooFew",
        message=verdict.short,
    )
    frozen = Condition(
        type="Frozen",
        status="True" if verdict.frozen else "False",
        reason="ManySilent" if verdict.frozen else "FewSilent",
        message=verdict.frozen,
    )
    conditions = maps_at(dict(before), "conditions")
    for condition in (placed, frozen):
        found = with_condition(conditions, condition, now_ms=now_ms)
        conditions = [each for each in found if isinstance(each, dict)]
    return [*conditions]
