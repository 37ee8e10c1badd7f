"""Volumes that are images: which a container needs, how they are mounted, and who can't mount them."""

from __future__ import annotations

from pathlib import Path

from edgecore.pods.image_volumes import image_volumes, mounted_images
from edgecore.pods.part_mounts import with_parts
from edgecore.pods.port import Abilities, ImageMount, Mount
from edgecore.pods.refusals import unsupported
from edgecore.pods.volumes import Ways, mounts_of, sync_volumes
from skerry.objects.json import Json
from tests.edgecore.pods.pods_of import around, container, pod

VOLUMES: list[Json] = [
    {"name": "data", "image": {"reference": "shop/data:2", "pullPolicy": "Never"}},
    {"name": "more", "image": {"reference": "data"}},
    {"name": "odd", "image": {"reference": "Odd"}},
    {"name": "none", "image": {}},
]
USER = container(volumeMounts=[{"name": "data", "mountPath": "/data", "subPath": "a/b"}])
POD = pod(USER, volumes=VOLUMES)


def test_a_container_needs_those_that_it_mounts() -> None:
    assert [(each.image, each.policy) for each in image_volumes(POD, USER)] == [("shop/data:2", "Never")]
    assert [each.name for each in image_volumes(POD)] == ["data", "more", "odd"]


def test_all_of_running_pods_are_in_use() -> None:
    assert mounted_images([POD]) == {"docker.io/shop/data:2", "docker.io/library/data:latest"}
    digest = f"sha256:{'0' * 64}"
    volumes: Json = [{"name": "v", "image": {"reference": f"reg.local:5000/shop/data:2@{digest}"}}]
    assert mounted_images([pod(volumes=volumes)]) == {f"reg.local:5000/shop/data@{digest}"}


def test_they_are_mounted_by_the_runtime_and_nothing_is_on_the_gateway(tmp_path: Path) -> None:
    there = around(POD)
    places = sync_volumes(tmp_path / "p", there, Ways(kept=tmp_path / "kept"))
    image = ImageMount(id="sha256:1", name="shop/data:2")
    (mount,) = mounts = mounts_of(USER, there, places, {"": image, "data": image})
    assert mount == Mount(host_path=Path("/"), container_path="/data", read_only=True, sub_path="a/b", image=image)
    assert with_parts(mounts, tmp_path / "p", "app", 0) == mounts
    assert places == {} and not (tmp_path / "p").exists()


def test_a_runtime_that_can_not_mount_images_refuses_and_says_what_can() -> None:
    able = Abilities(pod_network=True, isolation=True, images=True, image_volumes=True)
    assert unsupported(POD, able) == ""
    unable = Abilities(pod_network=True, isolation=True, images=True)
    assert unsupported(POD, unable).startswith(
        "spec.volumes[0].image: this gateway's runtime can't mount images (containerd can from 2.1 on"
    )
