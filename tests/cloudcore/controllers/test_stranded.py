"""Pods whose Node was deleted: they go in a while, unless the Node is there again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cloudcore.controllers.stranded.controller import StrandedController
from cloudcore.controllers.stranded.plan import QUARANTINE_S, with_end
from skerry.objects.json import JsonObject
from tests.cloudcore.worlds import World, make_world

POD: Any = {"metadata": {"name": "p"}, "spec": {"nodeName": "gw", "containers": []}}


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    async with make_world() as made:
        await made.create("nodes", {"metadata": {"name": "gw"}})
        await made.create("pods", POD)
        yield made


async def again(world: World, controller: StrandedController) -> None:
    """What the queue does when the time is over."""
    world.later["p"] = await controller.reconcile(world.key("pods", "p")) or 0.0


async def test_a_pod_goes_some_time_after_its_node(world: World):
    controller = StrandedController(world.tools)
    await world.settle(controller)
    assert world.later == {}, "its node is there"
    await world.delete("nodes", "gw")
    await world.settle(controller)
    assert world.later["p"] == QUARANTINE_S
    world.clock.advance(QUARANTINE_S - 1)
    await again(world, controller)
    assert world.later["p"] == 1 and world.names("pods") == ["p"]
    world.clock.advance(1)
    await again(world, controller)
    assert world.names("pods") == []


async def test_one_whose_node_is_there_again_stays_and_has_its_while_anew(world: World):
    controller = StrandedController(world.tools)
    await world.delete("nodes", "gw")
    await world.settle(controller)
    world.clock.advance(QUARANTINE_S - 1)
    await world.create("nodes", {"metadata": {"name": "gw"}})
    await world.settle(controller)
    world.clock.advance(100)
    await again(world, controller)
    assert world.names("pods") == ["p"]
    await world.delete("nodes", "gw")
    await world.settle(controller)
    assert world.later["p"] == QUARANTINE_S


async def test_another_pod_of_the_same_name_has_a_while_of_its_own(world: World):
    controller = StrandedController(world.tools)
    await world.delete("nodes", "gw")
    await world.settle(controller)
    world.clock.advance(QUARANTINE_S - 1)
    await world.delete("pods", "p", grace_s=0)
    await world.create("pods", POD)
    await world.settle(controller)
    assert world.later["p"] == QUARANTINE_S


async def test_one_that_waits_for_its_end_goes_too(world: World):
    controller = StrandedController(world.tools)
    await world.delete("pods", "p")
    await world.delete("nodes", "gw")
    await world.settle(controller)
    world.clock.advance(QUARANTINE_S)
    await again(world, controller)
    assert world.names("pods") == []


def test_its_end_is_told_as_no_failure_of_its_own():
    running: JsonObject = {"status": {"phase": "Running", "podIP": "1.1.1.1"}}
    ended: Any = with_end(running, now_ms=0)
    assert ended["status"]["phase"] == "Failed" and ended["status"]["podIP"] == "1.1.1.1"
    [condition] = ended["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("DisruptionTarget", "DeletionByPodGC")
    assert with_end({"status": {"phase": "Succeeded"}}, now_ms=0)["status"]["phase"] == "Succeeded"  # type: ignore[index, call-overload]
