"""Pods in real containers, from the cloud to containerd: run, told, logged, stopped; what ends while nobody looks."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject, maps_at, str_at
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet

pytestmark = pytest.mark.system
HOLDS = "trap 'echo bye; exit 0' TERM; echo begun $HOSTNAME; sleep 1000 & wait"


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    """A cloud, and a gateway whose pods are containers."""
    with real_fleet(tmp_path_factory.mktemp("fleet")) as made:
        made.edge.environ = {"SKERRY_RUNTIME": "containerd", "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint}
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        yield made


def pod(name: str, script: str = HOLDS, **spec: object) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
    }
    made: JsonObject = {
        "nodeName": NODE,
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**made, **spec},  # type: ignore[dict-item]
    }


def status_of(fleet: RealFleet, name: str) -> JsonObject:
    found = maps_at(fleet.find(f"{CORE}/pods/{name}"), "status", "containerStatuses")
    return found[0] if found else {}


def runs(fleet: RealFleet, name: str) -> str:
    """Its container once it runs."""
    until(lambda: fleet.run_of(name), f"{name} runs", lambda: f"{status_of(fleet, name)}\n{fleet.edge.log}")
    return fleet.run_of(name)


def log_of(fleet: RealFleet, name: str) -> str:
    return b"".join(fleet.api().chunks(f"{CORE}/pods/{name}/log")).decode()


def delete(fleet: RealFleet, name: str) -> None:
    fleet.api().request("DELETE", f"{CORE}/pods/{name}")
    until(lambda: fleet.find(f"{CORE}/pods/{name}") is None, f"{name} is gone", lambda: fleet.edge.log)


def first_process(containerd: Containerd, run: str) -> int:
    return containerd.pids()[run.split(" ")[0].removeprefix("containerd://")]


def test_a_pod_runs_in_a_container_is_logged_and_stops(fleet: RealFleet, containerd: Containerd) -> None:
    node = fleet.find(f"/api/v1/nodes/{NODE}")
    assert str_at(node, "status", "nodeInfo", "containerRuntimeVersion").startswith("containerd://1.")
    fleet.create(f"{CORE}/pods", pod("one"))
    pid = first_process(containerd, runs(fleet, "one"))
    assert Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    until(lambda: "begun one" in log_of(fleet, "one"), "it is logged")
    delete(fleet, "one")
    assert not Path(f"/proc/{pid}").exists()
    assert containerd.pids() == {}


def test_a_container_that_ends_is_told_of_at_once(fleet: RealFleet, containerd: Containerd) -> None:
    fleet.create(f"{CORE}/pods", pod("two", "sleep 1000", restartPolicy="Never"))
    os.kill(first_process(containerd, runs(fleet, "two")), signal.SIGKILL)
    until(lambda: str_at(fleet.find(f"{CORE}/pods/two"), "status", "phase") == "Failed", "it failed", seconds=15)
    ended = status_of(fleet, "two")
    assert str_at(ended, "state", "terminated", "reason") == "Error"
    delete(fleet, "two")


def test_what_ends_while_nobody_looks_is_found_and_started_again(fleet: RealFleet, containerd: Containerd) -> None:
    fleet.create(f"{CORE}/pods", pod("app"))
    run = runs(fleet, "app")
    pid = first_process(containerd, run)
    fleet.edge.stop(signal.SIGKILL)
    containerd.kill()
    os.kill(pid, signal.SIGKILL)
    containerd.start()
    fleet.edge.start()
    until(lambda: fleet.run_of("app") not in ("", run), "it runs again", lambda: fleet.edge.log)
    assert str_at(status_of(fleet, "app"), "lastState", "terminated", "containerID") == run.split(" ")[0]
    delete(fleet, "app")
    assert containerd.pids() == {}
