"""A node's traffic over the API."""

from __future__ import annotations

from skerry.objects.times import time_text
from skerry.objects.traffic import HOUR_MS
from tests.cloudcore.api.conftest import ApiWorld


async def test_a_node_s_traffic_is_a_subresource_of_it(world: ApiWorld) -> None:
    now_ms = world.clock.wall_ms()
    hour_ms = now_ms - now_ms % HOUR_MS
    asked = time_text(hour_ms - HOUR_MS + 90_000)
    shown = await world.get(f"/api/v1/nodes/eu-1/traffic?sinceTime={asked}")
    assert (shown["kind"], shown["metadata"]["name"]) == ("NodeTraffic", "eu-1")
    assert shown["since"] == time_text(hour_ms - HOUR_MS), "the hour counts whole"
    assert shown["coveredSeconds"] == (now_ms - hour_ms + HOUR_MS) // 1000
    assert shown["total"] == {"up": {"session": 5}, "down": {}, "wireUp": 100, "wireDown": 50}
    assert len(shown["hours"]) == len(shown["days"]) == 1
    assert shown["bandwidth"] == {"plan": "64kbit", "up": "64kbit", "down": "64kbit"}
    assert "bandwidth" not in await world.get("/api/v1/nodes/eu-2/traffic")


async def test_a_node_that_never_was_is_not_found_and_a_deleted_one_has_its_past(world: ApiWorld) -> None:
    replied = await world.ask("GET", "/api/v1/nodes/nosuch/traffic")
    assert (replied.code, replied.message) == (404, 'nodes "nosuch" not found')
    assert (await world.get("/api/v1/nodes/eu-2/traffic"))["total"]["wireUp"] == 100


async def test_a_node_that_has_told_nothing_covers_the_time_since_it_is_there(world: ApiWorld) -> None:
    await world.post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new"}})
    world.clock.advance(90)
    shown = await world.get("/api/v1/nodes/new/traffic")
    assert (shown["coveredSeconds"], shown["total"]["wireUp"], shown["hours"]) == (90, 0, [])


async def test_a_time_to_come_is_refused(world: ApiWorld) -> None:
    later = time_text(world.clock.wall_ms() + HOUR_MS)
    replied = await world.ask("GET", f"/api/v1/nodes/eu-1/traffic?sinceTime={later}")
    assert replied.code == 400 and "lies in the future" in replied.message
