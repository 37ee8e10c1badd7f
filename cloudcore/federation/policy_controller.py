"""Has each PlacementPolicy choose, again whenever a member comes, goes, or is heard otherwise, or time says so.

What it chose is in its status, from which the planner narrows the placement of its targets: nothing is written into
them. Of something that may run once alone the next copy is placed only when the one before is told to be gone, or its
lease has ended. All delays, of leases, failover and failback, count by a clock that nobody sets (`hearing`), as do
the moves of a minute: after a crash they are given their full time again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from cloudcore.federation.hearing import Hearing
from cloudcore.federation.policies import MARGIN_S, MINUTE_MS, MOVES_MAX, Seat, Verdict, decide
from cloudcore.federation.policy_lookup import held_of, policy_of
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_SOURCE, Keys, Seen
from cloudcore.runtime.manager import Tools
from cloudcore.store.port import Stored
from skerry.errors import InvalidError, NotFoundError
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import Condition, condition_of, with_condition
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    POLICIES,
    TYPES,
    MemberObject,
    federated_type,
    is_pulling,
    is_ready,
    longest_lease_s,
    membership_of,
    read_member_object,
)
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, being_deleted, generation_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.placement_policies import Candidate, Policy, read_policy, targets_of
from skerry.objects.times import ms_at, time_text

REASONS_MAX: Final = 500
"""Members whose reasons are shown; those that have it first."""
_LOOK_S: Final = 2.0
"""Between looks at whether a copy is gone."""
_KEPT_S: Final = 2 * 3600
"""For who left, at least; and as long as a policy says that he had something."""
GRACE_S: Final = 30
"""Of pods that say nothing else, to end; what was left of it may have been what they had before it was changed."""
_MEMBERSHIP_SHOWN: Final = 8
_LEASES: Final = "LeasesReachAll"
"""Type of a condition."""
_DIALLED: Final = (
    "it is dialled, and leases of atMostOnce reach only regions that dial: unjoin it and have it join with"
    " `skerry region join`, or leave it out of the affinities"
)
_UNTOLD: Final = (
    "pods there ran before they were lent, and their gateways have not said yet that they go by the lease, so nobody"
    " else gets it while it is silent; a gateway of an older release never says it: upgrade its EdgeCore, or have"
    " its pods made anew"
)
_REGION: Final = "topology.kubernetes.io/region"
_ZONE: Final = "topology.kubernetes.io/zone"


class PolicyController:
    """See the module."""

    name = "placementpolicy-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._policies = tools.kind(POLICIES)
        self._hearing = Hearing(tools.clock)
        self._moved_s: dict[str, list[float]] = {}
        """By uid of a policy: its moves, monotonic, as far as they count yet."""
        self._left_s: dict[str, float] = {}
        """Who had something and is no member any more, since when, monotonic."""

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=POLICIES, keys=self._beside),
            Keys(resource=MEMBERS, keys=lambda change: self._all() if _matters(change) else []),
            Keys(resource=MEMBER_OBJECTS, keys=self._about),
        ]

    def _all(self) -> Iterable[Key]:
        return [stored.key for stored in self._tools.cache.select(POLICIES)]

    def _beside(self, change: Seen) -> Iterable[Key]:
        """One that comes or goes may make another of its namespace count."""
        if change.before is not None and change.after is not None:
            return [change.key]
        return [stored.key for stored in self._tools.cache.select(POLICIES, namespace=change.key.namespace)]

    def _about(self, change: Seen) -> Iterable[Key]:
        """Those of a row of which it is told otherwise whether its lease counts."""
        pending = [side is not None and _is_pending(side) for side in (change.before, change.after)]
        if pending[0] == pending[1]:
            return []
        namespace = str_at(change.last, "spec", "source", "namespace")
        return [stored.key for stored in self._tools.cache.select(POLICIES, namespace=namespace)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            self._forget()
            return None
        obj = self._tools.cache.obj(stored)
        try:
            policy = read_policy(obj)
        except InvalidError as error:
            await self._tell(obj, {**map_at(obj, "status"), "message": str(error)})
            return None
        now_ms = self._tools.clock.wall_ms()
        members = [self._tools.cache.obj(each) for each in self._tools.cache.select(MEMBERS, namespace=NAMESPACE)]
        obj = by_membership(obj, members)
        here = [member for member in members if not being_deleted(member)]
        candidates = [candidate_of(each) for each in here if is_pulling(each) or not policy.lease_s]
        self._watch_silence(members, obj)
        candidates = [replace(each, since_ms=now_ms - self._hearing.ms(each.name)) for each in candidates]
        seats = [
            # (Where the clock was set back: nobody has it since tomorrow, and would be handed over to until then.)
            Seat(member=str_at(each, "name"), since_ms=min(now_ms, ms_at(str_at(each, "since"), default=now_ms)))
            for each in maps_at(obj, "status", "placed")
        ]
        moves = self._moves_ms(obj, now_ms)
        tie = f"{key.namespace}/{key.name}"
        verdict = decide(policy, candidates, seats, moves, now_ms=now_ms, key=tie)
        dialled = _dialled(policy, here)
        verdict = replace(verdict, reasons={**verdict.reasons, **dict.fromkeys(dialled, _DIALLED)})
        others = self._not_gone(obj, policy, verdict, members) if policy.lease_s else _NO_OTHERS
        waits_for = [*others.runs]
        status = status_of(obj, verdict, waits_for, now_ms=now_ms)
        counts = bool(verdict.moved) and not bool_at(obj, "spec", "dryRun")
        if policy.lease_s and not bool_at(obj, "spec", "dryRun"):
            _lend(status, others, policy.lease_s, _had(obj))
            _name_memberships(status, obj, members)
        untold = self._untold(obj) if policy.lease_s else []
        status["conditions"] = _with_leases(status, dialled, untold, now_ms)
        status["message"] = self._remark(obj, verdict, waits_for)
        await self._tell(obj, status)
        if counts:
            now_s = self._tools.clock.monotonic_s()
            self._moved_s.setdefault(uid_of(obj), []).extend([now_s] * len(verdict.moved))
        return _LOOK_S if waits_for else verdict.again_s

    def _watch_silence(self, members: Sequence[JsonObject], obj: JsonObject) -> None:
        """Of members that left as well: they may run for the time of their lease."""
        now_s = self._tools.clock.monotonic_s()
        there = {name_of(member) for member in members}
        left = {*self._left_s, *_had(obj)} - there  # who is a member again is heard, or silent
        self._left_s = {name: self._left_s.get(name, now_s) for name in left}
        if any(now_s - at_s >= _KEPT_S for at_s in self._left_s.values()):
            policies = (self._tools.cache.obj(each) for each in self._tools.cache.select(POLICIES))
            named = {name for each in policies for name in _had(by_membership(each, members))}
            self._left_s = {name: at_s for name, at_s in self._left_s.items() if name in named}
        self._hearing.see(members)

    def _moves_ms(self, obj: JsonObject, now_ms: int) -> list[int]:
        """Of the last minute, as it is counted here; what was written before this process began is read once."""
        now_s, minute_s = self._tools.clock.monotonic_s(), MINUTE_MS / 1000
        known = self._moved_s.get(uid_of(obj))
        if known is None:
            ago_ms = (max(0, now_ms - ms_at(each)) for each in strs_at(map_at(obj, "status"), "moves"))
            known = [now_s - each / 1000 for each in ago_ms]
        recent = self._moved_s[uid_of(obj)] = [at_s for at_s in known if now_s - at_s < minute_s]
        return [now_ms - round((now_s - at_s) * 1000) for at_s in recent]

    def _forget(self) -> None:
        """Of policies that are gone."""
        uids = {stored.uid for stored in self._tools.cache.select(POLICIES)}
        self._moved_s = {uid: moves for uid, moves in self._moved_s.items() if uid in uids}

    def _not_gone(self, obj: JsonObject, policy: Policy, verdict: Verdict, members: Sequence[JsonObject]) -> _Others:
        """Who may still run a copy where another is to begin, and who has something of it that runs no more."""
        has = {str_at(each, "name") for each in maps_at(obj, "status", "placed")}
        past = frozenset(strs_at(map_at(obj, "status"), "past"))
        if verdict.placed <= has and not past:
            return _NO_OTHERS  # nobody begins
        if verdict.placed <= has:
            return _Others(runs={}, past=past & self._hearing.silent & self._with_rows(obj))
        holders = self._holders(obj, verdict.placed)
        there = {name_of(member) for member in members}
        for name, runs_s in self._may_run(obj, policy).items():
            if name not in there or name in self._left_s:
                holders[name] = _longest(holders.get(name, 0), runs_s)
        runs: dict[str, int] = {}
        for name in sorted(holders.keys() - verdict.placed):
            lease_s = holders[name]
            if lease_s is None or self._quiet_s(name) < lease_s + MARGIN_S:
                runs[name] = lease_s or 0
        return _Others(runs=runs, past=frozenset(holders.keys() - runs.keys() - verdict.placed))

    def _may_run(self, obj: JsonObject, policy: Policy) -> dict[str, int]:
        """Who had it or was waited for, and for how long after its last answer."""
        end_s = max((self._end_s(source, []) for source in self._sources_of(obj)), default=GRACE_S)
        status = map_at(obj, "status")
        placed = {
            str_at(each, "name"): (int_at(each, "leaseSeconds") or policy.lease_s) + end_s
            for each in maps_at(status, "placed")
        }
        waits = {str_at(each, "name"): int_at(each, "leaseSeconds") for each in maps_at(status, "waitsFor")}
        return placed | {name: runs_s or policy.lease_s + end_s for name, runs_s in waits.items()}

    def _quiet_s(self, name: str) -> float:
        """How long a member is known to have had no answer."""
        silent_s = self._hearing.silent_s(name)
        if silent_s is not None:
            return silent_s
        left_s = self._left_s.get(name)
        return 0.0 if left_s is None else self._tools.clock.monotonic_s() - left_s

    def _holders(self, obj: JsonObject, placed: frozenset[str]) -> dict[str, int | None]:
        """Members with rows of its targets, tombstones that are not carried out among them, and their longest lease;
        not of what is where it is to be already, as nothing of that begins."""
        rows: dict[Key, list[tuple[MemberObject, int | None]]] = {}
        for stored in self._rows_of(obj):
            row = self._tools.cache.obj(stored)
            read = read_member_object(row)
            rows.setdefault(read.source.key, []).append((read, longest_lease_s(row)))
        found: dict[str, int | None] = {}
        for of_one in rows.values():
            if any(row.member in placed and not row.removal for row, _ in of_one):
                continue
            end_s = self._end_s(of_one[0][0].source.key, [row for row, _ in of_one])
            for row, lease_s in of_one:
                found[row.member] = _longest(found.get(row.member, 0), None if lease_s is None else lease_s + end_s)
        return found

    def _untold(self, obj: JsonObject) -> list[str]:
        """Members whose lease does not count yet."""
        rows = [self._tools.cache.obj(each) for each in self._rows_of(obj)]
        return sorted({read_member_object(each).member for each in rows if _is_pending(each)})

    def _with_rows(self, obj: JsonObject) -> frozenset[str]:
        return frozenset(read_member_object(self._tools.cache.obj(each)).member for each in self._rows_of(obj))

    def _end_s(self, source: Key, rows: Iterable[MemberObject]) -> int:
        """How long pods of a federated object may take to end, as it says or as a member's own overrides do."""
        stored = self._tools.cache.read(source)
        template = {} if stored is None else map_at(self._tools.cache.obj(stored), "spec", "template")
        specs = [map_at(template, "spec"), *(map_at(row.manifest, "spec") for row in rows)]
        pods = [pod for spec in specs for pod in (*_pod_specs(spec), spec)]
        return max([GRACE_S, *(int_at(pod, "terminationGracePeriodSeconds") for pod in pods)])

    def _rows_of(self, obj: JsonObject) -> Iterator[Stored]:
        for key in self._sources_of(obj):
            source = f"{key.resource}/{key.namespace}/{key.name}"
            yield from self._tools.cache.indexed(MEMBER_OBJECTS_BY_SOURCE, source)

    def _sources_of(self, obj: JsonObject) -> Iterator[Key]:
        types = [federated_type(self._tools.cache.obj(each)) for each in self._tools.cache.select(TYPES)]
        resources = {of.kind: of.resource for of in types}
        for target in targets_of(obj):
            resource, namespace = resources.get(target.kind, ""), namespace_of(obj)
            named = Key(resource, namespace, target.name)
            yield from [named] if target.name else self._sources(resource, namespace)

    def _sources(self, resource: str, namespace: str) -> Iterable[Key]:
        """Objects that are there, or have rows yet."""
        found: set[Key] = set()
        for stored in self._tools.cache.select(MEMBER_OBJECTS):
            key = read_member_object(self._tools.cache.obj(stored)).source.key
            if key.resource == resource and key.namespace == namespace:
                found.add(key)
        return found

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


