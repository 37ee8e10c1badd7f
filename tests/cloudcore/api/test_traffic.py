"""A node's traffic over the API."""

from __future__ import annotations

from tests.cloudcore.api.conftest import ApiWorld


async def test_a_node_s_traffic_is_a_subresource_of_it(world: ApiWorld) -> None:
    shown = await world.get("/api/v1/nodes/eu-1/traffic?sinceTime=2026-09-21T14:00:00Z")
    assert (shown["kind"], shown["metadata"]["name"]) == ("NodeTraffic", "eu-1")
    assert shown["since"] == "2026-09-21T14:00:00Z"
    assert shown["total"] == {"up": {"session": 5}, "down": {}, "wireUp": 100, "wireDown": 50}
    assert len(shown["hours"]) == len(shown["days"]) == 1
    assert shown["bandwidth"] == {"plan": "64kbit", "up": "64kbit", "down": "64kbit"}
    assert "bandwidth" not in await world.get("/api/v1/nodes/eu-2/traffic")
