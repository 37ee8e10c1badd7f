"""A gateway below a region below a global cloud: what is declared at the top runs at the bottom, and goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.real_fleet import EdgeProcess
from tests.system.test_federation import free_port, get, until

pytestmark = pytest.mark.system

OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedNamespace
metadata: {name: shop, namespace: shop}
spec: {placement: {clusterSelector: {}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: shop}
data: {hello: moin}
---
apiVersion: skerry.dev/v1
kind: PlacementPolicy
metadata: {name: till, namespace: shop}
spec:
  targets: [{kind: FederatedDeployment, name: till}]
  affinities: [{clusters: [{name: north}]}]
  followDependencies: true
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: till, namespace: shop}
spec:
  placement: {clusterSelector: {}}
  template:
    spec:
      replicas: 1
      selector: {matchLabels: {app: till}}
      template:
        metadata: {labels: {app: till}}
        spec:
          terminationGracePeriodSeconds: 1
          containers:
          - name: till
            image: sh
            command: [sh, -c, "while :; do sleep 0.5; done"]
            envFrom: [{configMapRef: {name: words}}]
"""


class Tree:
    def __init__(self, world: CloudProcess, north: CloudProcess, edge: EdgeProcess) -> None:
        self.world = world
        self.north = north
        self.edge = edge

    def runs(self) -> Any:
        """Containers of the pods that run on the gateway, as the region shows them."""
        items = json.loads(self.north.kubectl("get", "pods", "-n", "shop", "-o", "json"))["items"]
        running = [pod for pod in items if pod.get("status", {}).get("phase") == "Running"]
        return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["containerID"] for pod in running}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    base = tmp_path_factory.mktemp("tree")
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
            until(lambda: "federateddeployments" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
            world.kubectl("apply", "-f", "-", stdin=OBJECTS)
            yield Tree(world, north, edge)
        finally:
            if edge.process is not None:
                edge.process.kill()
                edge.process.wait()
            edge.end_containers()


def test_what_is_declared_at_the_top_runs_at_the_bottom_and_is_told_up(tree: Tree) -> None:
    until(tree.runs, within_s=90)
    assert get(tree.north, "configmap", "words")["data"] == {"hello": "moin"}, "it followed its workload"

    def told() -> Any:
        (cluster,) = get(tree.world, "federateddeployment", "till").get("status", {}).get("clusters", [{}])
        return cluster.get("remoteStatus", {}).get("readyReplicas") == 1

    until(told, within_s=60)

    def nodes() -> Any:  # which is told once a minute
        return get(tree.world, "kubefedcluster", "north", "kube-federation-system")["status"].get("nodes")

    assert until(nodes, within_s=90) == 1


def test_the_same_container_runs_on_while_both_clouds_are_away(tree: Tree) -> None:
    before = until(tree.runs, within_s=90)
    tree.world.stop()
    tree.north.stop()
    tree.north.start()
    until(lambda: tree.runs() == before, within_s=60)
    tree.world.start()
    until(lambda: tree.north.skerry("region", "status").startswith("connected"), within_s=90)
    wider = {"spec": {"template": {"spec": {"replicas": 2}}}}
    tree.world.kubectl("patch", "federateddeployment", "till", "-n", "shop", "--type=merge", "-p", json.dumps(wider))
    until(lambda: len(tree.runs()) == 2, within_s=90)
    assert before.items() <= tree.runs().items(), "what ran was not touched"
