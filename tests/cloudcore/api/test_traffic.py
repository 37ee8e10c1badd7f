"""A node's traffic over the API."""

from __future__ import annotations

import pytest

from cloudcore.api.verbs.traffic import first_counted_ms
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


@pytest.mark.parametrize(
    ("begin_h", "made_h", "first_h"),
    [(2, 2.5, 2.5), (2, 3.5, 2), (2, 1.5, 1.5), (2, None, 2), (None, 2.5, 2.5), (None, None, 9)],
    ids=["made in the first hour", "made again since", "told nothing at first", "deleted", "told nothing", "neither"],
)
def test_a_day_is_reckoned_from_when_the_node_was_there(
    begin_h: float | None, made_h: float | None, first_h: float
) -> None:
    begin_ms, made_ms = (None if hours is None else round(hours * HOUR_MS) for hours in (begin_h, made_h))
    assert first_counted_ms(begin_ms, made_ms, 9 * HOUR_MS) == first_h * HOUR_MS
