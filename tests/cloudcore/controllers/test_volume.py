"""Claims and volumes find each other, live and end as they do in Kubernetes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloudcore.controllers.volume.controller import VolumeController
from cloudcore.controllers.volume.ephemeral import EphemeralController
from cloudcore.controllers.volume.protection import ProtectionController
from cloudcore.registry.admission import claim_resize, default_storage_class, storage_protection
from skerry.errors import ForbiddenError
from skerry.objects.volumes import BOUND_BY_CONTROLLER, DIRECTORY, LOCAL, SELECTED_NODE
from tests.cloudcore.storage import claim, local_class, on, reference, user, volume
from tests.cloudcore.worlds import World, make_world


class Storage:
    """A world with the controllers of storage in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        tools = world.tools
        self._controllers = (VolumeController(tools), ProtectionController(tools), EphemeralController(tools))

    async def settle(self) -> None:
        await self.world.settle(*self._controllers)

    async def make(self, resource: str, *objs: Any) -> None:
        for obj in objs:
            await self.world.create(resource, obj)
        await self.settle()

    def claim(self, name: str = "data") -> Any:
        return self.world.get("persistentvolumeclaims", name)

    def volume(self, name: str = "pv") -> Any:
        return self.world.get("persistentvolumes", name)

    async def delete(self, resource: str, name: str) -> None:
        await self.world.delete(resource, name)
        await self.settle()

    async def select(self, node: str, name: str = "data") -> None:
        """As the scheduler does."""

        def chosen(obj: Any) -> Any:
            held = obj["metadata"].get("annotations", {})
            return {**obj, "metadata": {**obj["metadata"], "annotations": {**held, SELECTED_NODE: node}}}

        await self.world.update("persistentvolumeclaims", name, chosen)
        await self.settle()


@asynccontextmanager
async def storage() -> AsyncGenerator[Storage, None]:
    async with make_world(default_storage_class, storage_protection, claim_resize) as world:
        yield Storage(world)


@asynccontextmanager
async def provisioned() -> AsyncGenerator[Storage, None]:
    """A claim whose volume is a directory of the gateway eu-1."""
    async with storage() as there:
        await there.make("storageclasses.storage.k8s.io", local_class(default=True))
        await there.make("nodes", {"metadata": {"name": "eu-1", "labels": {"kubernetes.io/hostname": "eu-1"}}})
        await there.make("persistentvolumeclaims", claim())
        await there.select("eu-1")
        yield there


def made_volume(there: Storage) -> Any:
    return there.volume(f"pvc-{there.claim()['metadata']['uid']}")


async def test_a_claim_is_bound_to_the_volume_that_fits_and_both_say_so():
    async with storage() as there:
        await there.make("persistentvolumes", volume("big", "9Gi"), volume("pv", "2Gi"))
        assert there.volume()["status"]["phase"] == "Available"
        await there.make("persistentvolumeclaims", claim())
        mine, pv = there.claim(), there.volume()
        assert (mine["spec"]["volumeName"], mine["status"]["phase"], pv["status"]["phase"]) == (
            "pv",
            "Bound",
            "Bound",
        )
        assert mine["status"]["capacity"] == {"storage": "2Gi"}
        assert mine["status"]["accessModes"] == ["ReadWriteOnce"]
        assert pv["spec"]["claimRef"]["uid"] == mine["metadata"]["uid"]
        assert there.volume("big")["status"]["phase"] == "Available"


async def test_a_claim_waits_and_says_so_until_a_volume_comes():
    async with storage() as there:
        await there.make("persistentvolumeclaims", claim())
        assert there.claim()["status"]["phase"] == "Pending"
        text = "no persistent volumes available for this claim and no storage class is set"
        assert there.world.events("FailedBinding")[0]["message"] == text
        await there.make("persistentvolumes", volume())
        assert there.claim()["status"]["phase"] == "Bound"


async def test_two_claims_never_have_one_volume():
    async with storage() as there:
        await there.make("persistentvolumes", volume())
        await there.world.create("persistentvolumeclaims", claim("one"))
        await there.world.create("persistentvolumeclaims", claim("two"))
        await there.settle()
        phases = sorted(there.claim(name)["status"]["phase"] for name in ("one", "two"))
        assert phases == ["Bound", "Pending"]


async def test_a_volume_promised_to_a_name_waits_for_it_and_a_claim_may_name_its_volume():
    async with storage() as there:
        await there.make("persistentvolumes", volume("kept", claimRef=reference("later")), volume("named", "5Gi"))
        await there.make("persistentvolumeclaims", claim("early", size="2Gi", volumeName="kept"))
        assert there.claim("early")["status"]["phase"] == "Pending"
        assert "already bound to a different claim" in there.world.events("FailedBinding")[0]["message"]
        await there.make("persistentvolumeclaims", claim("later"), claim("other", volumeName="named"))
        assert there.claim("later")["spec"]["volumeName"] == "kept"
        assert there.claim("other")["status"]["phase"] == "Bound"
        assert BOUND_BY_CONTROLLER not in there.claim("other")["metadata"]["annotations"]


