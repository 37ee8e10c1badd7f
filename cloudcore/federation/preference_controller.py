"""Divides the replicas of a federated workload among members, as its ReplicaSchedulingPreference wishes.

Writes the workload's placement and one override of `/spec/replicas` for each member that has some, as KubeFed does;
what others wrote there is replaced. What a member was given counts as running there: without `rebalance` nothing is
moved for the sake of shares. A member that is silent keeps what it has, and its replicas count as placed, unless the
preference is annotated with the seconds after which they go elsewhere; and never while half of all members are
silent, as it is then most likely this cloud that is cut off.

A member that says what is free on its nodes gets no more than what finds room there; one whose pods have waited for
a node for long, no more than those that have one, and that for a while, as nothing else tells that it is full. Where
all are full the rest is parked where it may be. A member whose policy gave the workload to others keeps its replicas
beside theirs until they have it in order (`handover`); and whoever is to have fewer gives up what runs no faster
than as many are available elsewhere (`moves`), for ten minutes at most. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from cloudcore.federation.handover import NOBODY, Handover, handover
from cloudcore.federation.hearing import Hearing, Moving, Seated
from cloudcore.federation.ledger import Ledger
from cloudcore.federation.moves import kept_back
from cloudcore.federation.overrides import Override, read_overrides, with_override
from cloudcore.federation.own_state import Requests
from cloudcore.federation.placement import Placement, placed, read_placement
from cloudcore.federation.policy_lookup import Chosen, chosen_by, policy_of
from cloudcore.federation.replicas import Division, Member, Share, divide, share_of
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import CallerError, InvalidError, NotFoundError
from skerry.frozen import Frozen, replace
from skerry.objects.federation import (
    MEMBERS,
    NAMESPACE,
    POLICIES,
    PREFERENCES,
    TYPES,
    Target,
    federated_type,
    is_ready,
    row_name,
)
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, annotations_of, being_deleted, generation_of, labels_of, name_of, uid_of
from skerry.objects.rooms import ROWS_MAX, read_pods, read_rooms, replicas_in
from skerry.objects.times import ms_at, time_text

FAILOVER: Final = "skerry.dev/failover-after-seconds"
"""Annotation of a preference: how long a member may be silent before its replicas are placed elsewhere as well."""
FULL_S: Final = 1800.0
"""How long a member whose pods found no node gets no more: that they are gone from there does not make room."""
MOVING_S: Final = 600
"""How long members keep more than their share at most: what does not come up elsewhere shall not keep a preference
from ever being carried out."""
_REPLICAS: Final = "/spec/replicas"
_NAMED_MAX: Final = 10
_DIGITS_MAX: Final = 8
"""Of seconds: three years."""


class Limits(Frozen):
    """As many as members have room for, those that are known."""

    capacity: Mapping[str, int]
    full: Mapping[str, tuple[int, str]]
    """Of those whose pods found no node: as many as have one, and since when that is known."""


class Heard(Frozen):
    """For how long members have been as they are, by name."""

    silent_ms: Mapping[str, int]
    back_ms: Mapping[str, int]
    """Of those that were silent before."""


class Seats(Frozen):
    """What a preference comes to."""

    limits: Limits

    division: Division
    silent: Mapping[str, int]
    """Members that are not heard, and what they keep."""
    lost: frozenset[str] = frozenset()
    """Members that are not heard for so long that they keep nothing."""
    again_s: float | None = None
    """When somebody's silence will have lasted long enough."""
    leaving: Mapping[str, int] = {}
    """Members that keep what they have meanwhile, beside all that is divided."""
    moving: Mapping[str, int] = {}
    """Members that keep more than their share until as many are available elsewhere, and how many they keep."""


