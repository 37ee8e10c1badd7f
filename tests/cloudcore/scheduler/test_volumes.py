"""Where a pod's volumes let it go, what its claims get there, and the words when there is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from cloudcore.controllers.volume.controller import VolumeController
from cloudcore.runtime.manager import run_controllers
from cloudcore.scheduler.ask import ask_of
from cloudcore.scheduler.cluster import Cluster
from cloudcore.scheduler.decide import Decision, decide
from cloudcore.scheduler.scheduler import Scheduler
from cloudcore.scheduler.volumes import NO_NEEDS, needs_of
from skerry.objects.meta import name_of
from skerry.objects.volumes import BIND_COMPLETED, SELECTED_NODE
from tests.cloudcore.scheduler.fleet import node
from tests.cloudcore.scheduler.test_scheduler import scheduled, until
from tests.cloudcore.storage import claim, local_class, on, reference, user, volume
from tests.cloudcore.worlds import World, make_world


class Shelf:
    """Storage as a few objects."""

    def __init__(self, *objs: Any, classes: Sequence[Any] = ()) -> None:
        self._claims = {obj["metadata"]["name"]: obj for obj in objs if "resources" in obj["spec"]}
        self._volumes = {obj["metadata"]["name"]: obj for obj in objs if "capacity" in obj["spec"]}
        self._classes = {obj["metadata"]["name"]: obj for obj in classes}

    def claim(self, namespace: str, name: str) -> Any:
        return self._claims.get(name)

    def volume(self, name: str) -> Any:
        return self._volumes.get(name)

    def storage_class(self, name: str) -> Any:
        return self._classes.get(name)

    def candidates(self, claim: Any) -> Any:
        return list(self._volumes.values())


NODES = (node("a"), node("b"))


def placed(pod: Any, shelf: Shelf, *nodes: Any, on_a: Sequence[Any] = (), taken: Sequence[str] = ()) -> Decision:
    cluster = Cluster()
    for each in nodes or NODES:
        cluster.put_node(each)
    for each in on_a:
        cluster.put_pod(ask_of(each), "a")
    ask = ask_of({**pod, "metadata": {"uid": "pod", **pod["metadata"]}})
    return decide(ask, cluster, needs=needs_of(ask, shelf, frozenset(taken)))


def why(pod: Any, shelf: Shelf, **more: Any) -> str:
    decision = placed(pod, shelf, **more)
    assert not decision.node
    return decision.message.removeprefix("0/2 nodes are available: ")


def bound(name: str = "data", to: str = "pv") -> Any:
    made = claim(name, volumeName=to)
    made["metadata"]["annotations"] = {BIND_COMPLETED: "yes"}
    return made


def lazy(name: str = "data", size: str = "1Gi", **spec: Any) -> Any:
    return claim(name, size, uid=name, storageClassName="local", **spec)


def free(name: str, size: str = "1Gi", *hosts: str) -> Any:
    return volume(name, size, phase="Available", storageClassName="local", nodeAffinity=on(*hosts or ("a",)))


STATIC = local_class(provisioner="kubernetes.io/no-provisioner")


def test_a_pod_goes_where_its_volume_is():
    shelf = Shelf(bound(), volume(nodeAffinity=on("b")))
    assert placed(user("p", "data"), shelf).node == "b"
    assert placed(user("p", "data"), Shelf(bound(), volume())).node == "a"
    shelf = Shelf(bound(), volume(nodeAffinity=on("c")))
    assert why(user("p", "data"), shelf) == "2 node(s) didn't match PersistentVolume's node affinity."


@pytest.mark.parametrize(
    ("shelf", "text"),
    [
        (Shelf(), 'persistentvolumeclaim "data" not found.'),
        (Shelf(claim()), "pod has unbound immediate PersistentVolumeClaims."),
        (Shelf(claim(storageClassName="gone")), "pod has unbound immediate PersistentVolumeClaims."),
        (
            Shelf(claim(storageClassName="local", volumeName="pv"), classes=[STATIC]),
            "pod has unbound immediate PersistentVolumeClaims.",
        ),
        (Shelf(bound()), "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)."),
        (
            Shelf(bound() | {"status": {"phase": "Lost"}}),
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv".',
        ),
        (Shelf(lazy(), classes=[STATIC]), "2 node(s) didn't find available persistent volumes to bind."),
    ],
)
def test_the_words_are_those_of_kubernetes(shelf, text):
    assert why(user("p", "data"), shelf) == text


def test_a_claim_that_goes_is_used_no_more():
    going = bound()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert why(user("p", "data"), Shelf(going, volume())) == 'persistentvolumeclaim "data" is being deleted.'


def test_free_volumes_are_shared_out_and_each_is_given_once():
    shelf = Shelf(lazy("one"), lazy("two"), free("x", "1Gi", "a", "b"), free("y", "2Gi", "b"), classes=[STATIC])
    decision = placed(user("p", "one", "two"), shelf)
    assert decision.node == "b"
    names = {name_of(each.claim): name_of(each.volume or {}) for each in decision.volumes}
    assert sorted(names) == ["one", "two"]
    assert sorted(names.values()) == ["x", "y"]
    text = "2 node(s) didn't find available persistent volumes to bind."
    assert why(user("p", "one", "two"), shelf, taken=["x"]) == text


def test_the_small_claim_leaves_the_large_volume_to_the_large_one():
    shelf = Shelf(lazy("big", "5Gi"), lazy("small"), free("five", "5Gi"), free("one"), classes=[STATIC])
    given = placed(user("p", "big", "small"), shelf).volumes
    assert {name_of(each.claim): name_of(each.volume) for each in given if each.volume} == {
        "small": "one",
        "big": "five",
    }


def test_where_none_is_free_one_is_made_unless_the_class_does_not_reach_there():
    shelf = Shelf(lazy(), free("far", "1Gi", "c"), classes=[local_class()])
    (given,) = placed(user("p", "data"), shelf).volumes
    assert given.volume is None
    only = [{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["b"]}]}]
    shelf = Shelf(lazy(), classes=[local_class(allowedTopologies=only)])
    assert placed(user("p", "data"), shelf).node == "b"


def test_a_claim_whose_volume_is_being_made_keeps_its_node():
    selected = lazy()
    selected["metadata"]["annotations"] = {SELECTED_NODE: "b"}
    shelf = Shelf(selected, free("x"), classes=[local_class()])
    decision = placed(user("p", "data"), shelf)
    assert decision.node == "b"
    assert decision.volumes[0].volume is None


def test_a_claim_for_one_pod_is_given_to_no_second():
    alone = bound()
    alone["spec"]["accessModes"] = ["ReadWriteOncePod"]
    shelf = Shelf(alone, volume(accessModes=["ReadWriteOncePod"]))
    text = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode."
    assert why(user("p", "data"), shelf, on_a=[user("q", "data")]) == text
    elsewhere = user("q", "data")
    elsewhere["metadata"]["namespace"] = "other"
    assert placed(user("p", "data"), shelf, on_a=[elsewhere]).node
    assert placed(user("p", "data"), Shelf(bound(), volume()), on_a=[user("q", "data")]).node


def ephemeral() -> Any:
    pod = user("p")
    pod["spec"]["volumes"] = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim()["spec"]}}}]
    return pod


def test_an_ephemeral_claim_has_to_be_the_pods_own():
    text = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v".'
    assert why(ephemeral(), Shelf()) == text
    other = bound("p-v")
    assert why(ephemeral(), Shelf(other, volume())) == ("PVC d/p-v was not created for pod d/p (pod is not owner).")
    other["metadata"]["ownerReferences"] = [{"uid": "pod", "controller": True}]
    assert placed(ephemeral(), Shelf(other, volume())).node == "a"


def test_a_pod_without_claims_asks_nothing():
    ask = ask_of(user("p"))
    assert needs_of(ask, Shelf()) == NO_NEEDS


# --- the scheduler and the binder of volumes together ---


async def together(world: World, tasks: asyncio.TaskGroup) -> list[asyncio.Task[Any]]:
    scheduler = Scheduler(world.tools)
    controllers = [VolumeController(world.tools)]
    return [
        tasks.create_task(run_controllers(world.cache, world.clock, controllers, [scheduler])),
        tasks.create_task(scheduler.run()),
    ]


async def test_the_first_pod_decides_where_its_claim_has_its_volume():
    async with make_world() as world, asyncio.TaskGroup() as tasks:
        running = await together(world, tasks)
        await world.create("storageclasses.storage.k8s.io", local_class())
        await world.create("nodes", node("eu-1"))
        await world.create("persistentvolumeclaims", claim(storageClassName="local"))
        await world.create("pods", user("p", "data"))
        await until(world, lambda: world.events("Scheduled"))
        mine = world.get("persistentvolumeclaims", "data")
        assert mine["status"]["phase"] == "Bound"
        assert mine["metadata"]["annotations"][SELECTED_NODE] == "eu-1"
        assert world.get("persistentvolumes", mine["spec"]["volumeName"])["spec"]["nodeAffinity"] == on("eu-1")
        await world.create("nodes", node("eu-0"))
        await world.create("pods", user("q", "data"))
        await until(world, lambda: scheduled(world, "q").get("status") == "True")
        assert world.get("pods", "q")["spec"]["nodeName"] == "eu-1"
        for task in running:
            task.cancel()


async def test_of_two_pods_that_want_the_last_free_volume_one_waits():
    async with make_world() as world, asyncio.TaskGroup() as tasks:
        running = await together(world, tasks)
        await world.create("storageclasses.storage.k8s.io", STATIC)
        await world.create("nodes", node("a"))
        await world.create("persistentvolumes", volume("x", storageClassName="local", nodeAffinity=on("a")))
        await until(world, lambda: world.get("persistentvolumes", "x")["status"].get("phase") == "Available")
        for name in ("one", "two"):
            await world.create("persistentvolumeclaims", claim(name, storageClassName="local"))
            await world.create("pods", user(name, name))
        await until(world, lambda: world.events("Scheduled") and world.events("FailedScheduling"))
        assert world.get("persistentvolumes", "x")["spec"]["claimRef"]["name"] in ("one", "two")
        await world.create("persistentvolumes", volume("y", storageClassName="local", nodeAffinity=on("a")))
        await until(world, lambda: world.get("persistentvolumes", "y")["status"].get("phase") == "Available")
        world.clock.advance(20)  # the longest backoff is over, and a change of storage makes it look
        await world.create("persistentvolumeclaims", claim("third"))
        await until(world, lambda: len(world.events("Scheduled")) == 2)
        for task in running:
            task.cancel()


async def test_a_pod_that_goes_while_it_waits_for_its_volume_holds_no_room():
    async with make_world() as world, asyncio.TaskGroup() as tasks:
        running = await together(world, tasks)
        slow = local_class(provisioner="example.com/slow")
        await world.create("storageclasses.storage.k8s.io", slow)
        await world.create("nodes", node("a", pods="1"))
        await world.create("persistentvolumeclaims", claim(storageClassName="local"))
        await world.create("pods", user("p", "data"))
        await until(world, lambda: world.events("ExternalProvisioning"))
        await world.create("pods", user("q"))
        await until(world, lambda: world.events("FailedScheduling"))
        await world.delete("pods", "p")
        world.clock.advance(2)
        await until(world, lambda: scheduled(world, "q").get("status") == "True")
        for task in running:
            task.cancel()


async def test_a_volume_that_can_not_be_made_is_told_and_the_node_chosen_anew():
    async with make_world() as world, asyncio.TaskGroup() as tasks:
        running = await together(world, tasks)
        slow = local_class(provisioner="example.com/slow")
        await world.create("storageclasses.storage.k8s.io", slow)
        await world.create("nodes", node("a"))
        await world.create("persistentvolumeclaims", claim(storageClassName="local"))
        await world.create("pods", user("p", "data"))
        await until(world, lambda: world.events("ExternalProvisioning"))

        def failed(obj: Any) -> Any:  # as an external provisioner does that has no room there
            annotations = dict(obj["metadata"]["annotations"])
            del annotations[SELECTED_NODE]
            return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}

        await world.update("persistentvolumeclaims", "data", failed)
        await until(world, lambda: world.events("FailedScheduling"))
        assert world.events("FailedScheduling")[0]["message"] == (
            'running PreBind plugin "VolumeBinding": binding volumes: selectedNode annotation reset for PVC "data"'
        )
        world.clock.advance(2)
        await until(
            world,
            lambda: SELECTED_NODE in world.get("persistentvolumeclaims", "data")["metadata"]["annotations"],
        )
        await world.create("persistentvolumes", volume(storageClassName="local", claimRef=reference()))
        await until(world, lambda: scheduled(world).get("status") == "True")
        for task in running:
            task.cancel()
