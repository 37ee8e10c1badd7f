"""A gateway that runs short of disk, memory and process ids: who has to go goes, the others stay, and it is told.

On processes and on containers; the disk is a small tmpfs that a pod really fills.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, maps_at, str_at
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system"),
]
MIB = 1 << 20
IDLE = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
RUNTIMES = ("process", "containerd")


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@dataclass(slots=True, kw_only=True)
class Place:
    """A cloud and a gateway on a disk of 200 MiB, and what its pods are made of."""

    fleet: RealFleet
    runtime: str

    def start(self, **settings: str) -> None:
        self.fleet.edge.environ |= {f"SKERRY_{name.upper()}": value for name, value in settings.items()}
        self.fleet.edge.start()

    def pod(self, name: str, script: str = IDLE, **spec: object) -> JsonObject:
        container: JsonObject = {
            "name": "app",
            "image": BUSYBOX_IMAGE if self.runtime == "containerd" else "sh",
            "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "room", "mountPath": "/skerry-fleet-room"}],
        }
        made: JsonObject = {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 2,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "room", "emptyDir": {}}],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {name: value for name, value in {**made, **spec}.items() if value != ""},  # type: ignore[dict-item]
        }

    def create(self, name: str, script: str = IDLE, **spec: object) -> None:
        self.fleet.create(f"{CORE}/pods", self.pod(name, script, **spec))

    def runs(self, name: str) -> str:
        until(lambda: self.fleet.run_of(name), f"{name} runs", lambda: f"{self.status(name)}\n{self.fleet.edge.log}")
        return self.fleet.run_of(name)

    def status(self, name: str) -> JsonObject:
        found = (self.fleet.find(f"{CORE}/pods/{name}") or {}).get("status")
        return found if isinstance(found, dict) else {}

    def is_evicted(self, name: str) -> bool:
        status = self.status(name)
        return (str_at(status, "phase"), str_at(status, "reason")) == ("Failed", "Evicted")

    def condition(self, kind: str) -> str:
        node = self.fleet.find(f"/api/v1/nodes/{NODE}")
        return str_at(find_condition(maps_at(node, "status", "conditions"), kind), "status")

    def taints(self) -> set[str]:
        node = self.fleet.find(f"/api/v1/nodes/{NODE}")
        return {str_at(each, "key").removeprefix("node.kubernetes.io/") for each in maps_at(node, "spec", "taints")}

    def until(self, holds: Callable[[], object], what: str) -> None:
        until(holds, what, lambda: self.fleet.edge.log[-4000:])


@contextmanager
def place(runtime: str, directory: Path, containerd: Containerd | None) -> Generator[Place]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=0755", "tmpfs", str(directory)], check=True)
    try:
        with real_fleet(directory) as fleet:
            fleet.edge.environ = {"SKERRY_RUNTIME": runtime, "SKERRY_FREE_FLOOR_MIB": "1"}
            if containerd is not None:
                fleet.edge.environ["SKERRY_RUNTIME_ENDPOINT"] = containerd.endpoint
            yield Place(fleet=fleet, runtime=runtime)
            for held in fleet.held("pods") if fleet.edge.process is not None else ():
                fleet.api().request("DELETE", f"{CORE}/pods/{held}", query={"gracePeriodSeconds": "0"})
            if fleet.edge.process is not None:
                until(lambda: not fleet.held("pods"), "its pods are gone", lambda: fleet.edge.log)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture(params=RUNTIMES)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Place]:
    server = request.getfixturevalue("containerd") if request.param == "containerd" else None
    with place(request.param, tmp_path, server) as made:
        yield made


def test_who_fills_the_disk_has_to_go_and_the_node_says_so_for_a_while(here: Place) -> None:
    here.start(
        eviction_hard="nodefs.available<40%",
        eviction_minimum_reclaim="nodefs.available=5%",
        eviction_pressure_transition_period_s="6",
    )
    here.create("quiet")
    quiet = here.runs("quiet")
    assert here.condition("DiskPressure") == "False"
    here.create("writer", f"dd if=/dev/zero of=/skerry-fleet-room/much bs=1048576 count=130; {IDLE}")
    here.until(lambda: here.is_evicted("writer"), "the writer is evicted")
    message = str_at(here.status("writer"), "message")
    said = "The node was low on resource: ephemeral-storage. Threshold quantity: 80Mi, available: "
    assert message.startswith(said), message
    target = find_condition(maps_at(here.status("writer"), "conditions"), "DisruptionTarget")
    assert str_at(target, "reason") == "TerminationByKubelet"
    here.until(lambda: here.condition("DiskPressure") == "True", "the node has the condition")
    here.until(lambda: "disk-pressure" in here.taints(), "it is tainted")
    here.create("new")
    here.until(lambda: here.is_evicted("new"), "a new pod is refused")
    assert str_at(here.status("new"), "message") == "Pod was rejected: The node had condition: [DiskPressure]. "
    here.until(lambda: here.condition("DiskPressure") == "False", "the condition is over")
    here.until(lambda: "disk-pressure" not in here.taints(), "the taint is gone")
    assert here.fleet.run_of("quiet") == quiet
    here.create("later", nodeName="")
    here.runs("later")
    here.until(lambda: "Evicted" in here.fleet.cloud.kubectl("get", "events"), "there is an event")
    events = here.fleet.cloud.kubectl("get", "events")
    assert "EvictionThresholdMet" in events
    assert not list(here.fleet.edge.data.glob("pods/*/volumes/room/much")), "what it had written is gone"


@pytest.mark.parametrize(("signal", "condition"), [("memory", "MemoryPressure"), ("pid", "PIDPressure")])
def test_pods_have_to_go_without_a_cloud_and_it_hears_of_it_later(here: Place, signal: str, condition: str) -> None:
    here.start(eviction_hard="none")
    here.create("critical", priorityClassName="system-node-critical")
    here.create("plain")
    critical = here.runs("critical")
    here.runs("plain")
    here.fleet.cloud.stop()
    here.fleet.edge.stop()
    here.start(eviction_hard=f"{signal}.available<99.99%")
    here.until(
        lambda: str_at(here.fleet.held("pods")["plain"], "status", "reason") == "Evicted", "it is evicted alone"
    )
    here.fleet.start_cloud()
    here.until(lambda: here.is_evicted("plain"), "the cloud hears of it")
    assert here.fleet.run_of("critical") == critical
    here.until(lambda: here.condition(condition) == "True", "and of the condition")
    here.until(lambda: f"{signal}-pressure" in here.taints(), "the node is tainted")
    here.create("unplaced", nodeName="")
    told = f"untolerated taint {{node.kubernetes.io/{signal}-pressure: }}"
    here.until(
        lambda: (
            told in str_at(find_condition(maps_at(here.status("unplaced"), "conditions"), "PodScheduled"), "message")
        ),
        "the scheduler keeps away from it",
    )
