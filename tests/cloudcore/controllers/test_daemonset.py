"""DaemonSets: their pods, updates, revisions and status, by the controller in a control plane in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cloudcore.controllers.daemonset.controller import DaemonSetController
from cloudcore.controllers.daemonset.nodes import node_of
from cloudcore.controllers.garbage.controller import GarbageController
from tests.cloudcore.worlds import World, make_world

SETS, REVISIONS = "daemonsets.apps", "controllerrevisions.apps"


def template(image: str, **spec: Any) -> Any:
    return {
        "metadata": {"labels": {"app": "agent"}},
        "spec": {"containers": [{"name": "c", "image": image}], **spec},
    }


class Fleet:
    """Three gateways, and a DaemonSet `agent` for all."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.controller = DaemonSetController(world.tools)

    async def node(self, name: str, ready: str = "True", **labels: str) -> None:
        await self.world.create("nodes", {"metadata": {"name": name, "labels": labels}})
        await self.ready(name, ready)

    async def ready(self, name: str, status: str) -> None:
        await self.world.set_status("nodes", name, conditions=[{"type": "Ready", "status": status}])

    async def make(self, **spec: Any) -> None:
        wanted = {"selector": {"matchLabels": {"app": "agent"}}, "template": template("v1"), **spec}
        await self.world.create(SETS, {"metadata": {"name": "agent", "annotations": {"team": "a"}}, "spec": wanted})
        await self.roll()

    async def settle(self) -> None:
        await self.world.settle(self.controller)

    async def roll(self) -> None:
        """Controller, scheduler and kubelets of the nodes that are heard, in turn until nothing changes."""
        for _ in range(40):
            before = await self.world.store.revision()
            await self.settle()
            await self._kubelets()
            if await self.world.store.revision() == before:
                return
        raise AssertionError("it does not end")

    async def _kubelets(self) -> None:
        for pod in self.world.all("pods"):
            name, node = pod["metadata"]["name"], self.where(pod)
            if self.world.get("nodes", node)["status"]["conditions"][0]["status"] != "True":
                continue
            if pod["metadata"].get("deletionTimestamp"):
                await self.world.delete("pods", name, grace_s=0)
            elif not pod["spec"].get("nodeName"):
                await self.world.update("pods", name, lambda obj, node=node: bound(obj, node), subresource="binding")
            elif pod["spec"]["containers"][0]["image"] != "broken" and pod["status"]["phase"] == "Pending":
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                await self.world.set_status("pods", name, phase="Running", conditions=[ready])

    @staticmethod
    def where(pod: Any) -> str:
        return node_of(pod)

    async def image(self, image: str) -> None:
        await self.world.set_spec(SETS, "agent", template=template(image))

    def images(self) -> dict[str, str]:
        pods = self.world.all("pods")
        assert len({self.where(pod) for pod in pods}) == len(pods), "one a node"
        return {self.where(pod): pod["spec"]["containers"][0]["image"] for pod in pods}

    @property
    def status(self) -> Any:
        return self.world.get(SETS, "agent")["status"]

    def revisions(self) -> dict[int, str]:
        found = sorted(self.world.all(REVISIONS), key=lambda obj: obj["revision"])
        return {obj["revision"]: obj["data"]["spec"]["template"]["spec"]["containers"][0]["image"] for obj in found}


def bound(obj: Any, node: str) -> Any:
    return {**obj, "spec": {**obj["spec"], "nodeName": node}}


@pytest.fixture
async def fleet() -> AsyncGenerator[Fleet]:
    async with make_world(real_rules=True) as world:
        made = Fleet(world)
        for name in ("gw-1", "gw-2", "gw-3"):
            await made.node(name)
        yield made


