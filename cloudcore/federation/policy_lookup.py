"""Which policy counts for a federated object, and what it chose. Keeps nothing."""

from __future__ import annotations

from cloudcore.store.cache import WatchCache
from skerry.frozen import Frozen
from skerry.objects.federation import POLICIES
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, name_of
from skerry.objects.placement_policies import targets_of


class Chosen(Frozen):
    members: frozenset[str]
    lease_s: int


def policy_of(cache: WatchCache, key: Key, kind: str) -> JsonObject | None:
    """The oldest that is about the object; None for none."""
    if not key.namespace:
        return None
    policies = [cache.obj(stored) for stored in cache.select(POLICIES, namespace=key.namespace)]
    found = [
        policy
        for policy in policies
        if any(target.means(kind, key.name) for target in targets_of(policy)) and not _only_tells(policy)
    ]
    return min(found, key=lambda each: (str_at(each, "metadata", "creationTimestamp"), name_of(each)), default=None)


def chosen_by(policy: JsonObject) -> Chosen | None:
    """None: it has not chosen yet, or only says what it would."""
    status = map_at(policy, "status")
    if "placed" not in status:
        return None
    return Chosen(
        members=frozenset(str_at(each, "name") for each in maps_at(status, "placed")),
        lease_s=int_at(policy, "spec", "atMostOnce", "leaseSeconds"),
    )


def is_undecided(policy: JsonObject) -> bool:
    """It will choose, and has not: until then everything stays as it is."""
    return chosen_by(policy) is None


def _only_tells(policy: JsonObject) -> bool:
    return bool_at(policy, "spec", "dryRun") and chosen_by(policy) is None
