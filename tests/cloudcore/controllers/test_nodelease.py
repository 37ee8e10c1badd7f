"""Each node has a Lease."""

from __future__ import annotations

from typing import Any

from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.nodelease.controller import NodeLeaseController
from skerry.objects.node_leases import LEASES, NAMESPACE
from tests.cloudcore.worlds import make_world


def node(name: str) -> Any:
    return {"metadata": {"name": name}}


async def test_a_node_gets_a_lease_and_gets_it_again_when_somebody_deletes_it() -> None:
    async with make_world() as world:
        controller = NodeLeaseController(world.tools)
        await world.create("nodes", node("g1"))
        await world.settle(controller)
        (lease,) = world.all(LEASES)
        assert (lease["metadata"]["namespace"], lease["metadata"]["name"]) == (NAMESPACE, "g1")
        assert lease["spec"] == {"holderIdentity": "g1", "leaseDurationSeconds": 40}
        await world.tools.objects.delete(world.tools.kind(LEASES), world.key(LEASES, "g1", NAMESPACE))
        await world.settle(controller)
        assert world.names(LEASES) == ["g1"]


async def test_it_goes_with_its_node_and_another_node_of_the_name_gets_its_own() -> None:
    async with make_world() as world:
        lease, garbage = NodeLeaseController(world.tools), GarbageController(world.tools)
        await world.create("nodes", node("g1"))
        await world.settle(lease, garbage)
        await world.tools.objects.delete(world.tools.kind("nodes"), world.key("nodes", "g1"))
        await world.settle(lease, garbage)
        assert world.names(LEASES) == []
        await world.create("nodes", node("g1"))
        await world.settle(lease, garbage)
        (again,) = world.all(LEASES)
        (owner,) = again["metadata"]["ownerReferences"]
        assert owner["uid"] == world.all("nodes")[0]["metadata"]["uid"]


async def test_one_that_was_there_before_is_taken_over_with_what_it_says() -> None:
    async with make_world() as world:
        made = {"metadata": {"name": "g1"}, "spec": {"holderIdentity": "kubelet", "leaseDurationSeconds": 10}}
        await world.create(LEASES, made, NAMESPACE)
        await world.create("nodes", node("g1"))
        await world.settle(NodeLeaseController(world.tools))
        (lease,) = world.all(LEASES)
        assert lease["spec"]["holderIdentity"] == "kubelet"
        assert [each["name"] for each in lease["metadata"]["ownerReferences"]] == ["g1"]
