"""A RolloutPolicy with real clouds: a bad version stops at the canary, and who is away holds up nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.real_fleet import EdgeProcess
from tests.system.test_federation import free_port, get, until

pytestmark = pytest.mark.system

REGIONS = ("north", "south", "west")
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
POLICY = """
apiVersion: skerry.dev/v1
kind: RolloutPolicy
metadata: {name: careful, namespace: shop}
spec:
  targets: [{kind: FederatedDeployment}, {kind: FederatedConfigMap}]
  waves:
  - {name: canary, clusters: [{name: north}], minSucceeded: 1}
  - {name: everybody, clusterSelector: {}, requiresApproval: true}
  minReadySeconds: 2
  progressDeadlineSeconds: 25
"""
TRY = """
apiVersion: skerry.dev/v1
kind: RolloutPolicy
metadata: {name: try, namespace: shop}
spec:
  targets: [{kind: FederatedConfigMap}]
  waves: [{name: some, members: "50%"}, {name: nobody, clusters: [{name: nowhere}]}]
  dryRun: true
"""
PRICES = """
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: prices, namespace: shop}
spec: {template: {data: {tea: "TEA"}}, placement: {clusterSelector: {}}}
"""
TILL = """
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: till, namespace: shop}
spec:
  placement: {clusters: [{name: north}, {name: west}]}
  template:
    spec:
      replicas: 1
      selector: {matchLabels: {app: till}}
      template:
        metadata: {labels: {app: till}}
        spec:
          terminationGracePeriodSeconds: 1
          containers:
          - {name: till, image: IMAGE, command: [sh, -c, "while :; do sleep 0.5; done"]}
