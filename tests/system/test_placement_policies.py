"""PlacementPolicies with real clouds: first and second choices, somebody who goes silent and comes back, leases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.system.cloud_process import cloud_process
from tests.system.test_federation import free_port, get, until

pytestmark = [pytest.mark.system, pytest.mark.long]

REGIONS = ("north", "south", "west")
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
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: prices, namespace: shop}
spec: {template: {data: {tea: "3"}}, placement: {clusterSelector: {}}}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: ledger, namespace: shop}
spec:
  template:
    spec:
      replicas: 2
      selector: {matchLabels: {app: ledger}}
      template:
        metadata: {labels: {app: ledger}}
        spec: {containers: [{name: ledger, image: nginx}]}
  placement: {clusterSelector: {}}
"""
POLICIES = """
apiVersion: skerry.dev/v1
kind: PlacementPolicy
metadata: {name: near, namespace: shop}
spec:
  targets: [{kind: FederatedConfigMap, name: prices}]
  affinities:
  - {name: home, clusterSelector: {matchLabels: {side: north}}}
  - {name: second, clusters: [{name: south}]}
  members: 1
  failover: {afterSeconds: 5, freezeAbovePercent: 60, failback: AfterStable, stableSeconds: 5}
---
apiVersion: skerry.dev/v1
kind: PlacementPolicy
metadata: {name: once, namespace: shop}
spec:
  targets: [{kind: FederatedDeployment, name: ledger}]
  affinities: [{clusters: [{name: west}]}]
  atMostOnce: {leaseSeconds: 10}
"""
TRY = """
apiVersion: skerry.dev/v1
kind: PlacementPolicy
metadata: {name: try, namespace: shop}
spec:
  targets: [{kind: FederatedConfigMap, name: prices}]
  affinities: [{name: west, clusters: [{name: west}]}]
  dryRun: true
"""


class Federation:
    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.world = stack.enter_context(cloud_process(base / "global", "--hub-port", str(free_port())))
        self.regions = {name: stack.enter_context(cloud_process(base / name)) for name in REGIONS}
        self.world.skerry("region", "init")
        for name, cloud in self.regions.items():
            token = self.world.skerry("region", "token", name, "--label", f"side={name}").strip()
            cloud.skerry("region", "join", self.world.hub, token)
        until(lambda: "federateddeployments" in self.world.kubectl("api-resources", "--api-group=types.kubefed.io"))
        self.world.kubectl("apply", "-f", "-", stdin=OBJECTS.partition("---")[0])
        self.world.kubectl("apply", "-f", "-", stdin=POLICIES)
        self.world.kubectl("apply", "-f", "-", stdin=OBJECTS)

    def where(self, kind: str, name: str) -> set[str]:
        running = {member: cloud for member, cloud in self.regions.items() if cloud.process is not None}
        return {member for member, cloud in running.items() if get(cloud, kind, name) is not None}

    def policy(self, name: str) -> Any:
        return get(self.world, "placementpolicy", name)["status"]


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with ExitStack() as stack:
        yield Federation(tmp_path_factory.mktemp("policies"), stack)


def test_the_first_choice_has_it_and_explain_says_why(fed: Federation) -> None:
    until(lambda: fed.where("configmap", "prices") == {"north"}, within_s=60)
    fed.world.kubectl("apply", "-f", "-", stdin=TRY)
    until(lambda: fed.policy("try").get("wouldPlace"))
    lines = fed.world.skerry("region", "explain", "federatedconfigmap", "prices", "-n", "shop").splitlines()
    assert "PlacementPolicy near: chosen: home" in lines[1]
    assert "PlacementPolicy near: home counts, which it is not of" in lines[2]
    assert "would leave" in lines[1]
    assert "would go there" in lines[3]
    assert fed.where("configmap", "prices") == {"north"}, "it only tries"
    fed.world.kubectl("delete", "placementpolicy", "try", "-n", "shop")


def test_the_second_choice_takes_over_and_the_first_comes_back(fed: Federation) -> None:
    until(lambda: fed.where("configmap", "prices") == {"north"}, within_s=60)
    fed.regions["north"].stop()
    until(lambda: fed.where("configmap", "prices") == {"south"}, within_s=90)
    assert [each["name"] for each in fed.policy("near")["placed"]] == ["south"]
    fed.regions["north"].start()
    until(lambda: fed.where("configmap", "prices") == {"north"}, within_s=120)
    assert len(fed.policy("near")["moves"]) == 2


def test_what_may_run_once_alone_stops_by_itself_when_its_lease_ends(fed: Federation) -> None:
    def replicas() -> int:
        return get(fed.regions["west"], "deployment", "ledger")["spec"]["replicas"]

    until(lambda: fed.where("deployment", "ledger") == {"west"}, within_s=60)
    until(lambda: replicas() == 2)
    fed.world.stop()
    until(lambda: replicas() == 0, within_s=40)
    rows = json.loads(fed.regions["west"].kubectl("get", "regionobjects", "-o", "json"))["items"]
    assert "LeaseEnded" in {row.get("status", {}).get("code") for row in rows}
    fed.world.start()
    until(lambda: replicas() == 2, within_s=90)


def test_one_that_is_heard_stops_it_before_another_begins(fed: Federation) -> None:
    until(lambda: fed.where("deployment", "ledger") == {"west"}, within_s=60)
    there = json.dumps({"spec": {"affinities": [{"clusters": [{"name": "south"}]}]}})
    fed.world.kubectl("patch", "placementpolicy", "once", "-n", "shop", "--type=merge", "-p", there)
    seen: list[set[str]] = []

    def moved() -> bool:
        seen.append(fed.where("deployment", "ledger"))
        return seen[-1] == {"south"}

    until(moved, within_s=60)
    assert all(len(each) <= 1 for each in seen)
