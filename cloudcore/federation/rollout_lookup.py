"""Which RolloutPolicy counts for a federated object. Keeps nothing."""

from __future__ import annotations

from cloudcore.store.cache import WatchCache
from skerry.objects.federation import ROLLOUT_POLICIES
from skerry.objects.json import JsonObject, bool_at, str_at
from skerry.objects.meta import Key, being_deleted, name_of
from skerry.objects.placement_policies import targets_of


def rollout_policies_of(cache: WatchCache, key: Key, kind: str) -> list[JsonObject]:
    """About the object, the oldest first."""
    if not key.namespace:
        return []
    policies = [cache.obj(stored) for stored in cache.select(ROLLOUT_POLICIES, namespace=key.namespace)]
    found = [
        policy
        for policy in policies
        if not being_deleted(policy) and any(target.means(kind, key.name) for target in targets_of(policy))
    ]
    return sorted(found, key=lambda each: (str_at(each, "metadata", "creationTimestamp"), name_of(each)))


def rollout_policy_of(cache: WatchCache, key: Key, kind: str) -> JsonObject | None:
    """The oldest that does not only tell; None for none."""
    found = rollout_policies_of(cache, key, kind)
    return next((each for each in found if not bool_at(each, "spec", "dryRun")), None)
