"""`kubectl patch --subresource resize` of a pod that runs: the kernel's limits follow, and the container runs on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, dig, maps_at, str_at
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, until
from tests.system.real_fleet import CORE, NODE, RealFleet
from tests.system.test_containerd_pods import delete, first_process, runs, status_of
from tests.system.test_kubectl_debug import containerd, fleet, kubectl

__all__ = ["containerd", "fleet"]
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]


@pytest.fixture(autouse=True)
def swept(fleet: RealFleet) -> Generator[None]:
    yield
    delete(fleet, "sized")


def sized(memory: str, *policies: str) -> JsonObject:
    resources: JsonObject = {
        "requests": {"cpu": "50m", "memory": memory},
        "limits": {"cpu": "100m", "memory": memory},
    }
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "100000"],
        "resources": resources,
        "resizePolicy": [{"resourceName": name, "restartPolicy": "RestartContainer"} for name in policies],
    }
    spec: JsonObject = {"nodeName": NODE, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sized"}, "spec": spec}


def resize(fleet: RealFleet, **limits: str) -> None:
    resources = {"limits": limits, "requests": limits if "memory" in limits else {}}
    change = {"spec": {"containers": [{"name": "app", "resources": resources}]}}
    kubectl(fleet, "patch", "pod", "sized", "--subresource", "resize", "--patch", json.dumps(change))


def limit(pid: int) -> int:
    """Bytes of memory that the kernel lets this process's group have."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            return int(Path(f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes").read_text())
        if not controllers and Path(f"/sys/fs/cgroup{group}/memory.max").exists():
            return int(Path(f"/sys/fs/cgroup{group}/memory.max").read_text())
    raise AssertionError(f"no memory controller for {pid}")


def pod_limit(pid: int) -> int:
    """The same of its pod: the agent's cgroup, in which its container's is."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        pods = str(Path(group).parent)
        if "memory" in controllers.split(","):
            assert "/kubepods/" in pods, pods
            return int(Path(f"/sys/fs/cgroup/memory{pods}/memory.limit_in_bytes").read_text())
        if not controllers and Path(f"/sys/fs/cgroup{pods}/memory.max").exists():
            assert "kubepods" in pods, pods
            return int(Path(f"/sys/fs/cgroup{pods}/memory.max").read_text())
    raise AssertionError(f"no memory controller for {pid}")


def test_a_container_gets_another_limit_and_runs_on(fleet: RealFleet, containerd: Containerd) -> None:
    fleet.create(f"{CORE}/pods", sized("32Mi"))
    run = runs(fleet, "sized")
    pid = first_process(containerd, run)
    assert (limit(pid), pod_limit(pid)) == (32 << 20, 32 << 20)
    resize(fleet, memory="64Mi")
    until(lambda: limit(pid) == 64 << 20, "the kernel knows", lambda: f"{status_of(fleet, 'sized')}{fleet.edge.log}")
    until(lambda: dig(status_of(fleet, "sized"), "resources", "limits", "memory") == "64Mi", "it is told")
    assert fleet.run_of("sized") == run and pod_limit(pid) == 64 << 20
    resize(fleet, memory="1000Gi")

    def pending() -> str:
        held = fleet.find(f"{CORE}/pods/sized")
        return str_at(find_condition(maps_at(held, "status", "conditions"), "PodResizePending"), "reason")

    until(lambda: pending() == "Infeasible", "it is refused", lambda: fleet.edge.log)
    resize(fleet, memory="48Mi")
    until(lambda: limit(pid) == 48 << 20 and not pending(), "less is given", lambda: fleet.edge.log)
    until(lambda: pod_limit(pid) == 48 << 20, "its pod's follows", lambda: fleet.edge.log)
    assert fleet.run_of("sized") == run


def test_a_container_that_wants_it_is_started_anew_at_once(fleet: RealFleet, containerd: Containerd) -> None:
    fleet.create(f"{CORE}/pods", sized("32Mi", "memory"))
    run = runs(fleet, "sized")
    resize(fleet, memory="40Mi")
    until(lambda: fleet.run_of("sized") not in ("", run), "it runs anew", lambda: fleet.edge.log, seconds=9)
    assert limit(first_process(containerd, fleet.run_of("sized"))) == 40 << 20
