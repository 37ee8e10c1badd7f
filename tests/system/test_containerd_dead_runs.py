"""Runs that are over on a real containerd: so many stay as the gateway is told to keep, and what goes goes whole."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from skerry.objects.json import int_at, maps_at, str_at
from tests.system.containerd import Containerd, containerd_server, until
from tests.system.real_fleet import CORE, RealFleet, real_fleet
from tests.system.test_containerd_pods import delete, pod, status_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

FINISHED = 4
KEPT = 2
LOOKS_S = 120.0
"""It looks once a minute."""


@pytest.fixture
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture
def fleet(containerd: Containerd, tmp_path: Path) -> Generator[RealFleet]:
    with real_fleet(tmp_path) as made:
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_MAXIMUM_DEAD_CONTAINERS": str(KEPT),
            "SKERRY_MAXIMUM_DEAD_CONTAINERS_PER_CONTAINER": "0",
        }
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        yield made


def containers(containerd: Containerd) -> list[str]:
    """All that containerd keeps, sandboxes among them, whether they run or not."""
    return containerd.ctr("containers", "list", "-q").split()


def logs(fleet: RealFleet) -> list[str]:
    return sorted(place.name.split("_")[1] for place in (fleet.edge.data / "logs").iterdir())


def test_finished_pods_keep_the_newest_runs_and_their_status(fleet: RealFleet, containerd: Containerd) -> None:
    names = [f"job-{number}" for number in range(FINISHED)]
    for name in names:
        fleet.create(f"{CORE}/pods", pod(name, "exit 0", restartPolicy="Never"))
        until(lambda name=name: phase(fleet, name) == "Succeeded", f"{name} is done", lambda: fleet.edge.log)
    assert len(containers(containerd)) == 2 * FINISHED
    until(lambda: len(containers(containerd)) == 2 * KEPT, "the oldest are gone", seconds=LOOKS_S)
    until(lambda: logs(fleet) == names[-KEPT:], "and their logs")
    assert [phase(fleet, name) for name in names] == ["Succeeded"] * FINISHED
    for name in names:
        delete(fleet, name)
    until(lambda: containers(containerd) == [] and logs(fleet) == [], "nothing is left")


def test_of_a_container_that_crashes_no_run_stays_but_the_newest(fleet: RealFleet, containerd: Containerd) -> None:
    fleet.create(f"{CORE}/pods", pod("crash", "sleep 1; exit 3"))
    until(
        lambda: int_at(status_of(fleet, "crash"), "restartCount") >= 2,
        "it crashed",
        lambda: fleet.edge.log,
        seconds=90,
    )
    until(lambda: len(containers(containerd)) == 2, "a sandbox and a run")
    (place,) = (fleet.edge.data / "logs").iterdir()
    until(lambda: len([*place.glob("app/*.log")]) == 1, "and one log")
    assert maps_at(fleet.find(f"{CORE}/pods/crash"), "status", "containerStatuses")


def phase(fleet: RealFleet, name: str) -> str:
    return str_at(fleet.find(f"{CORE}/pods/{name}"), "status", "phase")
