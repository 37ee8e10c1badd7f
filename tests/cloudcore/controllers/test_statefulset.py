"""StatefulSets: pods, claims, updates and status, by the controller in a control plane in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.statefulset.controller import StatefulSetController
from tests.cloudcore.worlds import World, make_world

SETS, REVISIONS, CLAIMS = "statefulsets.apps", "controllerrevisions.apps", "persistentvolumeclaims"
CLAIM: Any = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}


def template(image: str) -> Any:
    return {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}}


class Fleet:
    """A StatefulSet `db` and kubelets that do what they are told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.order: list[str] = []
        """Pods in the order in which they came (`+`) and went (`-`)."""
        self.controllers = (StatefulSetController(world.tools), GarbageController(world.tools))

    async def make(self, replicas: int = 3, **spec: Any) -> None:
        wanted = {
            "replicas": replicas,
            "serviceName": "dbs",
            "selector": {"matchLabels": {"app": "db"}},
            "template": template("v1"),
            **spec,
        }
        await self.world.create(SETS, {"metadata": {"name": "db"}, "spec": wanted})
        await self.roll()

    async def roll(self) -> None:
        for _ in range(60):
            before = await self.world.store.revision()
            await self.world.settle(*self.controllers)
            await self.kubelets()
            if await self.world.store.revision() == before:
                return
        raise AssertionError("it does not end")

    async def kubelets(self) -> None:
        for pod in self.world.all("pods"):
            name = pod["metadata"]["name"]
            if pod["metadata"].get("deletionTimestamp"):
                self.order.append(f"-{name}")
                await self.world.delete("pods", name, grace_s=0)
            elif not pod["spec"].get("nodeName"):
                await self.world.update("pods", name, bound, subresource="binding")
            elif pod["status"]["phase"] == "Pending" and pod["spec"]["containers"][0]["image"] != "broken":
                self.order.append(f"+{name}")
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
                await self.world.set_status("pods", name, phase="Running", conditions=[ready])

    async def image(self, image: str) -> None:
        await self.world.set_spec(SETS, "db", template=template(image))

    def images(self) -> dict[str, str]:
        return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in self.world.all("pods")}

    @property
    def status(self) -> Any:
        return self.world.get(SETS, "db")["status"]


def bound(obj: Any) -> Any:
    return {**obj, "spec": {**obj["spec"], "nodeName": "gw"}}


@pytest.fixture
async def fleet() -> AsyncGenerator[Fleet]:
    async with make_world(real_rules=True) as world:
        yield Fleet(world)


async def test_pods_come_one_by_one_and_go_in_reverse(fleet: Fleet):
    await fleet.make()
    assert fleet.order == ["+db-0", "+db-1", "+db-2"]
    assert fleet.status["replicas"] == fleet.status["availableReplicas"] == fleet.status["currentReplicas"] == 3
    assert len(fleet.world.events("SuccessfulCreate")) == 3
    await fleet.world.set_spec(SETS, "db", replicas=1)
    await fleet.roll()
    assert fleet.order[3:] == ["-db-2", "-db-1"]
    said = {event["message"] for event in fleet.world.events("SuccessfulDelete")}
    assert said == {f"delete Pod db-{ordinal} in StatefulSet db successful" for ordinal in (1, 2)}


async def test_each_pod_has_its_claims_and_finds_them_again(fleet: Fleet):
    await fleet.make(2, volumeClaimTemplates=[CLAIM])
    assert fleet.world.names(CLAIMS) == ["data-db-0", "data-db-1"]
    pod = fleet.world.get("pods", "db-1")
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "data-db-1"
    await fleet.world.set_spec(SETS, "db", replicas=0)
    await fleet.roll()
    assert fleet.world.names(CLAIMS) == ["data-db-0", "data-db-1"], "they are kept"
    before = fleet.world.get(CLAIMS, "data-db-0")["metadata"]["uid"]
    await fleet.world.set_spec(SETS, "db", replicas=1)
    await fleet.roll()
    assert fleet.world.get(CLAIMS, "data-db-0")["metadata"]["uid"] == before


