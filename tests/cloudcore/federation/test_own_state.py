"""What a region says of itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from cloudcore.federation.own_state import own_state, told_pods
from cloudcore.scheduler.ask import requests_of
from skerry.objects.federation import REGION_OBJECTS, Target, row_name
from skerry.objects.rooms import ROWS_MAX
from skerry.objects.times import time_text
from tests.cloudcore.hub.fleet import eventually
from tests.cloudcore.worlds import World, make_world


def node(name: str, *, ready: str = "True", cordoned: bool = False) -> Any:
    status = {
        "conditions": [{"type": "Ready", "status": ready}],
        "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "8"},
    }
    labels = {"topology.kubernetes.io/zone": name, "topology.kubernetes.io/region": "eu"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"unschedulable": cordoned}, "status": status}


def pod(name: str, *, node_name: str = "") -> Any:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    made: Any = {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [container]}}
    if node_name:
        made["spec"]["nodeName"] = node_name
    return made


async def wait_for_a_node(world: World, name: str) -> None:
    await world.create("pods", pod(name))
    since = time_text(world.clock.wall_ms())
    told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since}
    await world.set_status("pods", name, conditions=[told])


async def test_a_region_tells_what_is_free_on_nodes_that_take_pods() -> None:
    async with make_world() as world:
        await world.create("nodes", node("a"))
        await world.create("nodes", node("b", ready="False"))
        await world.create("nodes", node("c", cordoned=True))
        await world.create("pods", pod("one", node_name="a"))
        await eventually(lambda: len(world.cache.select("pods")) == 1, "the cache has all")
        told = await own_state(world.tools, requests_of, steady_ms=world.clock.wall_ms())
    assert told["room"] == [{"nodes": 1, "cpuMillis": 960, "memoryBytes": 3 * 2**30, "pods": 7}]
    assert (told["nodes"], told["zones"], told["region"]) == (3, ["a", "b", "c"], "eu")


@pytest.mark.parametrize("step_ms", [0, 3_600_000, -3_600_000, 31_536_000_000, -31_536_000_000])
async def test_a_region_tells_whose_pods_have_found_no_node_for_long(step_ms: int) -> None:
    """Neither sooner nor later for a clock that was set, before they began to wait or since."""
    async with make_world() as world:
        steady_ms = world.clock.wall_ms() - round(world.clock.monotonic_s() * 1000)
        target = Target(api_version="apps/v1", kind="Deployment", namespace="d", name="web")
        name = row_name("north", target)
        where = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "d", "name": "web"}
        manifest = {"spec": {"selector": {"matchLabels": {"app": "web"}}}}
        await world.create(
            REGION_OBJECTS, {"metadata": {"name": name}, "spec": {"object": where, "manifest": manifest}}
        )
        world.clock.advance(1000)
        await wait_for_a_node(world, "long")
        world.clock.advance(61)
        await wait_for_a_node(world, "new")
        world.clock.step_wall(step_ms)
        await wait_for_a_node(world, "later")
        steady_ms += round(world.clock.monotonic_s() * 1000)
        await world.create("pods", pod("runs", node_name="a"))
        await eventually(lambda: len(world.cache.select("pods")) == 4, "the cache has all")
        told = await own_state(world.tools, requests_of, steady_ms=steady_ms)
        assert (told["bound"], told["waiting"]) == ({name: 1}, {name: 1})
        world.clock.advance(60)
        told = await own_state(world.tools, requests_of, steady_ms=steady_ms + 60_000)
        assert told["waiting"] == {name: 3}


def test_of_more_rows_than_are_told_those_that_wait_are_told_whole() -> None:
    bound = Counter({f"r.{number:04}": 2 for number in range(ROWS_MAX + 10)})
    bound["r.waits"] = 1
    told, waits = told_pods(bound, Counter({"r.waits": 3}))
    assert (len(told), told["r.waits"], waits) == (ROWS_MAX, 1, {"r.waits": 3})
