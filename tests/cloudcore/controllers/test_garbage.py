"""Owners and dependents."""

from typing import Any

import pytest

from cloudcore.controllers.deployment.controller import DeploymentController
from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.garbage.plan import Collect, plan
from cloudcore.controllers.replicaset.controller import ReplicaSetController
from cloudcore.registry.port import Propagation
from tests.cloudcore.controllers.workloads import web
from tests.cloudcore.worlds import World, make_world


def reference(owner: Any, *, block: bool = True) -> Any:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": block,
    }


async def config(world: World, name: str, *owners: Any, block: bool = True) -> Any:
    references = [reference(owner, block=block) for owner in owners]
    return await world.create("configmaps", {"metadata": {"name": name, "ownerReferences": references}})


async def test_what_an_owner_leaves_behind_is_collected_down_to_the_leaves():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        a = await config(world, "a")
        b = await config(world, "b", a)
        await config(world, "c", b)
        await config(world, "free")
        await world.settle(garbage)
        assert world.names("configmaps") == ["a", "b", "c", "free"]
        await world.delete("configmaps", "a")
        await world.settle(garbage)
        assert world.names("configmaps") == ["free"]


async def test_an_owner_that_never_was_or_has_another_life_counts_as_gone():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        a = await config(world, "a")
        await config(world, "b", a | {"metadata": a["metadata"] | {"uid": "older"}})
        await world.settle(garbage)
        assert world.names("configmaps") == ["a"]


async def test_one_owner_that_stands_is_enough_and_the_others_are_forgotten():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        a, b = await config(world, "a"), await config(world, "b")
        await config(world, "c", a, b)
        await world.delete("configmaps", "a")
        await world.settle(garbage)
        [left] = world.get("configmaps", "c")["metadata"]["ownerReferences"]
        assert left["name"] == "b"


async def test_what_cannot_be_looked_up_is_not_deleted():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        stranger = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "uid": "u"}}
        await config(world, "a", stranger)
        await world.settle(garbage)
        assert world.names("configmaps") == ["a"]


async def test_a_foreground_deletion_waits_for_what_blocks_it():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        a = await config(world, "a")
        held = {"metadata": {"name": "b", "ownerReferences": [reference(a)], "finalizers": ["example.com/hold"]}}
        await world.create("configmaps", held)
        await config(world, "loose", a, block=False)
        await world.delete("configmaps", "a", "Foreground")
        await world.settle(garbage)
        assert world.names("configmaps") == ["a", "b"], "what does not block goes, and is not waited for"
        assert world.get("configmaps", "b")["metadata"]["deletionTimestamp"]
        await world.update("configmaps", "b", lambda obj: obj | {"metadata": obj["metadata"] | {"finalizers": []}})
        await world.settle(garbage)
        assert world.names("configmaps") == []


async def test_orphans_are_cut_loose_and_stay():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        a = await config(world, "a")
        await config(world, "b", a)
        await world.delete("configmaps", "a", "Orphan")
        await world.settle(garbage)
        assert world.names("configmaps") == ["b"]
        assert "ownerReferences" not in world.get("configmaps", "b")["metadata"]


async def test_a_circle_of_owners_does_not_hold_itself():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        pods = {
            name: await world.create("pods", {"metadata": {"name": name}, "spec": {}}) for name in ("p1", "p2", "p3")
        }
        for name, owner in (("p1", "p3"), ("p2", "p1"), ("p3", "p2")):
            references = [reference(pods[owner])]
            await world.update(
                "pods", name, lambda obj, r=references: obj | {"metadata": obj["metadata"] | {"ownerReferences": r}}
            )
        await world.delete("pods", "p1", "Foreground")
        await world.settle(garbage)
        assert world.names("pods") == []


async def test_one_that_waits_and_one_that_stands_leave_the_dependent():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        a, b = await config(world, "a"), await config(world, "b")
        await config(world, "both", a, b)
        await config(world, "one", a)
        await world.delete("configmaps", "a", "Foreground")
        await world.settle(garbage)
        assert world.names("configmaps") == ["b", "both"]


@pytest.mark.parametrize(("propagation", "sets"), [("Background", 0), ("Foreground", 0), ("Orphan", 1)])
async def test_a_deployment_is_deleted_whole_or_its_sets_are_orphaned(propagation: Propagation, sets: int):
    async with make_world() as world:
        tools = world.tools
        controllers = [GarbageController(tools), DeploymentController(tools), ReplicaSetController(tools)]
        await world.create("deployments.apps", web(replicas=2))
        await world.settle(*controllers)
        await world.delete("deployments.apps", "web", propagation)
        await world.settle(*controllers)
        assert world.names("deployments.apps") == []
        assert len(world.names("replicasets.apps")) == sets
        assert len(world.names("pods")) == 2 * sets


async def test_a_dependent_that_goes_by_itself_is_no_error():
    async with make_world() as world:
        garbage = GarbageController(world.tools)
        a = await config(world, "a")
        await config(world, "b", a)
        await world.delete("configmaps", "a")
        await world.delete("configmaps", "b")
        await world.settle(garbage)
        assert world.names("configmaps") == []


def dependent(*uids: str, **metadata: Any) -> Any:
    references = [{"uid": uid, "blockOwnerDeletion": True} for uid in uids]
    return {"metadata": {"name": "x", "uid": "x", "ownerReferences": references, **metadata}}


def test_what_waits_for_its_owner_goes_the_way_its_own_dependents_ask_for():
    leaf = dependent("a")
    assert plan(leaf, {"a": "waiting"}, []) == Collect(propagation="Background")
    assert plan(leaf, {"a": "waiting"}, [dependent("x")]) == Collect(propagation="Foreground")
    assert plan(leaf, {"a": "dangling"}, [dependent("x")]) == Collect(propagation="Background")
    assert plan(dependent("a", finalizers=["orphan"]), {"a": "dangling"}, []) == Collect(propagation="Orphan")
    assert plan(dependent("a", deletionTimestamp="t"), {"a": "dangling"}, []) is None
    assert plan(dependent(), {}, []) is None
