"""The scheduler with a real registry: binding, explaining, and coming back."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cloudcore.runtime.manager import run_controllers
from cloudcore.scheduler.ask import ask_of
from cloudcore.scheduler.cluster import Cluster
from cloudcore.scheduler.decide import decide
from cloudcore.scheduler.scheduler import Scheduler
from tests.cloudcore.scheduler.fleet import node, pod
from tests.cloudcore.worlds import World, make_world


@asynccontextmanager
async def scheduling() -> AsyncGenerator[World, None]:
    async with make_world() as world, asyncio.TaskGroup() as tasks:
        scheduler = Scheduler(world.tools)
        running = [
            tasks.create_task(run_controllers(world.cache, world.clock, [], [scheduler])),
            tasks.create_task(scheduler.run()),
        ]
        yield world
        for task in running:
            task.cancel()


async def until(world: World, condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        changes = world.cache.watch(None)
        while not condition():
            await anext(changes)


def scheduled(world: World, name: str = "p") -> Any:
    conditions = world.get("pods", name)["status"].get("conditions", [])
    return next((found for found in conditions if found["type"] == "PodScheduled"), {})


async def test_a_pod_is_bound_and_that_is_told():
    async with scheduling() as world:
        await world.create("nodes", node("eu-1"))
        await world.create("pods", pod())
        await until(world, lambda: world.events("Scheduled"))
        assert world.get("pods", "p")["spec"]["nodeName"] == "eu-1"
        assert scheduled(world)["status"] == "True"
        assert world.events("Scheduled")[0]["message"] == "Successfully assigned d/p to eu-1"


async def test_a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_comes():
    async with scheduling() as world:
        await world.create("nodes", node("eu-1", cpu="1"))
        await world.create("pods", pod(cpu="2"))
        await until(world, lambda: world.events("FailedScheduling"))
        text = "0/1 nodes are available: 1 Insufficient cpu."
        assert (scheduled(world)["reason"], scheduled(world)["message"]) == ("Unschedulable", text)
        assert world.events("FailedScheduling")[0]["message"] == text
        world.clock.advance(2)
        await world.create("nodes", node("eu-2"))
        await until(world, lambda: scheduled(world)["status"] == "True")
        assert world.get("pods", "p")["spec"]["nodeName"] == "eu-2"


async def test_a_node_that_cannot_be_read_gets_nothing_and_ends_nobody():
    async with scheduling() as world:
        await world.create("nodes", node("odd", cpu="abc"))
        await world.create("nodes", node("eu-1"))
        await world.create("pods", pod())
        await until(world, lambda: world.events("Scheduled"))
        assert world.get("pods", "p")["spec"]["nodeName"] == "eu-1"


async def test_room_that_a_finished_pod_leaves_is_used():
    async with scheduling() as world:
        await world.create("nodes", node("eu-1", cpu="1"))
        await world.create("pods", pod("first", cpu="1"))
        await until(world, lambda: scheduled(world, "first"))
        await world.create("pods", pod("second", cpu="1"))
        await until(world, lambda: world.events("FailedScheduling"))
        world.clock.advance(2)
        await world.set_status("pods", "first", phase="Succeeded")
        await until(world, lambda: scheduled(world, "second").get("status") == "True")


async def test_other_schedulers_pods_and_gated_ones_are_left_alone():
    async with scheduling() as world:
        await world.create("nodes", node("eu-1"))
        await world.create("pods", pod("other", schedulerName="mine"))
        await world.create("pods", pod("gated", schedulingGates=[{"name": "wait"}]))
        await world.create("pods", pod("p"))
        await until(world, lambda: scheduled(world) and scheduled(world, "gated"))
        assert scheduled(world, "gated")["reason"] == "SchedulingGated"
        assert "nodeName" not in world.get("pods", "other")["spec"]
        await world.set_spec("pods", "gated", schedulingGates=[])
        await until(world, lambda: scheduled(world, "gated")["status"] == "True")


async def test_no_node_is_given_more_than_it_has_however_fast_pods_come():
    async with scheduling() as world:
        for number in range(3):
            await world.create("nodes", node(f"n{number}", cpu="2"))
        for number in range(10):
            await world.create("pods", pod(f"p{number}", cpu="1"))
        await until(world, lambda: len(world.events("Scheduled")) == 6 and len(world.events("FailedScheduling")) == 4)
        placed = [found["spec"].get("nodeName") for found in world.all("pods")]
        assert sorted(name for name in placed if name) == ["n0", "n0", "n1", "n1", "n2", "n2"]


def test_five_hundred_nodes_are_looked_through_fast_enough():
    """The pure part of a decision; a bound far above what it takes, to notice a change of its order only."""
    made = Cluster()
    for number in range(500):
        made.put_node(node(f"n{number}", labels={"zone": str(number % 5)}))
    begin = time.process_time()
    start = 0
    for number in range(500):
        ask = ask_of(pod(f"p{number}", cpu="100m", owner="rs", nodeSelector={"zone": "1"}))
        decision = decide(ask, made, start=start)
        start += decision.looked_at
        made.put_pod(ask, decision.node)
    assert time.process_time() - begin < 5