async def test_claims_that_go_with_scaling_go_and_come_anew(fleet: Fleet):
    policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    await fleet.make(3, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy)
    first = fleet.world.get(CLAIMS, "data-db-1")["metadata"]
    assert first["ownerReferences"][0]["kind"] == "StatefulSet"
    await fleet.world.set_spec(SETS, "db", replicas=1)
    await fleet.roll()
    assert fleet.world.names(CLAIMS) == ["data-db-0"]
    await fleet.world.set_spec(SETS, "db", replicas=2)
    await fleet.roll()
    assert fleet.world.get(CLAIMS, "data-db-1")["metadata"]["uid"] != first["uid"]
    await fleet.world.delete(SETS, "db")
    await fleet.roll()
    assert fleet.world.names(CLAIMS) == [] and fleet.world.names("pods") == []


async def test_an_update_goes_backwards_and_can_be_taken_back(fleet: Fleet):
    await fleet.make()
    first = fleet.status["currentRevision"]
    await fleet.image("v2")
    await fleet.roll()
    assert fleet.order[3:] == ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"]
    assert set(fleet.images().values()) == {"v2"}
    assert fleet.status["currentRevision"] == fleet.status["updateRevision"] != first
    labels = {pod["metadata"]["labels"]["controller-revision-hash"] for pod in fleet.world.all("pods")}
    assert labels == {fleet.status["updateRevision"]}
    await fleet.image("v1")
    await fleet.roll()
    assert fleet.status["currentRevision"] == first, "the old revision, under a new number"
    assert sorted(each["revision"] for each in fleet.world.all(REVISIONS)) == [2, 3]


async def test_a_partition_keeps_the_first_and_remakes_them_as_they_were(fleet: Fleet):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await fleet.make(updateStrategy=rolling)
    await fleet.image("v2")
    await fleet.roll()
    assert fleet.images() == {"db-0": "v1", "db-1": "v1", "db-2": "v2"}
    for name in ("db-0", "db-2"):
        await fleet.world.delete("pods", name)
        await fleet.roll()
    assert fleet.images() == {"db-0": "v1", "db-1": "v1", "db-2": "v2"}
    assert (fleet.status["currentReplicas"], fleet.status["updatedReplicas"]) == (2, 1)


async def test_a_broken_update_is_taken_back_without_a_hand(fleet: Fleet):
    await fleet.make()
    await fleet.image("broken")
    await fleet.roll()
    assert fleet.images() == {"db-0": "v1", "db-1": "v1", "db-2": "broken"}
    await fleet.image("v1")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v1"}
    assert fleet.order.count("-db-0") == fleet.order.count("-db-1") == 0


async def test_a_set_that_was_broken_from_the_beginning_can_be_mended(fleet: Fleet):
    await fleet.make(template=template("broken"))
    assert fleet.images() == {"db-0": "broken"}
    await fleet.image("v1")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v1"} and len(fleet.images()) == 3


async def test_on_delete_updates_who_is_deleted(fleet: Fleet):
    await fleet.make(updateStrategy={"type": "OnDelete"})
    await fleet.image("v2")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v1"}
    await fleet.world.delete("pods", "db-1")
    await fleet.roll()
    assert fleet.images() == {"db-0": "v1", "db-1": "v2", "db-2": "v1"}


async def test_in_parallel_all_come_at_once_from_the_start_ordinal(fleet: Fleet):
    await fleet.make(podManagementPolicy="Parallel", ordinals={"start": 4}, template=template("broken"))
    assert sorted(fleet.images()) == ["db-4", "db-5", "db-6"]


async def test_a_failed_pod_comes_again_under_its_name(fleet: Fleet):
    await fleet.make()
    before = fleet.world.get("pods", "db-1")["metadata"]["uid"]
    await fleet.world.set_status("pods", "db-1", phase="Failed", conditions=[])
    await fleet.roll()
    assert fleet.world.get("pods", "db-1")["metadata"]["uid"] != before
    assert len(fleet.world.events("RecreatingFailedPod")) == 1


