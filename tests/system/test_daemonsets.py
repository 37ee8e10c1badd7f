"""DaemonSets on real gateways, which are away and lose their power: each has one pod, and each gets the update."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.objects.meta import name_of, uid_of
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server
from tests.system.real_fleet import CORE, MERGE_PATCH, EdgeProcess, RealFleet, real_fleet, until

pytestmark = pytest.mark.system

SETS = "/apis/apps/v1/namespaces/default/daemonsets"
IDLE = "trap 'exit 0' TERM; while :; do sleep 0.2; done"


def daemon_set(image: str, version: str, **spec: object) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": image,
        "command": ["sh", "-c", IDLE],
        "env": [{"name": "VERSION", "value": version}],
    }
    template: JsonObject = {
        "metadata": {"labels": {"app": "agent"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [container],
        },
    }
    made: JsonObject = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template},
    }
    made["spec"].update(spec)  # type: ignore[union-attr, arg-type]
    return made


@dataclass(slots=True)
class Site:
    """A cloud, and gateways by name."""

    fleet: RealFleet
    image: str = "sh"
    edges: dict[str, EdgeProcess] = field(default_factory=dict[str, EdgeProcess])

    def join(self, name: str) -> EdgeProcess:
        edge = EdgeProcess(data=self.fleet.cloud.data.parent / name)
        edge.data.mkdir()
        edge.join(self.fleet.cloud, node=name)
        edge.start()
        self.edges[name] = edge
        return edge

    def make(self, version: str = "1", **spec: object) -> None:
        self.fleet.create(SETS, daemon_set(self.image, version, **spec))

    def update(self, version: str) -> None:
        spec = daemon_set(self.image, version)["spec"]
        self.fleet.api().request("PATCH", f"{SETS}/agent", body={"spec": spec}, content_type=MERGE_PATCH)

    def pods(self) -> list[JsonObject]:
        return maps_at(self.fleet.find(f"{CORE}/pods"), "items")

    def versions(self) -> dict[str, str]:
        """By gateway: the version of its pod, where that is ready and not on its way out."""
        return {
            str_at(pod, "spec", "nodeName"): version_of(pod)
            for pod in self.pods()
            if str_at(find_condition(maps_at(pod, "status", "conditions"), "Ready"), "status") == "True"
            and not str_at(pod, "metadata", "deletionTimestamp")
        }

    def uid_at(self, node: str) -> str:
        (pod,) = (pod for pod in self.pods() if str_at(pod, "spec", "nodeName") == node)
        return uid_of(pod)

    def ready(self, name: str) -> str:
        conditions = maps_at(self.fleet.find(f"/api/v1/nodes/{name}"), "status", "conditions")
        return str_at(find_condition(conditions, "Ready"), "status")

    def rolled_out(self) -> str:
        return self.fleet.cloud.kubectl("rollout", "status", "daemonset/agent", "--timeout=45s")

    def status(self) -> JsonObject:
        found = (self.fleet.find(f"{SETS}/agent") or {}).get("status")
        return found if isinstance(found, dict) else {}

    def awaited(self) -> str:
        """What is told of gateways that are away."""
        return str_at(find_condition(maps_at(self.status(), "conditions"), "NodesAway"), "message")

    def runs_at(self, name: str) -> set[str]:
        """Supervisors of the containers that run there, agent or not."""
        found: set[str] = set()
        for state in self.edges[name].data.glob("containers/*/*/state"):
            written = json.loads(state.read_bytes())
            if written["phase"] == "running" and _lives(int(written["supervisor"])):
                found.add(str(state.parent))
        return found

    def power_off(self, name: str) -> None:
        self.edges[name].stop(signal.SIGKILL)
        self.edges[name].end_containers()


def version_of(pod: JsonObject) -> str:
    (container,) = maps_at(pod, "spec", "containers")
    return str_at(maps_at(container, "env")[0], "value")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def site_of(directory: Path, *names: str) -> Generator[Site]:
    with real_fleet(directory, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        site = Site(fleet)
        try:
            for name in names:
                site.join(name)
            for name in names:
                until(lambda name=name: site.ready(name) == "True", f"{name} is ready")
            yield site
        finally:
            for edge in site.edges.values():
                if edge.process is not None:
                    edge.process.kill()
                    edge.process.wait()
                edge.end_containers()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_of(tmp_path, "gw-1", "gw-2", "gw-3") as made:
        yield made


def test_each_gateway_gets_its_pod_and_those_away_get_the_update_when_they_are_back(site: Site) -> None:
    site.make()
    assert "successfully rolled out" in site.rolled_out()
    assert site.versions() == {"gw-1": "1", "gw-2": "1", "gw-3": "1"}
    away = site.uid_at("gw-3")

    # One is away: its agent is stopped, and its containers go on.
    site.edges["gw-3"].stop()
    until(lambda: site.ready("gw-3") == "Unknown", "gw-3 is missed")
    before = site.runs_at("gw-3")
    assert len(before) == 1
    assert int_at(site.status(), "desiredNumberScheduled") == 3, "nothing is awaited of it"
    site.update("2")
    assert "successfully rolled out" in site.rolled_out()
    until(lambda: site.versions() == {"gw-1": "2", "gw-2": "2", "gw-3": "1"}, "the others have it")
    assert (site.uid_at("gw-3"), site.runs_at("gw-3")) == (away, before), "nobody touched it"
    # The gateway that has joined and never come is one of them.
    assert "2 node(s) (eu-1, gw-3)" in site.awaited()
    assert "2 node(s) (eu-1, gw-3)" in site.fleet.cloud.kubectl("describe", "daemonset", "agent")

    site.edges["gw-3"].start()
    until(lambda: site.versions() == {"gw-1": "2", "gw-2": "2", "gw-3": "2"}, "gw-3 is updated")
    until(lambda: "1 node(s) (eu-1)" in site.awaited(), "nobody else is waited for")
    assert site.runs_at("gw-3") != before and len(site.runs_at("gw-3")) == 1

    site.join("gw-4")
    until(lambda: site.versions().get("gw-4") == "2", "who joins gets a pod")
    assert int_at(site.status(), "desiredNumberScheduled") == 4

    site.fleet.cloud.kubectl("rollout", "undo", "daemonset/agent")
    assert "successfully rolled out" in site.rolled_out()
    until(lambda: set(site.versions().values()) == {"1"}, "all are back at the first")
    assert "3" in site.fleet.cloud.kubectl("rollout", "history", "daemonset/agent")


def test_a_gateway_without_power_or_cloud_runs_its_pod_again_and_is_updated_later(site: Site) -> None:
    site.make()
    site.rolled_out()
    uid = site.uid_at("gw-2")
    site.power_off("gw-2")
    until(lambda: site.ready("gw-2") == "Unknown", "gw-2 is missed")
    site.update("2")
    assert "successfully rolled out" in site.rolled_out()
    site.fleet.cloud.stop()
    site.edges["gw-2"].start()
    until(lambda: len(site.runs_at("gw-2")) == 1, "it runs what it knew, without a cloud")
    site.fleet.start_cloud()
    until(
        lambda: set(site.versions().values()) == {"2"} and len(site.versions()) == 3, "and is updated", deadline_s=60
    )
    assert site.uid_at("gw-2") != uid


def test_an_update_that_ends_its_first_gateway_reaches_no_other(site: Site) -> None:
    """The new revision silences whoever gets it: here, the test does, as soon as a pod of it is bound."""
    site.make()
    site.rolled_out()

    def hit() -> str:
        return next((str_at(pod, "spec", "nodeName") for pod in site.pods() if version_of(pod) == "2"), "")

    # Nobody's pod becomes ready: the image is nowhere.
    site.image = "/nowhere/at-all"
    site.update("2")
    until(hit, "somebody gets it")
    victim = hit()
    site.power_off(victim)
    until(lambda: site.ready(victim) == "Unknown", "it is missed")

    def reason() -> str:
        return str_at(find_condition(maps_at(site.status(), "conditions"), "NodesAway"), "reason")

    until(lambda: reason() == "SilentSinceUpdate", "it is told")
    assert sorted(set(site.versions()) - {victim}) == sorted({"gw-1", "gw-2", "gw-3"} - {victim})
    assert all(version == "1" for node, version in site.versions().items() if node != victim)


def test_a_deleted_daemon_set_takes_its_pods_along_also_from_one_that_was_away(site: Site) -> None:
    site.make()
    site.rolled_out()
    site.edges["gw-1"].stop()
    site.fleet.cloud.kubectl("delete", "daemonset", "agent", "--wait=false")
    until(lambda: [str_at(pod, "spec", "nodeName") for pod in site.pods()] == ["gw-1"], "one is left")
    assert len(site.runs_at("gw-1")) == 1
    site.edges["gw-1"].start()
    until(lambda: not site.pods(), "it ends there too")
    until(lambda: not site.runs_at("gw-1"), "and nothing runs")


def test_an_edge_application_has_a_daemon_on_each_gateway_of_its_groups(site: Site) -> None:
    for name, nodes in (("north", ["gw-1", "gw-2"]), ("south", ["gw-3"])):
        group: JsonObject = {
            "apiVersion": "apps.kubeedge.io/v1alpha1",
            "kind": "NodeGroup",
            "metadata": {"name": name},
            "spec": {"nodes": [*nodes]},
        }
        site.fleet.create("/apis/apps.kubeedge.io/v1alpha1/nodegroups", group)
    env: JsonObject = {"name": "VERSION", "value": "south"}
    override: JsonObject = {"envOverriders": [{"containerName": "app", "operator": "replace", "value": [env]}]}
    app: JsonObject = {
        "apiVersion": "apps.kubeedge.io/v1alpha1",
        "kind": "EdgeApplication",
        "metadata": {"name": "agents"},
        "spec": {
            "workloadTemplate": {"manifests": [daemon_set("sh", "north")]},
            "workloadScope": {
                "targetNodeGroups": [{"name": "north"}, {"name": "south", "overriders": override}],
            },
        },
    }
    site.fleet.create("/apis/apps.kubeedge.io/v1alpha1/namespaces/default/edgeapplications", app)
    wanted = {"gw-1": "north", "gw-2": "north", "gw-3": "south"}
    until(lambda: site.versions() == wanted, "each has its group's")
    for name, count in (("agent-north", 2), ("agent-south", 1)):
        until(lambda name=name, count=count: ready_of(site, name) == count, f"{name} is ready")


def ready_of(site: Site, name: str) -> int:
    return int_at(site.fleet.find(f"{SETS}/{name}"), "status", "numberReady")


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
def test_the_same_in_containers(tmp_path: Path, containerd: Containerd) -> None:
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        site = Site(fleet, image=BUSYBOX_IMAGE)
        fleet.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_CGROUP_ROOT": containerd.cgroup_root,
        }
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the gateway is ready")
        site.make()
        assert "successfully rolled out" in site.rolled_out()
        fleet.edge.stop()
        until(lambda: fleet.ready() == "Unknown", "it is missed")
        site.update("2")
        until(lambda: site.status().get("conditions"), "it is told that the update waits")
        fleet.edge.start()
        until(lambda: set(site.versions().values()) == {"2"}, "it is updated", deadline_s=60)
        (pod,) = [pod for pod in site.pods() if not str_at(pod, "metadata", "deletionTimestamp")]
        fleet.edge.stop(signal.SIGKILL)
        containerd.stop()
        containerd.start()
        fleet.edge.start()
        until(lambda: fleet.run_of(name_of(pod)), "its container runs again", deadline_s=60)
        fleet.cloud.kubectl("delete", "daemonset", "agent")
        until(lambda: not site.pods(), "all is gone", deadline_s=60)
