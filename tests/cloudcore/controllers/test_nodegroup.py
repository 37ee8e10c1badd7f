"""Node groups, as KubeEdge's own integration tests have them, and what these leave out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.nodegroup.controller import NodeGroupController
from skerry.objects.node_groups import BELONGING_TO, FINALIZER, NODE_GROUPS
from skerry.objects.sites import ZONE_LABEL
from tests.cloudcore.worlds import World, make_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


@pytest.fixture
def controller(world: World) -> NodeGroupController:
    return NodeGroupController(world.tools)


async def node(world: World, name: str, *, ready: str = "True", **labels: str) -> None:
    await world.create("nodes", {"metadata": {"name": name, "labels": labels}})
    if ready:
        await world.set_status("nodes", name, conditions=[{"type": "Ready", "status": ready}])


async def group(world: World, name: str, **spec: Any) -> None:
    world.clock.advance(1)
    await world.create(NODE_GROUPS, {"metadata": {"name": name}, "spec": spec})


async def pod(world: World, name: str, on: str, group: str = "") -> None:
    selector = {BELONGING_TO: group} if group else {}
    await world.create("pods", {"metadata": {"name": name}, "spec": {"nodeName": on, "nodeSelector": selector}})


def groups(world: World) -> dict[str, str]:
    """Of each node."""
    return {
        each["metadata"]["name"]: each["metadata"].get("labels", {}).get(BELONGING_TO, "")
        for each in world.all("nodes")
    }


def told(world: World, name: str) -> dict[str, tuple[str, str, str]]:
    return {
        each["nodeName"]: (each["readyStatus"], each["selectionStatus"], each.get("selectionStatusReason", ""))
        for each in world.get(NODE_GROUPS, name)["status"]["nodeStatuses"]
    }


async def test_nodes_are_in_it_by_name_and_by_labels(world: World, controller: NodeGroupController) -> None:
    await node(world, "n1", site="eu")
    await node(world, "n2", ready="False")
    await node(world, "n3", ready="", site="us")
    await group(world, "eu", nodes=["n2", "n9"], matchLabels={"site": "eu"})
    await world.settle(controller)
    assert groups(world) == {"n1": "eu", "n2": "eu", "n3": ""}
    assert told(world, "eu") == {
        "n1": ("Ready", "Succeeded", ""),
        "n2": ("NotReady", "Succeeded", ""),
        "n9": ("Unknown", "Failed", "node does not exist"),
    }
    assert world.get(NODE_GROUPS, "eu")["metadata"]["finalizers"] == [FINALIZER]


async def test_a_node_that_comes_later_is_found(world: World, controller: NodeGroupController) -> None:
    await group(world, "eu", nodes=["n1"], matchLabels={"site": "eu"})
    await world.settle(controller)
    await node(world, "n1", ready="")
    await node(world, "n2", site="eu", ready="")
    await world.settle(controller)
    assert groups(world) == {"n1": "eu", "n2": "eu"}
    assert set(told(world, "eu")) == {"n1", "n2"}
    await world.set_status("nodes", "n1", conditions=[{"type": "Ready", "status": "True"}])
    await world.settle(controller)
    assert told(world, "eu")["n1"] == ("Ready", "Succeeded", "")


async def test_no_labels_are_no_nodes_and_empty_ones_are_all(world: World, controller: NodeGroupController) -> None:
    await node(world, "n1")
    await group(world, "none")
    await world.settle(controller)
    assert groups(world) == {"n1": ""}
    await group(world, "all", matchLabels={})
    await world.settle(controller)
    assert groups(world) == {"n1": "all"}


async def test_a_node_is_in_one_group_and_the_other_says_which(world: World, controller: NodeGroupController) -> None:
    await node(world, "n1", site="eu")
    await group(world, "first", matchLabels={"site": "eu"})
    await world.settle(controller)
    await group(world, "also", nodes=["n1"])
    await world.settle(controller)
    assert groups(world) == {"n1": "first"}
    why = "node n1 has already belonged to NodeGroup first"
    assert told(world, "also") == {"n1": ("Ready", "Failed", why)}
    await world.delete(NODE_GROUPS, "first")
    await world.settle(controller)
    assert groups(world) == {"n1": "also"}, "it recovers when the conflict ends"
    assert told(world, "also") == {"n1": ("Ready", "Succeeded", "")}
    assert world.get(NODE_GROUPS, "first") is None


async def test_of_two_groups_at_once_the_older_has_the_node(world: World, controller: NodeGroupController) -> None:
    await group(world, "zebra", nodes=["n1"])
    await group(world, "ant", nodes=["n1"])
    await node(world, "n1")
    await world.settle(controller)
    assert groups(world) == {"n1": "zebra"}


async def test_a_node_that_leaves_takes_no_pod_of_the_group_along(
    world: World, controller: NodeGroupController
) -> None:
    await node(world, "n1", site="eu")
    await group(world, "eu", matchLabels={"site": "eu"})
    await world.settle(controller)
    await pod(world, "ours", "n1", "eu")
    await pod(world, "anybodys", "n1")
    await world.settle(controller)
    assert world.names("pods") == ["anybodys", "ours"]
    await world.set_spec(NODE_GROUPS, "eu", matchLabels={"site": "us"})
    await world.settle(controller)
    await world.run_pods()
    assert groups(world) == {"n1": ""}
    assert world.names("pods") == ["anybodys"]
    assert told(world, "eu") == {}


async def test_a_group_goes_after_its_labels_and_pods(world: World, controller: NodeGroupController) -> None:
    await node(world, "n1")
    await group(world, "eu", nodes=["n1"])
    await world.settle(controller)
    await pod(world, "ours", "n1", "eu")
    await world.delete(NODE_GROUPS, "eu")
    assert world.get(NODE_GROUPS, "eu"), "its label is on a node"
    await world.settle(controller)
    await world.run_pods()
    assert world.get(NODE_GROUPS, "eu") is None
    assert groups(world) == {"n1": ""}
    assert world.names("pods") == []


async def test_a_label_of_a_group_that_is_not_there_is_taken_off(
    world: World, controller: NodeGroupController
) -> None:
    await node(world, "n1", **{BELONGING_TO: "ghost"})
    await world.settle(controller)
    assert groups(world) == {"n1": ""}


async def test_what_is_settled_is_not_written_again(world: World, controller: NodeGroupController) -> None:
    await node(world, "n1")
    await group(world, "eu", nodes=["n1"])
    await world.settle(controller)
    before = world.seen_until
    for key in (world.key("nodes", "n1"), world.key(NODE_GROUPS, "eu")):
        await controller.reconcile(key)
    assert await world.store.changes(after=before) == []


async def test_a_group_with_topology_is_the_zone_of_its_nodes(world: World, controller: NodeGroupController) -> None:
    await node(world, "n1")
    await node(world, "n2", **{ZONE_LABEL: "hall"})
    await world.create(
        NODE_GROUPS, {"metadata": {"name": "eu"}, "spec": {"nodes": ["n1", "n2"], "topologyEnabled": True}}
    )
    await world.settle(controller)

    def zones() -> list[str]:
        return [world.get("nodes", name)["metadata"].get("labels", {}).get(ZONE_LABEL, "") for name in ("n1", "n2")]

    assert zones() == ["eu", "hall"], "who has a zone keeps it"
    await world.set_spec(NODE_GROUPS, "eu", topologyEnabled=False)
    await world.settle(controller)
    assert zones() == ["", "hall"]
    await world.set_spec(NODE_GROUPS, "eu", topologyEnabled=True)
    await world.settle(controller)
    await world.set_spec(NODE_GROUPS, "eu", nodes=[])
    await world.settle(controller)
    assert zones() == ["", "hall"]