async def test_a_pod_that_does_not_end_has_no_second(fleet: Fleet):
    """Its gateway is away: nobody says that it ended."""
    await fleet.make()
    before = fleet.world.get("pods", "db-2")["metadata"]["uid"]
    await fleet.world.delete("pods", "db-2")
    await fleet.world.settle(*fleet.controllers)
    pod = fleet.world.get("pods", "db-2")
    assert pod["metadata"]["uid"] == before and pod["metadata"]["deletionTimestamp"]
    await fleet.world.delete("pods", "db-2", grace_s=0)
    await fleet.world.settle(*fleet.controllers)
    assert fleet.world.get("pods", "db-2")["metadata"]["uid"] != before


async def test_pods_of_its_labels_and_another_name_are_left_alone(fleet: Fleet):
    stray = {"metadata": {"name": "stray", "labels": {"app": "db"}}, "spec": template("v0")["spec"]}
    await fleet.world.create("pods", stray)
    ours = {"metadata": {"name": "db-1", "labels": {"app": "db"}}, "spec": template("v0")["spec"]}
    await fleet.world.create("pods", ours)
    await fleet.make()
    assert "ownerReferences" not in fleet.world.get("pods", "stray")["metadata"]
    assert fleet.world.get("pods", "db-1")["metadata"]["ownerReferences"][0]["name"] == "db"
    assert fleet.images() == {"db-0": "v1", "db-1": "v1", "db-2": "v1", "stray": "v0"}


async def test_a_name_that_another_has_is_told(fleet: Fleet):
    other = {"metadata": {"name": "db-0", "labels": {"app": "other"}}, "spec": template("v0")["spec"]}
    await fleet.world.create("pods", other)
    await fleet.make()
    [said, *_] = fleet.world.events("FailedCreate")
    assert "db-0 is there already" in said["message"]
    assert fleet.images() == {"db-0": "v0"}


async def test_old_revisions_go_beyond_the_limit(fleet: Fleet):
    await fleet.make(revisionHistoryLimit=1)
    for image in ("v2", "v3", "v4"):
        await fleet.image(image)
        await fleet.roll()
    assert sorted(each["revision"] for each in fleet.world.all(REVISIONS)) == [3, 4]


@pytest.mark.parametrize("propagation", ["Foreground", "Background"])
async def test_a_deleted_set_takes_all_along_and_makes_nothing_anew(fleet: Fleet, propagation: Any):
    await fleet.make()
    await fleet.image("v2")
    await fleet.roll()
    await fleet.world.delete(SETS, "db", propagation)
    await fleet.roll()
    assert [fleet.world.names(kind) for kind in (SETS, "pods", REVISIONS)] == [[], [], []]


async def test_the_revision_that_pods_are_of_does_not_count_against_the_limit(fleet: Fleet):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}
    await fleet.make(revisionHistoryLimit=1, updateStrategy=rolling)
    for image in ("v2", "v3", "v4"):
        await fleet.image(image)
        await fleet.roll()
    assert sorted(each["revision"] for each in fleet.world.all(REVISIONS)) == [1, 3, 4]


async def test_a_pod_on_a_silent_gateway_is_updated_when_that_is_heard_again(fleet: Fleet):
    async def ready(status: str) -> None:
        await fleet.world.set_status("nodes", "gw", conditions=[{"type": "Ready", "status": status}])

    await fleet.world.create("nodes", {"metadata": {"name": "gw"}})
    await ready("True")
    await fleet.make()
    before = {pod["metadata"]["uid"] for pod in fleet.world.all("pods")}
    await ready("Unknown")
    await fleet.image("v2")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v1"} and len(fleet.world.events("WaitingForNode")) == 1
    await fleet.image("v1")
    await ready("True")
    await fleet.roll()
    assert {pod["metadata"]["uid"] for pod in fleet.world.all("pods")} == before, (
        "what was taken back restarts nobody"
    )
    await ready("Unknown")
    await fleet.image("v3")
    await fleet.roll()
    await ready("True")
    await fleet.roll()
    assert set(fleet.images().values()) == {"v3"}