async def test_each_gateway_gets_a_pod_and_so_does_one_that_joins(fleet: Fleet):
    await fleet.make()
    assert fleet.images() == {"gw-1": "v1", "gw-2": "v1", "gw-3": "v1"}
    await fleet.node("gw-4")
    await fleet.roll()
    assert fleet.images()["gw-4"] == "v1"
    assert fleet.status == {
        "currentNumberScheduled": 4,
        "desiredNumberScheduled": 4,
        "numberAvailable": 4,
        "numberMisscheduled": 0,
        "numberReady": 4,
        "observedGeneration": 1,
        "updatedNumberScheduled": 4,
    }
    assert len(fleet.world.events("SuccessfulCreate")) == 4
    [revision] = fleet.world.all(REVISIONS)
    assert revision["metadata"]["annotations"] == {"team": "a"}
    assert revision["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet"
    code = revision["metadata"]["labels"]["controller-revision-hash"]
    assert revision["metadata"]["name"] == f"agent-{code}"
    assert {pod["metadata"]["labels"]["controller-revision-hash"] for pod in fleet.world.all("pods")} == {code}


async def test_a_node_that_is_not_meant_any_more_loses_its_pod(fleet: Fleet):
    await fleet.make(template=template("v1", nodeSelector={"zone": "eu"}))
    assert fleet.images() == {} and fleet.status["desiredNumberScheduled"] == 0
    labelled = {"metadata": {"name": "gw-2", "labels": {"zone": "eu"}}}
    await fleet.world.update(
        "nodes", "gw-2", lambda obj: {**obj, "metadata": {**obj["metadata"], **labelled["metadata"]}}
    )
    await fleet.roll()
    assert fleet.images() == {"gw-2": "v1"}
    await fleet.world.update("nodes", "gw-2", lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {}}})
    await fleet.roll()
    assert fleet.images() == {}


async def test_an_update_goes_round_and_its_revisions_can_be_gone_back_to(fleet: Fleet):
    await fleet.make()
    await fleet.image("v2")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v2"}
    assert fleet.revisions() == {1: "v1", 2: "v2"}
    # As `kubectl rollout undo` does, that sends the revision's data back.
    [first] = [each for each in fleet.world.all(REVISIONS) if each["revision"] == 1]
    again = {name: value for name, value in first["data"]["spec"]["template"].items() if name != "$patch"}
    await fleet.world.set_spec(SETS, "agent", template=again)
    await fleet.roll()
    assert set(fleet.images().values()) == {"v1"}
    assert fleet.revisions() == {2: "v2", 3: "v1"}


async def test_a_broken_update_stays_at_its_first_gateway(fleet: Fleet):
    await fleet.make()
    await fleet.image("broken")
    await fleet.roll()
    assert sorted(fleet.images().values()) == ["broken", "v1", "v1"]
    assert fleet.status["numberUnavailable"] == 1
    await fleet.image("v3")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v3"}


async def test_on_delete_updates_who_is_deleted(fleet: Fleet):
    await fleet.make(updateStrategy={"type": "OnDelete"})
    await fleet.image("v2")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v1"} and fleet.status.get("updatedNumberScheduled", 0) == 0
    [one] = [pod["metadata"]["name"] for pod in fleet.world.all("pods") if fleet.where(pod) == "gw-2"]
    await fleet.world.delete("pods", one)
    await fleet.roll()
    assert fleet.images() == {"gw-1": "v1", "gw-2": "v2", "gw-3": "v1"}


async def test_gateways_that_are_away_keep_their_pods_and_are_updated_when_they_are_back(fleet: Fleet):
    await fleet.make()
    for name in ("gw-1", "gw-2"):
        await fleet.ready(name, "Unknown")
    await fleet.image("v2")
    await fleet.roll()
    assert fleet.images() == {"gw-1": "v1", "gw-2": "v1", "gw-3": "v2"}
    assert not any("deletionTimestamp" in pod["metadata"] for pod in fleet.world.all("pods"))
    assert (fleet.status["desiredNumberScheduled"], fleet.status["updatedNumberScheduled"]) == (1, 1)
    assert "gw-1, gw-2" in fleet.status["conditions"][0]["message"]
    assert len(fleet.world.events("NodesAway")) == 1
    await fleet.ready("gw-1", "True")
    await fleet.roll()
    assert fleet.images() == {"gw-1": "v2", "gw-2": "v1", "gw-3": "v2"}
    await fleet.ready("gw-2", "True")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v2"}
    assert "conditions" not in fleet.status and fleet.status["desiredNumberScheduled"] == 3


async def test_a_failed_pod_is_replaced_and_the_next_has_to_wait(fleet: Fleet):
    await fleet.make()
    for _ in range(2):
        [name] = [pod["metadata"]["name"] for pod in fleet.world.all("pods") if fleet.where(pod) == "gw-1"]
        await fleet.world.set_status("pods", name, phase="Failed", conditions=[])
        await fleet.settle()
    assert fleet.world.later["agent"] == pytest.approx(1.0)
    assert len(fleet.world.events("FailedDaemonPod")) == 1


