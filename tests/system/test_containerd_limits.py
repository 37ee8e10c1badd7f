"""What pods in real containers may use, how they end when that is too little, and what they hear and say of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from edgecore.pods.cgroup_tree import MOUNT, CgroupTree
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.meta import uid_of
from tests.system.containerd import Containerd, containerd_server, free_port, until
from tests.system.real_fleet import CORE, RealFleet, real_fleet
from tests.system.test_containerd_pods import delete, first_process, pod, runs, status_of

pytestmark = pytest.mark.system
MIB = 1 << 20
PIDS = 200


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("fleet")) as made:
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_CGROUP_ROOT": containerd.cgroup_root,
            "SKERRY_POD_PIDS_MAX": str(PIDS),
            "SKERRY_SYSTEM_RESERVED": "memory=64Mi,cpu=100m",
        }
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        yield made


def limited(name: str, script: str, resources: JsonObject, **spec: Json) -> JsonObject:
    made = pod(name, script, **spec)
    maps_at(made, "spec", "containers")[0]["resources"] = resources
    return made


def held(path: str, file: tuple[str, str]) -> str:
    """The content of a cgroup's file: of v1, or of v2."""
    if CgroupTree().version == 1:
        controller = file[0].split(".")[0]
        return (MOUNT / controller / path / file[0]).read_text().strip()
    return (MOUNT / path / file[1]).read_text().strip()


def cgroup_of(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line.split(":", 2)[2] for line in lines if ":memory:" in line or line.startswith("0::/skt"))


HOLDS = "trap 'exit 0' TERM; sleep 1000 & wait"
WITHIN: JsonObject = {
    "requests": {"cpu": "250m", "memory": "24Mi"},
    "limits": {"cpu": "500m", "memory": "48Mi"},
}
EXACT: JsonObject = {"limits": {"cpu": "100m", "memory": "32Mi"}}


@pytest.mark.parametrize(
    ("resources", "within", "score"),
    [({}, "kubepods/besteffort/", 1000), (WITHIN, "kubepods/burstable/", None), (EXACT, "kubepods/", -997)],
)
def test_a_pod_has_a_cgroup_by_its_class_in_which_all_of_it_is(
    resources: JsonObject, within: str, score: int | None, fleet: RealFleet, containerd: Containerd
) -> None:
    made = fleet.create(f"{CORE}/pods", limited("classed", HOLDS, resources))
    pid = first_process(containerd, runs(fleet, "classed"))
    place = f"{containerd.cgroup_root[1:]}/{within}pod{uid_of(made)}"
    assert cgroup_of(pid).startswith(f"/{place}/")
    assert all(cgroup_of(other).startswith(f"/{place}/") for other in containerd.pids().values()), "its sandbox too"
    assert held(place, ("pids.max", "pids.max")) == str(PIDS)
    own = int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    if score is not None and score > 0:
        assert own == score
    if resources is WITHIN:
        assert 2 < own < 1000
        for cgroup in (place, cgroup_of(pid)[1:]):
            assert held(cgroup, ("memory.limit_in_bytes", "memory.max")) == str(48 * MIB)
            assert held(cgroup, ("cpu.cfs_quota_us", "cpu.max")).split()[0] == "50000"
            assert held(cgroup, ("cpu.shares", "cpu.weight")) in {"256", "10"}
        everybody = place.partition("/burstable")[0]
        assert int(held(everybody, ("memory.limit_in_bytes", "memory.max"))) > 64 * MIB
        assert held(f"{everybody}/burstable", ("cpu.shares", "cpu.weight")) in {"256", "10"}
    delete(fleet, "classed")
    left = [root / place for root in (MOUNT, *MOUNT.iterdir())]
    until(lambda: not [each for each in left if each.exists()], f"its cgroups are gone: {left}")


def test_a_node_tells_what_is_left_for_pods(fleet: RealFleet) -> None:
    told = fleet.find("/api/v1/nodes/eu-1")
    capacity, allocatable = map_at(told, "status", "capacity"), map_at(told, "status", "allocatable")

    def kib(amounts: JsonObject) -> int:
        return int(str_at(amounts, "memory").removesuffix("Ki"))

    assert kib(capacity) - kib(allocatable) == (64 + 64) * 1024, "what is reserved, and what eviction keeps free"
    assert str_at(allocatable, "cpu") == f"{int(str_at(capacity, 'cpu')) * 1000 - 100}m"


def test_a_container_whose_memory_is_out_is_told_as_a_kubelet_tells_it(fleet: RealFleet) -> None:
    limits: JsonObject = {"limits": {"memory": "24Mi"}}
    fleet.create(f"{CORE}/pods", limited("hungry", "exec tail /dev/zero", limits, restartPolicy="Never"))
    until(
        lambda: str_at(fleet.find(f"{CORE}/pods/hungry"), "status", "phase") == "Failed",
        "it failed",
        lambda: f"{status_of(fleet, 'hungry')}\n{fleet.edge.log[-2000:]}",
    )
    ended = map_at(status_of(fleet, "hungry"), "state", "terminated")
    assert (ended.get("reason"), ended.get("exitCode")) == ("OOMKilled", 137)
    delete(fleet, "hungry")


def test_who_crashes_waits_longer_and_longer(fleet: RealFleet) -> None:
    fleet.create(f"{CORE}/pods", pod("crasher", "echo no; exit 3"))
    until(
        lambda: str_at(status_of(fleet, "crasher"), "state", "waiting", "reason") == "CrashLoopBackOff",
        "it waits",
        lambda: fleet.edge.log,
    )
    told = status_of(fleet, "crasher")
    assert str_at(told, "state", "waiting", "message").startswith("back-off 10s restarting failed container=app")
    assert (int_at(told, "lastState", "terminated", "exitCode"), int_at(told, "restartCount") >= 0) == (3, True)
    until(lambda: int_at(status_of(fleet, "crasher"), "restartCount") >= 1, "it is started again")
    delete(fleet, "crasher")


def test_a_port_of_the_gateway_leads_to_the_pod(fleet: RealFleet) -> None:
    port = free_port()
    made = pod("web", "while :; do echo served by $HOSTNAME | nc -l -p 8080; done")
    maps_at(made, "spec", "containers")[0]["ports"] = [{"containerPort": 8080, "hostPort": port}]
    fleet.create(f"{CORE}/pods", made)
    runs(fleet, "web")

    def served() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as peer:
                return peer.recv(100) == b"served by web\n"
        except OSError:
            return False

    until(served, "it answers", lambda: fleet.edge.log[-2000:], seconds=20)
    delete(fleet, "web")
    assert not served()


def test_who_does_not_listen_to_sigterm_is_killed_when_its_grace_is_over(
    fleet: RealFleet, containerd: Containerd
) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.2; done"
    fleet.create(f"{CORE}/pods", pod("deaf", script, terminationGracePeriodSeconds=3))
    pid = first_process(containerd, runs(fleet, "deaf"))
    begun = time.monotonic()
    delete(fleet, "deaf")
    assert time.monotonic() - begun >= 3
    assert not Path(f"/proc/{pid}").exists()
    assert containerd.pids() == {}