class PreferenceController:
    """See the module."""

    name = "replicaschedulingpreference-controller"
    workers = 1

    def __init__(self, tools: Tools, requests: Requests) -> None:
        self._tools = tools
        self._requests = requests
        self._ledger = Ledger(tools)
        self._preferences = tools.kind(PREFERENCES)
        self._hearing = Hearing(tools.clock)
        self._seated = Seated(tools.clock)
        self._moving = Moving(tools.clock)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._keys)]

    def _keys(self, change: Seen) -> Iterable[Key]:
        resource = change.key.resource
        if resource == PREFERENCES:
            yield change.key
        elif resource in (MEMBERS, TYPES, POLICIES):
            yield from (stored.key for stored in self._tools.cache.select(PREFERENCES))
        elif resource.startswith("federated"):
            key = Key(PREFERENCES, change.key.namespace, change.key.name)
            if self._tools.cache.read(key) is not None:
                yield key

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            self._moving.see(key, ())
            self._seated.keep(lambda workload: self._tools.cache.read(workload) is not None)
            return None
        preference = self._tools.cache.obj(stored)
        workload, why = self._workload(key, str_at(preference, "spec", "targetKind"))
        if workload is None:
            await self._tell(key, preference, {"message": why})
            return None
        obj = self._tools.cache.obj(self._tools.cache.read(workload) or stored)
        members = [self._tools.cache.obj(each) for each in self._tools.cache.select(MEMBERS, namespace=NAMESPACE)]
        self._hearing.see(members)
        policy = policy_of(self._tools.cache, workload, str_at(preference, "spec", "targetKind"))
        chosen = None if policy is None else chosen_by(policy)
        leaving = self._handover(workload, obj, chosen, members)
        if chosen is not None:
            members = [member for member in members if name_of(member) in chosen.members]
        try:
            hearing = self._hearing
            heard = Heard(silent_ms={name: hearing.ms(name) for name in hearing.silent}, back_ms=hearing.back_ms)
            seats = seats_of(preference, obj, members, heard, self._tools.clock.wall_ms(), self._requests)
            seats = _with_leaving(seats, leaving, replicas_of(obj))
            seats = self._moved(key, obj, workload, seats, among={name_of(each) for each in members})
        except InvalidError as error:
            await self._tell(key, preference, {"message": str(error)})
            return None
        await self._place(workload, obj, seats)
        self._moving.see(key, seats.moving)
        since = str_at(preference, "status", "movingSince") or time_text(self._tools.clock.wall_ms())
        await self._tell(key, preference, _status(seats, strangers_of(preference, members), since))
        return seats.again_s

    def _handover(
        self, workload: Key, obj: JsonObject, chosen: Chosen | None, members: Sequence[JsonObject]
    ) -> Handover:
        now_ms = self._tools.clock.wall_ms()
        counted = self._seated.counted(workload, chosen, now_ms)
        if counted is None:
            return NOBODY
        try:
            where = placed(read_placement(obj), {name_of(each): labels_of(each) for each in members})
        except InvalidError:
            return NOBODY
        heard = [name_of(each) for each in members if is_ready(each)]
        return handover(counted, where, self._ledger.rows(workload), heard, now_ms=now_ms)

    def _moved(self, key: Key, obj: JsonObject, workload: Key, seats: Seats, *, among: Collection[str]) -> Seats:
        """With what is kept until as many are available elsewhere."""
        rows = self._ledger.rows(workload)
        available = {
            name: int_at(row.told, "remote", "availableReplicas") for name, row in rows.items() if name in among
        }
        return with_moving(obj, seats, available, self._moving.ms(key))

    def _workload(self, key: Key, kind_name: str) -> tuple[Key | None, str]:
        for stored in self._tools.cache.select(TYPES, namespace=NAMESPACE):
            of = federated_type(self._tools.cache.obj(stored))
            if of.kind == kind_name and of.enabled:
                workload = Key(of.resource, key.namespace, key.name)
                if self._tools.cache.read(workload) is None:
                    return None, f"there is no {kind_name} {key.name}"
                return workload, ""
        return None, f"{kind_name} is not enabled"

    async def _place(self, key: Key, obj: JsonObject, seats: Seats) -> None:
        kind = self._tools.scheme.of_resource(key.resource)
        if kind is None:
            return
        replicas = {**seats.division.replicas, **seats.moving, **seats.silent, **seats.leaving}

        def placing(current: JsonObject) -> JsonObject:
            return with_replicas(current, replicas) if uid_of(current) == uid_of(obj) else current

        try:
            await self._tools.objects.update(kind, key, placing)
        except NotFoundError:
            return

    async def _tell(self, key: Key, preference: JsonObject, told: JsonObject) -> None:
        status: JsonObject = {**told, "observedGeneration": generation_of(preference)}
        if map_at(preference, "status") == status:
            return

        def telling(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid_of(preference) else current

        try:
            await self._tools.objects.update(self._preferences, key, telling, subresource="status")
        except NotFoundError:
            return


def seats_of(
    preference: JsonObject,
    workload: JsonObject,
    members: Sequence[JsonObject],
    heard: Heard,
    now_ms: int,
    requests: Requests,
) -> Seats:
    """How many each member is to have. Who lost his by his silence has some again when he has been heard for as long
    as he had to be silent, or as nobody else may have them. Raises `InvalidError`. Pure."""
    spec = map_at(preference, "spec")
    shares = {name: _share(map_at(spec, "clusters", name)) for name in map_at(spec, "clusters")}
    given = replicas_of(workload)
    here = [member for member in members if not being_deleted(member)]
    among = {name_of(member) for member in here}
    if bool_at(spec, "intersectWithClusterSelector"):
        selector = Placement(selector=read_placement(_selecting(workload)).selector)
        among = set(placed(selector, {name_of(member): labels_of(member) for member in here}))
    silent_for = {name_of(each): heard.silent_ms.get(name_of(each), 0) for each in here if not is_ready(each)}
    after_ms = _failover_ms(preference)
    frozen = 2 * len(silent_for) >= len(here)
    lost = {name for name, ms in silent_for.items() if after_ms is not None and not frozen and ms >= after_ms}
    silent = {name: given[name] for name in silent_for if name not in lost and given.get(name)}
    waits = [
        after_ms - ms for name, ms in silent_for.items() if after_ms is not None and not frozen and name in silent
    ]
    limits = _limits(
        preference, workload, [each for each in here if name_of(each) not in silent_for], now_ms, requests
    )
    candidates = [
        Member(name=name, share=share, current=given.get(name, 0), capacity=limits.capacity.get(name))
        for name in sorted(among - silent_for.keys())
        if (share := share_of(name, shares)) is not None
    ]

    def divided(among: Sequence[Member]) -> Division:
        return divide(
            max(0, int_at(spec, "totalReplicas") - sum(silent.values())),
            among,
            key=f"{str_at(preference, 'metadata', 'namespace')}/{name_of(preference)}",
            rebalance=bool_at(spec, "rebalance"),
        )

    back = {name: (after_ms or 0) - ms for name, ms in heard.back_ms.items() if ms < (after_ms or 0)}
    steady = [each for each in candidates if each.current or each.name not in back]
    division = divided(steady)
    if len(steady) < len(candidates):
        waits += [back[each.name] for each in candidates if each not in steady]
        if division.unplaced or division.parked:
            division = divided(candidates)
    again_s = max(1.0, min(waits) / 1000) if waits else None
    return Seats(division=division, silent=silent, lost=frozenset(lost), limits=limits, again_s=again_s)


def _with_leaving(seats: Seats, leaving: Handover, given: Mapping[str, int]) -> Seats:
    kept = {name: given[name] for name in leaving.keepers if given.get(name)}
    if not kept:
        return seats
    waits = [each for each in (seats.again_s, leaving.again_s) if each is not None]
    return replace(seats, leaving=kept, again_s=min(waits, default=None))


def with_moving(
    workload: JsonObject, seats: Seats, available: Mapping[str, int], kept_ms: Mapping[str, int]
) -> Seats:
    """With what members keep above their share, each no longer than `MOVING_S`; nothing where members say themselves
    how many they run. `available`: of members that may have some, as they told it last; `kept_ms`: how long those
    that keep something have done so. Pure."""
    if bool_at(workload, "spec", "retainReplicas"):
        return seats
    others = {**seats.silent, **seats.leaving}
    given = {name: count for name, count in replicas_of(workload).items() if name in available and name not in others}
    found = kept_back(seats.division, given, available, seats.lost)
    left_s = {name: MOVING_S - kept_ms.get(name, 0) / 1000 for name in found}
    kept = {name: count for name, count in found.items() if left_s[name] > 0}
    if not kept:
        return seats
    waits = [*(left_s[name] for name in kept), *([] if seats.again_s is None else [seats.again_s])]
    return replace(seats, moving=kept, again_s=max(1.0, min(waits)))


def _limits(
    preference: JsonObject, workload: JsonObject, heard: Sequence[JsonObject], now_ms: int, requests: Requests
) -> Limits:
    pod: JsonObject = {"spec": map_at(workload, "spec", "template", "spec", "template", "spec")}
    asked, given = requests(pod), replicas_of(workload)
    before = {str_at(each, "name"): each for each in maps_at(preference, "status", "clusters")}
    capacity: dict[str, int] = {}
    full: dict[str, tuple[int, str]] = {}
    for member in heard:
        name = name_of(member)
        has, status, row = given.get(name, 0), map_at(member, "status"), _row_of(name, preference)
        rooms, bound = read_rooms(status), _bound(status, row)
        if rooms is not None:
            capacity[name] = (has if bound is None else bound) + replicas_in(rooms, asked)
        waiting = read_pods(status, "waiting").get(row, 0)
        told, since = int_at(before.get(name, {}), "most"), str_at(before.get(name, {}), "fullSince")
        if since and ms_at(since) > now_ms:  # the clock was set back: else it would be full for as long
            since = time_text(now_ms)
        if waiting:
            # By what is told together: what was given to it since, it tells of later.
            most = bound if bound is not None else told if since else max(0, has - waiting)
            full[name] = most, since or time_text(now_ms)
        elif since and now_ms - ms_at(since, default=now_ms) < FULL_S * 1000:
            full[name] = told, since
        if name in full:
            capacity[name] = min(capacity.get(name, has), full[name][0])
    return Limits(capacity=capacity, full=full)


def _bound(status: JsonObject, row: str) -> int | None:
    """Pods of a row that have a node; None where nobody says so, or there are more rows than are told."""
    pods = read_pods(status, "bound")
    if row in pods:
        return pods[row]
    return None if len(pods) >= ROWS_MAX or "bound" not in status else 0


def _row_of(member: str, preference: JsonObject) -> str:
    kind = str_at(preference, "spec", "targetKind").removeprefix("Federated")
    namespace = str_at(preference, "metadata", "namespace")
    return row_name(member, Target(api_version="apps/v1", kind=kind, namespace=namespace, name=name_of(preference)))


def _selecting(workload: JsonObject) -> JsonObject:
    """Its selector, whatever list of clusters was written beside it since."""
    selector = map_at(workload, "spec", "placement").get("clusterSelector")
    return {"spec": {"placement": {"clusterSelector": {} if selector is None else selector}}}


def _share(said: JsonObject) -> Share:
    most = said.get("maxReplicas")
    return Share(
        weight=int_at(said, "weight"),
        least=int_at(said, "minReplicas"),
        most=most if isinstance(most, int) else None,
    )


def _failover_ms(preference: JsonObject) -> int | None:
    text = annotations_of(preference).get(FAILOVER)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise InvalidError(f"metadata.annotations[{FAILOVER}]: {text[:20]!r} is not a number of seconds below 10^8")
    return int(text) * 1000


def replicas_of(workload: JsonObject) -> dict[str, int]:
    """What members were given."""
    try:
        overrides = read_overrides(workload)
        where = read_placement(workload).clusters or ()
    except CallerError:
        return {}
    found: dict[str, int] = {}
    for name in where:
        for step in overrides.get(name, ()):
            if step.path == _REPLICAS and isinstance(step.value, int):
                found[name] = step.value
    return found


def with_replicas(workload: JsonObject, replicas: Mapping[str, int]) -> JsonObject:
    """The workload placed where there are some, with as many there."""
    placed_at = {name: count for name, count in sorted(replicas.items()) if count}
    entries: list[Json] = []
    for entry in maps_at(workload, "spec", "overrides"):
        steps: list[Json] = [
            step
            for step in maps_at(entry, "clusterOverrides")
            if str_at(step, "path") != _REPLICAS or str_at(entry, "clusterName") in placed_at
        ]
        if steps:
            entries.append({**entry, "clusterOverrides": steps})
    named: list[Json] = [{"name": name} for name in placed_at]
    placement: JsonObject = {**map_at(workload, "spec", "placement"), "clusters": named}
    spec: JsonObject = {**map_at(workload, "spec"), "placement": placement, "overrides": entries}
    made: JsonObject = {**workload, "spec": spec}
    given = replicas_of(made)
    for name, count in placed_at.items():
        if given.get(name) != count:
            made = with_override(made, name, Override(op="add", path=_REPLICAS, value=count))
    return made


def strangers_of(preference: JsonObject, members: Sequence[JsonObject]) -> list[str]:
    """Whom it names, and who is no member that may have some."""
    known = {"*", *(name_of(each) for each in members)}
    return sorted(map_at(preference, "spec", "clusters").keys() - known)


def _status(seats: Seats, strangers: Sequence[str], moving_since: str) -> JsonObject:
    clusters: list[Json] = []
    division = seats.division
    kept = {**seats.moving, **seats.silent, **seats.leaving}
    for name in sorted({*division.replicas, *kept}):
        told: JsonObject = {"name": name, "replicas": kept.get(name, division.replicas.get(name, 0))}
        for field, counts in (("parked", division.parked), ("short", division.short)):
            if name in counts:
                told[field] = counts[name]
        if name in seats.limits.full:
            told["most"], told["fullSince"] = seats.limits.full[name]
        if name in seats.silent:
            told["silent"] = True
        if name in seats.moving:
            told["moving"] = seats.moving[name] - division.replicas.get(name, 0)
        if name in seats.leaving:
            told["leaving"] = True
        clusters.append(told)
    status: JsonObject = {"clusters": clusters, "unplaced": division.unplaced}
    if seats.moving:
        status["movingSince"] = moving_since
    said: list[str] = []
    if division.unplaced:
        said.append(
            f"{division.unplaced} replicas are beyond what the members that are heard may have:"
            " raise spec.clusters[].maxReplicas, or give more of them a weight"
        )
    if strangers:
        named = ", ".join(strangers[:_NAMED_MAX])
        said.append(f"spec.clusters names {named}, and no member that may have replicas is called so")
    if said:
        status["message"] = "; ".join(said)
    return status