class _Others(Frozen):
    """Members beside those that were chosen."""

    runs: Mapping[str, int]
    """Who may run it, and for how long after its last answer; 0: for ever."""
    past: frozenset[str]


_NO_OTHERS: Final = _Others(runs={}, past=frozenset())


def _pod_specs(spec: JsonObject) -> Iterator[JsonObject]:
    for each in (spec, map_at(spec, "jobTemplate", "spec")):
        yield map_at(each, "template", "spec")


def _longest(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _had(obj: JsonObject) -> dict[str, int]:
    """Who had it or was waited for, and the longest lease of those."""
    status = map_at(obj, "status")
    told = [*maps_at(status, "placed"), *maps_at(status, "waitsFor")]
    return {str_at(each, "name"): int_at(each, "leaseSeconds") for each in told}


def _matters(change: Seen) -> bool:
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    return (
        candidate_of(before) != candidate_of(after)
        or being_deleted(before) != being_deleted(after)
        or membership_of(before) != membership_of(after)
    )


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
        told.update({name: before[name] for name in ("placed", "held", "past") if name in before})
    else:
        told["placed"] = placed
        moves: list[Json] = [*strs_at(before, "moves"), *([time_text(now_ms)] * len(verdict.moved))]
        told["moves"] = moves[-MOVES_MAX:]
        told["held"] = held_of(obj)
    names = sorted(verdict.reasons, key=lambda name: (name not in verdict.placed, name))[:REASONS_MAX]
    reasons: list[Json] = [
        {"name": name, "placed": name in verdict.placed and not waits_for, "reason": verdict.reasons[name]}
        for name in names
    ]
    told["members"] = reasons
    told["conditions"] = _conditions(before, verdict, waits_for, now_ms)
    return told


def _dialled(policy: Policy, members: Iterable[JsonObject]) -> list[str]:
    """Who would be of the choice, and can't be lent anything."""
    found = [candidate_of(each) for each in members if policy.lease_s and not is_pulling(each)]
    return sorted(each.name for each in found if any(choice.matches(each) for choice in policy.affinities))


def _is_pending(row: JsonObject) -> bool:
    return bool_at(row, "status", "leasePending")


def _with_leases(status: JsonObject, dialled: Sequence[str], untold: Sequence[str], now_ms: int) -> list[Json]:
    """A condition that is there while some of the choice are dialled, or have gateways that go by no lease yet."""
    conditions = maps_at(status, "conditions")
    if not dialled and not untold:
        return [each for each in conditions if str_at(each, "type") != _LEASES]
    messages = [f"never placed: {_named(dialled)}: {_DIALLED}"] if dialled else []
    messages += [f"no failover: {_named(untold)}: {_UNTOLD}"] if untold else []
    reason = "MembersAreDialled" if dialled else "GatewaysAreUntold"
    told = Condition(type=_LEASES, status="False", reason=reason, message="; ".join(messages))
    return [*with_condition(conditions, told, now_ms=now_ms)]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _lend(status: JsonObject, others: _Others, lease_s: int, had: Mapping[str, int]) -> None:
    """Note what is lent to whom. Changes `status`."""
    placed: list[Json] = [
        {**each, "leaseSeconds": max(lease_s, had.get(str_at(each, "name"), 0))} for each in maps_at(status, "placed")
    ]
    status["placed"] = placed
    if others.runs:
        waits: list[Json] = [{"name": name, "leaseSeconds": runs_s} for name, runs_s in others.runs.items()]
        status["waitsFor"] = waits
    if others.past:
        past: list[Json] = [*sorted(others.past)]
        status["past"] = past


def by_membership(obj: JsonObject, members: Sequence[JsonObject]) -> JsonObject:
    """A PlacementPolicy whose status calls those who are no more what they were under their name by another one: who
    joined since is somebody else, and the one before may run what it was lent until that is over."""
    now = {name_of(member): membership_of(member) for member in members}

    def called(entry: JsonObject) -> JsonObject:
        name, was = str_at(entry, "name"), str_at(entry, "membership")
        if not was or now.get(name, was) == was:
            return entry
        return {**entry, "name": f"{name} (joined before: {was[-_MEMBERSHIP_SHOWN:]})"}

    status: JsonObject = {**map_at(obj, "status")}
    for field in ("placed", "waitsFor"):
        if entries := maps_at(status, field):
            status[field] = [called(entry) for entry in entries]
    return {**obj, "status": status} if status else obj


def _name_memberships(status: JsonObject, before: JsonObject, members: Sequence[JsonObject]) -> None:
    """Note whom something is lent to, or was. Changes `status`."""
    told = [*maps_at(before, "status", "placed"), *maps_at(before, "status", "waitsFor")]
    known = {str_at(each, "name"): str_at(each, "membership") for each in told}
    known |= {name_of(member): membership_of(member) for member in members}
    for field in ("placed", "waitsFor"):
        if entries := maps_at(status, field):
            status[field] = [{**each, "membership": known.get(str_at(each, "name"), "")} for each in entries]


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