async def test_a_named_volume_that_does_not_fit_is_refused_in_words():
    async with storage() as there:
        await there.make("persistentvolumes", volume())
        await there.make("persistentvolumeclaims", claim(size="2Gi", volumeName="pv"))
        text = 'Cannot bind to requested volume "pv": requested PV is too small'
        assert there.world.events("VolumeMismatch")[0]["message"] == text


async def test_a_kept_volume_is_released_with_its_data_and_nobody_else_gets_it():
    async with storage() as there:
        await there.make("persistentvolumes", volume())
        await there.make("persistentvolumeclaims", claim())
        await there.delete("persistentvolumeclaims", "data")
        assert there.claim() is None
        assert there.volume()["status"]["phase"] == "Released"
        await there.make("persistentvolumeclaims", claim())
        assert there.claim()["status"]["phase"] == "Pending"


async def test_a_static_volume_that_nobody_can_delete_fails_in_words():
    async with storage() as there:
        await there.make("persistentvolumes", volume(persistentVolumeReclaimPolicy="Delete"))
        await there.make("persistentvolumeclaims", claim())
        await there.delete("persistentvolumeclaims", "data")
        assert there.volume()["status"]["phase"] == "Failed"
        assert "no deletable volume plugin matched" in there.volume()["status"]["message"]


async def test_a_claim_that_loses_its_volume_is_lost():
    async with storage() as there:
        await there.make("persistentvolumes", volume())
        await there.make("persistentvolumeclaims", claim())
        await there.world.update("persistentvolumes", "pv", _without_finalizers)
        await there.world.delete("persistentvolumes", "pv")
        await there.settle()
        assert there.claim()["status"]["phase"] == "Lost"
        assert there.world.events("ClaimLost")


def _without_finalizers(obj: Any) -> Any:
    return {**obj, "metadata": {**obj["metadata"], "finalizers": []}}


async def test_a_bound_volume_and_a_used_claim_stay_until_they_are_used_no_more():
    async with storage() as there:
        await there.make("persistentvolumes", volume())
        await there.make("persistentvolumeclaims", claim())
        await there.make("pods", user("p", "data", nodeName="eu-1"))
        await there.delete("persistentvolumes", "pv")
        await there.delete("persistentvolumeclaims", "data")
        assert there.volume()["metadata"]["deletionTimestamp"]
        assert there.claim()["metadata"]["deletionTimestamp"]
        await there.world.delete("pods", "p", grace_s=0)
        await there.settle()
        assert there.claim() is None
        assert there.volume() is None


async def test_a_pod_without_a_node_holds_no_claim():
    async with storage() as there:
        await there.make("persistentvolumeclaims", claim())
        await there.make("pods", user("p", "data"))
        await there.delete("persistentvolumeclaims", "data")
        assert there.claim() is None


async def test_a_claim_without_a_class_gets_the_default_one_even_when_that_comes_later():
    async with storage() as there:
        await there.make("persistentvolumeclaims", claim())
        assert "storageClassName" not in there.claim()["spec"]
        await there.make("storageclasses.storage.k8s.io", local_class(default=True))
        assert there.claim()["spec"]["storageClassName"] == "local"
        await there.make("persistentvolumeclaims", claim("none", storageClassName=""))
        assert there.claim("none")["spec"]["storageClassName"] == ""
        assert there.world.events("WaitForFirstConsumer")


