"""Jobs that are declared in a global cloud run on the gateways of its regions, once, and are told of at the top."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.real_fleet import EdgeProcess
from tests.system.test_federation import free_port, get, until

pytestmark = pytest.mark.system

NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedNamespace
metadata: {name: shop, namespace: shop}
spec: {placement: {clusterSelector: {}}}
"""


def federated(name: str, script: str, **spec: Any) -> str:
    container = {"name": "c", "image": "sh", "command": ["sh", "-c", script]}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    obj = {
        "apiVersion": "types.kubefed.io/v1beta1",
        "kind": "FederatedJob",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "placement": {"clusterSelector": {}},
            "template": {"spec": {"template": {"spec": pod}, **spec}},
        },
    }
    return json.dumps(obj)


class Tree:
    def __init__(self, world: CloudProcess, north: CloudProcess, book: Path) -> None:
        self.world, self.north, self.book = world, north, book

    def told(self, name: str) -> Any:
        """What the region told of the Job."""
        clusters = get(self.world, "federatedjob", name).get("status", {}).get("clusters") or [{}]
        return clusters[0].get("remoteStatus", {})

    def ended(self, name: str) -> str:
        conditions = self.told(name).get("conditions", [])
        return next((one["type"] for one in conditions if one["type"] in ("Complete", "Failed")), "")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    base = tmp_path_factory.mktemp("jobs")
    with (
        cloud_process(base / "global", "--hub-port", str(free_port())) as world,
        cloud_process(base / "north", "--hub-port", str(free_port())) as north,
    ):
        world.skerry("region", "init")
        north.skerry("region", "join", world.hub, world.skerry("region", "token", "north").strip())
        edge = EdgeProcess(data=base / "edge")
        edge.data.mkdir()
        try:
            edge.join(north)
            edge.start()
            until(lambda: "federatedjobs" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
            world.kubectl("apply", "-f", "-", stdin=NAMESPACE)
            yield Tree(world, north, base / "book")
        finally:
            if edge.process is not None:
                edge.process.kill()
                edge.process.wait()
            edge.end_containers()


def test_a_federated_job_runs_once_is_told_of_and_stays_whatever_its_while(tree: Tree) -> None:
    script = f"echo ran >> {tree.book}"
    tree.world.kubectl("apply", "-f", "-", stdin=federated("count", script, ttlSecondsAfterFinished=0))
    tree.world.kubectl("apply", "-f", "-", stdin=federated("bad", "exit 3", backoffLimit=0))
    until(lambda: tree.ended("count") == "Complete", within_s=90)
    until(lambda: tree.ended("bad") == "Failed", within_s=90)
    assert tree.told("count")["succeeded"] == 1
    until(lambda: get(tree.world, "federatedjob", "count")["status"]["counts"]["current"] == 1)
    assert tree.book.read_text() == "ran\n"
    assert get(tree.north, "job", "count")["metadata"]["uid"]


def test_a_region_runs_its_jobs_to_their_end_while_the_global_cloud_is_away(tree: Tree) -> None:
    go = tree.book.with_suffix(".go")
    script = f"while ! test -e {go}; do sleep 0.1; done"
    tree.world.kubectl("apply", "-f", "-", stdin=federated("alone", script))
    until(lambda: tree.told("alone").get("active") == 1, within_s=90)
    tree.world.stop()
    go.touch()
    tree.north.kubectl("wait", "--for=condition=complete", "job/alone", "-n", "shop", "--timeout=60s")
    tree.world.start()
    until(lambda: tree.ended("alone") == "Complete", within_s=90)
