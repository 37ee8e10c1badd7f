"""Manifests with the fields of KubeFed's and KubeEdge's own samples: applied with kubectl, and carried out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import SkerryError
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.test_federation import until

pytestmark = pytest.mark.system

SAMPLES = Path(__file__).resolve().parents[2] / "examples/11-federation"
MEMBERS = ("cluster1", "cluster2")
WHERE = "test-namespace"


def found(cloud: CloudProcess, kind: str, name: str, namespace: str = WHERE) -> Any:
    try:
        return cloud.find(kind, name, namespace)
    except (SkerryError, OSError):
        return None


class Members:
    def __init__(self, world: CloudProcess, members: dict[str, CloudProcess]) -> None:
        self.world = world
        self.members = members

    def each(self, kind: str, name: str) -> dict[str, Any]:
        """The object in both members, once it is in both."""

        def look() -> Any:
            got = {member: found(cloud, kind, name) for member, cloud in self.members.items()}
            return got if all(got.values()) else None

        return until(look, within_s=60)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    base = tmp_path_factory.mktemp("samples")
    with (
        cloud_process(base / "global") as world,
        cloud_process(base / "one") as one,
        cloud_process(base / "two") as two,
    ):
        world.skerry("region", "init")
        for name, cloud in zip(MEMBERS, (one, two), strict=True):
            cloud.kubectl("apply", "-f", str(SAMPLES / "kubefed/types/bars.yaml"), check=False)  # the resource itself
            cloud.skerry("region", "join", world.hub, world.skerry("region", "token", name).strip())
        world.kubectl("apply", "-f", str(SAMPLES / "kubefed/types/"), check=False)
        until(lambda: "bars" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
        until(lambda: "federatedjobs" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
        world.kubectl("apply", "-f", str(SAMPLES / "kubefed/"))
        yield Members(world, dict(zip(MEMBERS, (one, two), strict=True)))


def test_objects_of_each_type_are_in_the_members_with_their_overrides(members: Members) -> None:
    config_maps = members.each("configmap", "test-configmap")
    assert {name: obj["data"] for name, obj in config_maps.items()} == {
        "cluster1": {"A": "ala ma kota"},
        "cluster2": {"foo": "bar"},
    }
    secrets = members.each("secret", "test-secret")
    assert secrets["cluster1"]["data"] == {"A": "YWxhIG1hIGtvdGE="}
    for name, kind in (("test-serviceaccount", "serviceaccount"), ("test-ingress", "ingress")):
        members.each(kind, name)
    assert members.each("service", "test-service")["cluster1"]["spec"]["type"] == "NodePort"
    assert {name: obj["spec"]["parallelism"] for name, obj in members.each("job", "test-job").items()} == {
        "cluster1": 1,
        "cluster2": 2,
    }
    assert len(members.each("clusterrole", "test-clusterrole")["cluster2"]["rules"]) == 2


def test_a_custom_type_is_federated_with_its_overrides(members: Members) -> None:
    bars = members.each("bar", "test-crd-bar")
    assert {name: obj["data"] for name, obj in bars.items()} == {"cluster1": "mydata", "cluster2": "test"}


def test_replicas_are_divided_by_weight_and_other_overrides_stay(members: Members) -> None:
    def divided() -> Any:
        got = members.each("deployment", "test-deployment")
        counts = {name: obj["spec"]["replicas"] for name, obj in got.items()}
        return got if counts == {"cluster1": 4, "cluster2": 6} else None

    got = until(divided, within_s=60)
    images = {name: obj["spec"]["template"]["spec"]["containers"][0]["image"] for name, obj in got.items()}
    assert images == {"cluster1": "nginx", "cluster2": "nginx:1.17.0-alpine"}


def test_all_of_it_is_told_as_propagated(members: Members) -> None:
    kinds = ("configmap", "service", "serviceaccount", "ingress", "job", "deployment")
    for kind in kinds:

        def told(kind: str = kind) -> bool:
            obj = found(members.world, f"federated{kind}", f"test-{kind}")
            return obj["status"]["conditions"][0]["status"] == "True"

        until(told, within_s=60)


def test_an_edge_application_is_otherwise_in_each_group(tmp_path: Path) -> None:
    with cloud_process(tmp_path / "cloud") as cloud:
        for name, labels in (("edge-node-1", {}), ("edge-node-2", {"location": "beijing"})):
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            cloud.kubectl("apply", "-f", "-", stdin=json.dumps(node))
        cloud.kubectl("apply", "-f", str(SAMPLES / "kubeedge/"))
        north = until(lambda: found(cloud, "deployment", "nginx-hangzhou", "default"))
        south = until(lambda: found(cloud, "deployment", "nginx-beijing", "default"))
        assert (north["spec"]["replicas"], south["spec"]["replicas"]) == (3, 1)
        containers = [obj["spec"]["template"]["spec"]["containers"][0] for obj in (north, south)]
        assert [each["image"] for each in containers] == [
            "hangzhou.registry.io/nginx:latest",
            "beijing.registry.io/nginx:latest",
        ]
        assert containers[1]["env"] == [{"name": "SITE", "value": "beijing"}]
        assert found(cloud, "service", "nginx-service", "default") is not None
        group = until(lambda: found(cloud, "nodegroup", "beijing", "").get("status"))
        assert [each["nodeName"] for each in group["nodeStatuses"]] == ["edge-node-2"]
