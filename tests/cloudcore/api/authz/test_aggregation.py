"""What an aggregated role shows."""

from typing import Any

from cloudcore.api.authz.aggregation import AggregationController
from tests.cloudcore.worlds import make_world

ROLES = "clusterroles.rbac.authorization.k8s.io"


def rules(*resources: str) -> list[Any]:
    return [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]} for resource in resources]


async def test_an_aggregated_role_shows_what_it_gathers_as_that_comes_and_goes():
    async with make_world() as world:
        controller = AggregationController(world.tools)
        selector = {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}
        await world.create(ROLES, {"metadata": {"name": "all"}, "aggregationRule": selector, "rules": rules("stale")})
        await world.create(ROLES, {"metadata": {"name": "plain"}, "rules": rules("mine")})
        await world.settle(controller)
        assert world.get(ROLES, "all")["rules"] == []
        for name in ("a", "b"):
            await world.create(ROLES, {"metadata": {"name": name, "labels": {"to": "all"}}, "rules": rules(name)})
        await world.settle(controller)
        assert world.get(ROLES, "all")["rules"] == rules("a", "b")
        await world.delete(ROLES, "a")
        await world.settle(controller)
        assert world.get(ROLES, "all")["rules"] == rules("b")
        assert world.get(ROLES, "plain")["rules"] == rules("mine")
