"""What must never run twice, on two gateways of two regions, with real processes: it stops by itself where it is cut
off from its region's cloud, before the other region's gateway begins."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.real_fleet import EdgeProcess
from tests.system.test_federation import free_port, get, until

pytestmark = pytest.mark.system

LEASE_S = 10
GRACE_S = 45
"""Of what does not end when it is told to: longer than the margin."""

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
apiVersion: skerry.dev/v1
kind: PlacementPolicy
metadata: {name: ledger, namespace: shop}
spec:
  targets: [{kind: FederatedDeployment, name: ledger}]
  affinities: [{name: home, clusters: [{name: north}]}, {name: second, clusters: [{name: south}]}]
  atMostOnce: {leaseSeconds: %(lease)d}
  failover: {afterSeconds: 1, freezeAbovePercent: 90}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: ledger, namespace: shop}
spec:
  placement: {clusterSelector: {}}
  template:
    spec:
      replicas: 1
      selector: {matchLabels: {app: ledger}}
      template:
        metadata: {labels: {app: ledger}}
        spec:
          terminationGracePeriodSeconds: 1
          containers:
          - name: ledger
            image: sh
            command: [sh, -c, "while :; do date +%%s.%%N >> %(beats)s/$WHERE; sleep 0.1; done"]
            env: [{name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
---
apiVersion: skerry.dev/v1
kind: PlacementPolicy
metadata: {name: till, namespace: shop}
spec:
  targets: [{kind: FederatedDeployment, name: till}]
  affinities: [{name: home, clusters: [{name: north}]}, {name: second, clusters: [{name: south}]}]
  members: 1
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
          terminationGracePeriodSeconds: %(grace)d
          containers:
          - name: till
            image: sh
            command:
            - sh
            - -c
            - |
              trap 'echo >> %(beats)s/till-told-$WHERE' TERM
              while :; do date +%%s.%%N >> %(beats)s/till-$WHERE; sleep 0.1; done
            env: [{name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
"""
LATE = {
    "spec": {
        "atMostOnce": {"leaseSeconds": LEASE_S},
        "failover": {"afterSeconds": 1, "freezeAbovePercent": 90},
    }
}


class Tree:
    def __init__(self, base: Path, world: CloudProcess, north: CloudProcess, south: CloudProcess) -> None:
        self.world, self.north, self.south = world, north, south
        self.edges = {name: EdgeProcess(data=base / f"edge-{name}") for name in ("north", "south")}
        self.directory = base / "beats"

    def beats(self, where: str, of: str = "") -> list[float]:
        """When it ran there, by this machine's clock."""
        path = self.directory / f"{of}gateway-{where}"
        return [float(line) for line in path.read_text().splitlines()] if path.exists() else []

    def beats_now(self, where: str, of: str = "") -> bool:
        return any(time.time() - at_s < 1 for at_s in self.beats(where, of)[-1:])

    def till(self) -> Any:
        """The pod in the north."""
        pods = json.loads(self.north.kubectl("get", "pods", "-n", "shop", "-l", "app=till", "-o", "json"))["items"]
        return pods[0] if pods else None

    def told(self) -> Any:
        """Of whose gateways it is known that they go by the lease."""
        conditions = get(self.world, "placementpolicy", "till")["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == "LeasesReachAll"), None)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    base = tmp_path_factory.mktemp("lent")
    with (
        cloud_process(base / "global", "--hub-port", str(free_port())) as world,
        cloud_process(base / "north", "--hub-port", str(free_port())) as north,
        cloud_process(base / "south", "--hub-port", str(free_port())) as south,
    ):
        made = Tree(base, world, north, south)
        made.directory.mkdir()
        world.skerry("region", "init")
        try:
            for name, region in (("north", north), ("south", south)):
                region.skerry("region", "join", world.hub, world.skerry("region", "token", name).strip())
                edge = made.edges[name]
                edge.data.mkdir()
                edge.join(region, node=f"gateway-{name}")
                edge.start()
            until(lambda: "federateddeployments" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
            world.kubectl(
                "apply", "-f", "-", stdin=OBJECTS % {"lease": LEASE_S, "grace": GRACE_S, "beats": made.directory}
            )
            yield made
        finally:
            for edge in made.edges.values():
                if edge.process is not None:
                    edge.process.kill()
                    edge.process.wait()
                edge.end_containers()


def test_it_stops_on_a_gateway_that_is_cut_off_and_goes_on_when_that_is_back(tree: Tree) -> None:
    until(lambda: tree.beats_now("north"), within_s=90)
    edge = tree.edges["north"]
    edge.api.request("POST", "/skerry/link/cut", body={})
    cut_s = time.time()
    until(lambda: not tree.beats_now("north"), within_s=3 * LEASE_S)
    stopped_s = tree.beats("north")[-1]
    assert stopped_s - cut_s <= LEASE_S + 5
    assert not tree.beats("south"), "its region is heard: nobody else begins"
    edge.api.request("POST", "/skerry/link/heal", body={})
    until(lambda: tree.beats_now("north"), within_s=60)


def test_a_restart_of_the_agent_ends_nothing(tree: Tree) -> None:
    until(lambda: tree.beats_now("north"), within_s=60)
    began_s = time.time()
    tree.edges["north"].stop(signal.SIGKILL)
    tree.edges["north"].start()
    until(lambda: time.time() - began_s > 5)
    beats = [at_s for at_s in tree.beats("north") if at_s >= began_s]
    assert max(later - at_s for at_s, later in itertools.pairwise(beats)) < 2


def test_where_region_and_cloud_are_gone_it_stops_by_itself_before_another_begins(tree: Tree) -> None:
    until(lambda: tree.beats_now("north"), within_s=60)
    tree.north.stop(signal.SIGKILL)  # nobody in the region can stop it but its gateway

    def placed() -> Any:
        return [each["name"] for each in get(tree.world, "placementpolicy", "ledger")["status"].get("placed", [])]

    until(lambda: tree.beats_now("south"), within_s=180)
    assert placed() == ["south"]
    last_s, first_s = tree.beats("north")[-1], tree.beats("south")[0]
    assert last_s < first_s, json.dumps({"north until": last_s, "south from": first_s})
    tree.north.start()
    until(lambda: get(tree.north, "deployment", "ledger") is None, within_s=90)
    assert tree.beats("north")[-1] == last_s, "what came back did not begin again"