async def test_a_clock_that_is_set_back_holds_up_no_replacement(fleet: Fleet):
    await fleet.make()
    for failure in range(2):
        if failure:
            fleet.world.clock.step_wall(-3_600_000)
            fleet.world.clock.advance(2.0)
        [name] = [pod["metadata"]["name"] for pod in fleet.world.all("pods") if fleet.where(pod) == "gw-1"]
        await fleet.world.set_status("pods", name, phase="Failed", conditions=[])
        await fleet.settle()
    assert len(fleet.world.events("FailedDaemonPod")) == 2


async def test_a_pod_that_nobody_controls_is_adopted_and_updated(fleet: Fleet):
    stray = {"metadata": {"name": "stray", "labels": {"app": "agent"}}, "spec": template("v0")["spec"]}
    stray["spec"]["nodeName"] = "gw-1"
    await fleet.world.create("pods", stray)
    await fleet.make(updateStrategy={"type": "OnDelete"})
    assert fleet.world.get("pods", "stray")["metadata"]["ownerReferences"][0]["name"] == "agent"
    assert fleet.images() == {"gw-1": "v0", "gw-2": "v1", "gw-3": "v1"}
    await fleet.world.set_spec(SETS, "agent", updateStrategy={"type": "RollingUpdate"})
    await fleet.roll()
    assert set(fleet.images().values()) == {"v1"}


async def test_old_revisions_go_beyond_the_limit_but_none_that_a_pod_is_of(fleet: Fleet):
    await fleet.make(revisionHistoryLimit=1)
    await fleet.ready("gw-1", "Unknown")
    for image in ("v2", "v3", "v4"):
        await fleet.image(image)
        await fleet.roll()
    assert fleet.revisions() == {1: "v1", 4: "v4"}
    assert fleet.images()["gw-1"] == "v1"


async def test_twins_of_the_present_revision_become_one(fleet: Fleet):
    await fleet.make()
    [one] = fleet.world.all(REVISIONS)
    metadata = {name: one["metadata"][name] for name in ("labels", "ownerReferences")}
    twin = {**one, "metadata": {**metadata, "name": "by-hand"}, "revision": 7}
    await fleet.world.create(REVISIONS, twin)
    await fleet.roll()
    assert fleet.world.names(REVISIONS) == ["by-hand"]
    assert set(fleet.images().values()) == {"v1"}


async def test_a_name_that_is_taken_leads_to_another(fleet: Fleet):
    await fleet.make()
    [name] = fleet.world.names(REVISIONS)
    async with make_world(real_rules=True) as world:
        other = Fleet(world)
        await other.node("gw-1")
        await world.create(REVISIONS, {"metadata": {"name": name}, "revision": 1, "data": {}})
        await other.make()
        assert other.status["collisionCount"] == 1
        assert len(world.names(REVISIONS)) == 2 and set(other.images().values()) == {"v1"}


@pytest.mark.parametrize("propagation", ["Foreground", "Background"])
async def test_a_deleted_set_takes_all_along_and_makes_nothing_anew(fleet: Fleet, propagation: Any):
    await fleet.make()
    await fleet.world.delete(SETS, "agent", propagation)
    garbage = GarbageController(fleet.world.tools)
    for _ in range(4):
        await fleet.world.settle(fleet.controller, garbage)
        await fleet.world.run_pods()
    assert [fleet.world.names(kind) for kind in (SETS, "pods", REVISIONS)] == [[], [], []]


async def test_orphaned_pods_are_adopted_by_the_set_that_comes_after(fleet: Fleet):
    await fleet.make()
    before = {pod["metadata"]["uid"] for pod in fleet.world.all("pods")}
    await fleet.world.delete(SETS, "agent", "Orphan")
    garbage = GarbageController(fleet.world.tools)
    await fleet.world.settle(fleet.controller, garbage)
    assert fleet.world.names(SETS) == [] and len(fleet.world.names("pods")) == 3
    await fleet.make()
    assert {pod["metadata"]["uid"] for pod in fleet.world.all("pods")} == before, "none was restarted"
    assert len(fleet.world.names(REVISIONS)) == 1