async def test_a_directory_of_the_selected_gateway_is_made_for_the_claim():
    async with provisioned() as there:
        mine, pv = there.claim(), made_volume(there)
        assert mine["status"]["phase"] == "Bound"
        assert pv["status"]["phase"] == "Bound"
        assert pv["spec"]["csi"]["driver"] == LOCAL
        assert pv["spec"]["csi"]["volumeHandle"] == pv["metadata"]["name"]
        assert pv["spec"]["nodeAffinity"] == on("eu-1")
        assert pv["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        assert there.world.events("ProvisioningSucceeded")


async def test_a_directory_goes_before_its_volume_does():
    async with provisioned() as there:
        name = made_volume(there)["metadata"]["name"]
        await there.delete("persistentvolumeclaims", "data")
        pv = there.volume(name)
        assert pv["metadata"]["deletionTimestamp"]
        assert pv["metadata"]["finalizers"] == [DIRECTORY]
        await there.world.update("persistentvolumes", name, _without_finalizers)
        assert there.volume(name) is None


async def test_a_directory_that_is_kept_holds_nothing_back():
    async with provisioned() as there:
        name = made_volume(there)["metadata"]["name"]
        await there.world.set_spec("persistentvolumes", name, persistentVolumeReclaimPolicy="Retain")
        await there.delete("persistentvolumeclaims", "data")
        assert there.volume(name)["status"]["phase"] == "Released"
        await there.delete("persistentvolumes", name)
        assert there.volume(name) is None


async def test_a_gateway_that_left_the_fleet_holds_nothing_back():
    async with provisioned() as there:
        name = made_volume(there)["metadata"]["name"]
        await there.delete("persistentvolumeclaims", "data")
        await there.delete("nodes", "eu-1")
        assert there.volume(name) is None


async def test_a_selected_node_that_is_gone_is_unselected():
    async with storage() as there:
        await there.make("storageclasses.storage.k8s.io", local_class(default=True))
        await there.make("persistentvolumeclaims", claim())
        await there.select("gone")
        assert SELECTED_NODE not in there.claim()["metadata"].get("annotations", {})
        assert there.world.events("ProvisioningFailed")[0]["message"] == 'node "gone" not found'


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"volumeMode": "Block"}, "volumes are directories"),
        ({"accessModes": ["ReadWriteMany"]}, "volumes are of one node"),
        ({"selector": {}}, "claim.Spec.Selector is not supported"),
        ({"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}, "begin empty"),
    ],
)
async def test_what_a_directory_can_not_be_is_refused_in_words(spec, why):
    async with storage() as there:
        await there.make("storageclasses.storage.k8s.io", local_class(default=True))
        await there.make("nodes", {"metadata": {"name": "eu-1"}})
        await there.make("persistentvolumeclaims", claim(**spec))
        await there.select("eu-1")
        assert why in there.world.events("ProvisioningFailed")[0]["message"]
        assert there.claim()["status"]["phase"] == "Pending"


async def test_others_are_asked_for_what_they_make():
    async with storage() as there:
        other = local_class("fast", provisioner="example.com/nfs", volumeBindingMode="Immediate")
        await there.make("storageclasses.storage.k8s.io", other)
        await there.make(
            "persistentvolumeclaims", claim(storageClassName="fast"), claim("x", storageClassName="none")
        )
        asked = there.claim()["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"]
        assert asked == "example.com/nfs"
        assert "external provisioner 'example.com/nfs'" in there.world.events("ExternalProvisioning")[0]["message"]
        text = 'storageclass.storage.k8s.io "none" not found'
        assert there.world.events("ProvisioningFailed")[0]["message"] == text


async def test_a_claim_of_a_directory_grows_when_it_is_asked_to():
    async with provisioned() as there:
        await there.world.set_spec("persistentvolumeclaims", "data", resources={"requests": {"storage": "3Gi"}})
        await there.settle()
        assert made_volume(there)["spec"]["capacity"]["storage"] == "3Gi"
        assert there.claim()["status"]["capacity"]["storage"] == "3Gi"
        assert there.world.events("VolumeResizeSuccessful")


async def test_only_bound_claims_of_a_class_that_lets_them_grow():
    async with storage() as there:
        await there.make("persistentvolumes", volume())
        await there.make("persistentvolumeclaims", claim(), claim("waits", size="9Gi"))
        more = {"requests": {"storage": "10Gi"}}
        with pytest.raises(ForbiddenError, match="Only bound persistent volume claims can be expanded"):
            await there.world.set_spec("persistentvolumeclaims", "waits", resources=more)
        with pytest.raises(ForbiddenError, match="only dynamically provisioned pvc can be resized"):
            await there.world.set_spec("persistentvolumeclaims", "data", resources=more)


def with_ephemeral(name: str = "p") -> Any:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": claim()["spec"]}
    return user(name) | {
        "spec": {
            "containers": [{"name": "c"}],
            "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}],
        }
    }


async def test_an_ephemeral_volume_has_a_claim_of_its_own_that_its_pod_owns():
    async with storage() as there:
        await there.make("pods", with_ephemeral())
        made = there.claim("p-scratch")
        assert made["metadata"]["labels"] == {"a": "b"}
        owner = made["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Pod", "p", True)
        assert owner["uid"] == there.world.get("pods", "p")["metadata"]["uid"]
        await there.delete("persistentvolumeclaims", "p-scratch")
        assert there.claim("p-scratch")["metadata"]["uid"] != made["metadata"]["uid"]


async def test_a_finished_pod_gets_no_claim():
    async with storage() as there:
        await there.world.create("pods", with_ephemeral())
        await there.world.set_status("pods", "p", phase="Succeeded")
        await there.settle()
        assert there.claim("p-scratch") is None
