"""Shows in each aggregated ClusterRole the rules that it has gathered, as Kubernetes does.

Decisions do not wait for it: the policy gathers for itself. It is for people and tools that read roles. Keeps
nothing; a crash leaves rules as they were shown last, and the next start corrects them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.api.authz.authorizer import RBAC_GROUP
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.authz.policy import parse_role, resolve_aggregation
from skerry.authz.rules import rule_object, rules_of
from skerry.errors import NotFoundError
from skerry.objects.json import Json, JsonObject, dig
from skerry.objects.meta import Key

CLUSTER_ROLES: Final = f"clusterroles.{RBAC_GROUP}"


class AggregationController:
    """See the module."""

    name = "clusterrole-aggregation-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(CLUSTER_ROLES)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource=CLUSTER_ROLES, keys=self._gathering)]

    async def reconcile(self, key: Key) -> float | None:
        cache = self._tools.cache
        roles = [parse_role(cache.obj(stored)) for stored in cache.select(CLUSTER_ROLES)]
        wanted = resolve_aggregation(roles).get(key.name)
        if wanted is None:
            return None

        def gathered(role: JsonObject) -> JsonObject:
            if dig(role, "aggregationRule") is None or rules_of(role) == wanted:
                return role
            return {**role, "rules": list[Json](rule_object(rule) for rule in wanted)}

        try:
            await self._tools.objects.update(self._kind, key, gathered)
        except NotFoundError:
            return None  # deleted since we looked
        return None

    def _gathering(self, change: Seen) -> Iterable[Key]:
        """Any role may be part of any aggregated one; there are few of them."""
        del change
        cache = self._tools.cache
        return [
            stored.key
            for stored in cache.select(CLUSTER_ROLES)
            if dig(cache.obj(stored), "aggregationRule") is not None
        ]
