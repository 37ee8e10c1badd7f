"""Which policy counts for a federated object, and what it chose. Keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping

from cloudcore.store.cache import WatchCache
from skerry.frozen import Frozen, replace
from skerry.objects.federation import POLICIES, membership_of
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, generation_of, name_of
from skerry.objects.placement_policies import HANDOVER_S, targets_of
from skerry.objects.times import ms_at


class Chosen(Frozen):
    members: frozenset[str]
    lease_s: int
    since_ms: Mapping[str, int] = {}
    """Of each: since when it is chosen."""
    handover_s: int = 0
    """How long who had it before keeps it at most."""
    memberships: Mapping[str, str] = {}
    """Of those to whom something is lent: under which membership; who joined under the name since is not meant."""
    past: frozenset[str] = frozenset()
    """Who may still have something of it, and runs none: their leases are over."""
    waits: bool = False
    """Another one has the lease yet: who gets it is not among the members."""


def policy_of(cache: WatchCache, key: Key, kind: str) -> JsonObject | None:
    """The oldest that is about the object; None for none."""
    if not key.namespace:
        return None
    policies = [cache.obj(stored) for stored in cache.select(POLICIES, namespace=key.namespace)]
    found = [
        policy
        for policy in policies
        if any(target.means(kind, key.name) for target in targets_of(acts(policy))) and not _only_tells(policy)
    ]
    return min(found, key=lambda each: (str_at(each, "metadata", "creationTimestamp"), name_of(each)), default=None)


def acts(policy: JsonObject) -> JsonObject:
    """The policy as it acts: of a dry run as it was before, which is in its status."""
    held = map_at(policy, "status").get("held")
    if not bool_at(policy, "spec", "dryRun") or not isinstance(held, dict):
        return policy
    return {**policy, "spec": held}


def held_of(policy: JsonObject) -> JsonObject:
    """What is kept of a spec, as long as it acts."""
    names = ("targets", "atMostOnce", "followDependencies", "handoverSeconds")
    return {name: value for name, value in map_at(policy, "spec").items() if name in names}


def chosen_by(policy: JsonObject) -> Chosen | None:
    """None: it has not chosen yet, or only says what it would."""
    status = map_at(policy, "status")
    if "placed" not in status:
        return None
    since_ms = {str_at(each, "name"): ms_at(str_at(each, "since"), default=0) for each in maps_at(status, "placed")}
    return Chosen(
        members=frozenset(since_ms),
        lease_s=int_at(acts(policy), "spec", "atMostOnce", "leaseSeconds"),
        since_ms=since_ms,
        handover_s=int_at(acts(policy), "spec", "handoverSeconds", default=HANDOVER_S),
        memberships={
            str_at(each, "name"): said for each in maps_at(status, "placed") if (said := str_at(each, "membership"))
        },
        past=frozenset(strs_at(status, "past")),
        waits=bool(maps_at(status, "waitsFor")),
    )


def chosen_of(policy: JsonObject, members: Mapping[str, JsonObject]) -> Chosen | None:
    """The same, without those who joined again since they were chosen for what may run once alone."""
    chosen = chosen_by(policy)
    if chosen is None or not chosen.memberships:
        return chosen
    others = {
        name for name, said in chosen.memberships.items() if name in members and membership_of(members[name]) != said
    }
    return replace(chosen, members=chosen.members - others)


def is_undecided(policy: JsonObject) -> bool:
    """It will choose, and has not, or not since it was changed: until then everything stays as it is."""
    if chosen_by(policy) is None:
        return True
    dry = bool_at(policy, "spec", "dryRun")
    return not dry and int_at(policy, "status", "observedGeneration") < generation_of(policy)


def _only_tells(policy: JsonObject) -> bool:
    return bool_at(policy, "spec", "dryRun") and chosen_by(policy) is None