"""


class Federation:
    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.world = stack.enter_context(cloud_process(base / "global", "--hub-port", str(free_port())))
        self.regions = {
            name: stack.enter_context(cloud_process(base / name, "--hub-port", str(free_port()))) for name in REGIONS
        }
        self.world.skerry("region", "init")
        for name, cloud in self.regions.items():
            token = self.world.skerry("region", "token", name, "--label", f"side={name}").strip()
            assert cloud.skerry("region", "join", self.world.hub, token).strip() == "connected"
        until(lambda: "federateddeployments" in self.world.kubectl("api-resources", "--api-group=types.kubefed.io"))
        self.apply(NAMESPACE)
        until(lambda: all(get(cloud, "namespace", "shop") for cloud in self.regions.values()))

    def apply(self, text: str) -> None:
        self.world.kubectl("apply", "-f", "-", stdin=text)

    def tea(self, *names: str) -> list[Any]:
        found = [get(self.regions[name], "configmap", "prices") for name in names]
        return [each and each["data"]["tea"] for each in found]

    def phase(self, what: str) -> Any:
        """Of the newest version; None where none is written down yet."""
        looked = self.world.try_skerry("rollout", "status", what, "-n", "shop", "-o", "json")
        return json.loads(looked.stdout).get("status", {}).get("phase") if looked.returncode == 0 else None


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with ExitStack() as stack:
        yield Federation(tmp_path_factory.mktemp("rollouts"), stack)


WHAT = "federatedconfigmap/prices"


def test_a_version_reaches_the_canary_and_after_approval_the_others_but_who_is_away(fed: Federation) -> None:
    fed.apply(PRICES.replace("TEA", "1"))
    until(lambda: fed.tea(*REGIONS) == ["1", "1", "1"])
    fed.apply(POLICY)
    fed.world.skerry("rollout", "status", WHAT, "-n", "shop", "--wait", "60")
    fed.apply(PRICES.replace("TEA", "2"))
    until(lambda: fed.phase(WHAT) == "WaitingForApproval", within_s=60)
    assert fed.tea(*REGIONS) == ["2", "1", "1"]
    shown = fed.world.skerry("rollout", "status", WHAT, "-n", "shop", "--members")
    assert "skerry rollout approve federatedconfigmap/prices everybody" in shown
    assert "wave everybody has not begun: it waits for approval" in shown
    fed.regions["west"].stop()
    members = lambda: fed.world.skerry("region", "list")  # noqa: E731
    until(lambda: any("west" in line and " no " in line for line in members().splitlines()), within_s=60)
    fed.world.skerry("rollout", "approve", WHAT, "-n", "shop")
    done = fed.world.skerry("rollout", "status", WHAT, "-n", "shop", "--wait", "60")
    assert "west: not heard, and to get it on return" in done
    assert fed.tea("north", "south") == ["2", "2"]
    explained = fed.world.skerry("region", "explain", "federatedconfigmap", "prices", "-n", "shop")
    assert "Pending (wave everybody): it is not heard: it gets it on return" in explained
    fed.regions["west"].start()
    until(lambda: fed.tea("west") == ["2"], within_s=60)


def test_a_restart_of_the_global_cloud_changes_nothing_in_the_midst(fed: Federation) -> None:
    fed.apply(PRICES.replace("TEA", "3"))
    until(lambda: fed.phase(WHAT) == "WaitingForApproval", within_s=60)
    fed.world.stop()
    fed.world.start()
    until(lambda: fed.phase(WHAT) == "WaitingForApproval", within_s=60)
    assert fed.tea(*REGIONS) == ["3", "2", "2"]
    fed.world.skerry("rollout", "abort", WHAT, "-n", "shop")
    until(lambda: fed.phase(WHAT) == "Aborted", within_s=30)
    history = fed.world.skerry("rollout", "history", WHAT, "-n", "shop").splitlines()
    assert [line.split()[:2] for line in history[1:]] == [["1", "Complete"], ["2", "Complete"], ["3", "Aborted"]]
    assert history[3].endswith("/template/data/tea")
    fed.world.skerry("rollout", "undo", WHAT, "-n", "shop")
    fed.world.skerry("rollout", "status", WHAT, "-n", "shop", "--wait", "60")
    assert fed.tea(*REGIONS) == ["2", "2", "2"], "at once, and without approval"


def test_a_policy_that_only_tries_says_who_would_be_in_which_wave(fed: Federation) -> None:
    fed.apply(TRY)
    plan = until(lambda: _of_try(fed.world.skerry("rollout", "plan", WHAT, "-n", "shop")))
    assert [line.split()[2:4] for line in plan] == [["some", "2"], ["nobody", "0"], ["rest", "1"]]
    status = get(fed.world, "rolloutpolicy", "try")["status"]
    assert "wave nobody: no member is called nowhere" in status["message"]
    fed.world.kubectl("delete", "rolloutpolicy", "try", "-n", "shop")


def _of_try(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("try (dryRun)")]


def test_a_bad_image_stops_at_the_canary_and_is_undone(fed: Federation, tmp_path: Path) -> None:
    north = fed.regions["north"]
    edge = EdgeProcess(data=tmp_path / "edge")
    edge.data.mkdir()
    try:
        edge.join(north)
        edge.start()
        what = "federateddeployment/till"
        fed.apply(TILL.replace("IMAGE", "sh").replace(", {name: west}", ""))
        until(lambda: fed.phase(what) == "Complete", within_s=120)
        before = _running(north)
        fed.regions["west"].stop()  # its version before is nothing, and who is silent has not failed
        fed.apply(TILL.replace("IMAGE", "no-such-image"))
        until(lambda: fed.phase(what) == "Halted", within_s=120)
        ended = fed.world.try_skerry("rollout", "status", what, "-n", "shop", "--wait", "5")
        assert ended.returncode == 1
        assert "north failed, of which there may be 0" in ended.stderr
        assert before == _running(north), "the pod before runs on"
        fed.world.skerry("rollout", "undo", what, "-n", "shop")
        fed.world.skerry("rollout", "status", what, "-n", "shop", "--wait", "90")
        assert get(north, "deployment", "till")["spec"]["template"]["spec"]["containers"][0]["image"] == "sh"
        events = fed.world.kubectl("get", "events", "-n", "shop", "-o", "jsonpath={.items[*].reason}").split()
        assert {"RolloutStarted", "WaveStarted", "RolloutHalted", "RolloutComplete"} <= {*events}
    finally:
        if edge.process is not None:
            edge.process.kill()
            edge.process.wait()
        edge.end_containers()


def _running(cloud: CloudProcess) -> Any:
    items = json.loads(cloud.kubectl("get", "pods", "-n", "shop", "-o", "json"))["items"]
    return {pod["metadata"]["name"] for pod in items if pod.get("status", {}).get("phase") == "Running"}
