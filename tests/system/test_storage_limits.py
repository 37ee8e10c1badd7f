"""emptyDir volumes in memory and with limits, on real processes: as people write them, with the agent as root."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from skerry.objects.json import Json, JsonObject, maps_at, str_at
from tests.system.containerd import until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("storage")) as made:
        made.edge.start()
        yield made


def a_pod(name: str, script: str, volume: JsonObject, path: str) -> JsonObject:
    mounts: Json = [{"name": "v", "mountPath": path}]
    container: JsonObject = {"name": "app", "image": "sh", "command": ["sh", "-c", script], "volumeMounts": mounts}
    spec: JsonObject = {
        "nodeName": NODE,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "v", "emptyDir": volume}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def mounts(fleet: RealFleet) -> list[str]:
    text = Path("/proc/self/mountinfo").read_text()
    return [line for line in text.splitlines() if str(fleet.edge.data) in line]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_volume_in_memory_has_the_size_of_its_limit_and_goes_with_its_pod(fleet: RealFleet) -> None:
    path = str(fleet.edge.data.parent / "memory")
    script = f"stat -f -c '%T %b %S' {path}; dd if=/dev/zero of={path}/f bs=1024 count=4096 2>&1; sleep 1000"
    fleet.create(f"{CORE}/pods", a_pod("memory", script, {"medium": "Memory", "sizeLimit": "1Mi"}, path))
    until(lambda: fleet.run_of("memory"), "it runs", lambda: fleet.edge.log)

    def log() -> str:
        return b"".join(fleet.api().chunks(f"{CORE}/pods/memory/log")).decode()

    until(lambda: "No space left" in log(), "it is full", log)
    assert "tmpfs 256 4096" in log()
    assert len(mounts(fleet)) == 1
    fleet.api().request("DELETE", f"{CORE}/pods/memory")
    until(lambda: fleet.find(f"{CORE}/pods/memory") is None and not mounts(fleet), "nothing is left of it")


def test_a_pod_that_fills_its_volume_is_ended_and_says_why(fleet: RealFleet) -> None:
    path = str(fleet.edge.data.parent / "disk")
    script = f"head -c 3000000 /dev/urandom > {path}/f; sleep 1000"
    fleet.create(f"{CORE}/pods", a_pod("disk", script, {"sizeLimit": "1Mi"}, path))

    def status() -> JsonObject:
        held = fleet.find(f"{CORE}/pods/disk") or {}
        found = held.get("status")
        return found if isinstance(found, dict) else {}

    until(lambda: str_at(status(), "phase") == "Failed", "it is ended", lambda: fleet.edge.log, seconds=60)
    message = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert (str_at(status(), "reason"), str_at(status(), "message")) == ("Evicted", message)

    def reasons() -> list[str]:
        return [str_at(each, "reason") for each in maps_at(fleet.find(f"{CORE}/events"), "items")]

    until(lambda: "Evicted" in reasons(), "an event says so")
