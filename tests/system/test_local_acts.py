"""A technician at a real gateway without a link: pods restarted, stopped and started, upgrades held; told later."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, maps_at, str_at
from tests.system.real_fleet import CORE, NODE, RealFleet, pod, real_fleet, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("acts")) as made:
        yield made


def skerry(fleet: RealFleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    """On the gateway, over its socket."""
    command = [sys.executable, "-m", "skerry.cli.main", "--data", str(fleet.edge.data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)


def done(fleet: RealFleet, *arguments: str) -> str:
    ended = skerry(fleet, *arguments)
    assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
    return ended.stdout


def here(fleet: RealFleet, name: str) -> JsonObject:
    return fleet.held("pods").get(name, {})


def run_of(fleet: RealFleet, name: str) -> str:
    """Which run of the container the gateway itself shows as running; "" for none."""
    for each in maps_at(here(fleet, name), "status", "containerStatuses"):
        if str_at(each, "state", "running", "startedAt"):
            return str_at(each, "containerID")
    return ""


def test_what_is_done_by_hand_without_a_link_stays_and_is_told_with_who_and_when(fleet: RealFleet) -> None:
    fleet.edge.start()
    until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the account of pods")
    for name in ("web", "pump"):
        fleet.create(f"{CORE}/pods", pod(name))
    until(lambda: fleet.run_of("web") and fleet.run_of("pump"), "both run", deadline_s=90)
    fleet.cloud.stop()

    before = run_of(fleet, "web")
    assert "web restarted" in done(fleet, "pod", "restart", "web")
    assert run_of(fleet, "web") not in ("", before)
    done(fleet, "pod", "stop", "pump", "--reason", "belt torn")
    done(fleet, "upgrade", "hold", "--until", "8h", "--reason", "harvest")
    assert skerry(fleet, "pod", "restart", "pump").returncode == 4
    assert skerry(fleet, "pod", "stop", "nosuch").returncode == 3

    # The power goes: what was stopped stays so, all else is back.
    second = run_of(fleet, "web")
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.end_containers()
    fleet.edge.start()
    until(lambda: run_of(fleet, "web") not in ("", second), "it is back", deadline_s=90)
    assert not run_of(fleet, "pump")
    assert "held" in done(fleet, "upgrade", "status") and "root (uid 0)" in done(fleet, "upgrade", "status")
    third = run_of(fleet, "web")

    fleet.start_cloud()
    until(lambda: str_at(fleet.find(f"{CORE}/pods/pump"), "status", "reason") == "StoppedOnGateway", "told")

    def listed() -> list[tuple[str, str, str]]:
        rows = json.loads(fleet.cloud.skerry("node", "local-changes", NODE, "-o", "json"))["items"]
        return [(row["act"], row.get("pod", ""), row["by"]) for row in rows]

    by = "root (uid 0)"
    expected = [("hold", "", by), ("stop", "pump", by), ("restart", "web", by)]
    until(lambda: listed() == expected, "the cloud lists them")
    assert "belt torn" in fleet.cloud.skerry("node", "local-changes", NODE)
    described = fleet.cloud.kubectl("describe", "pod", "pump")
    assert "StoppedOnGateway" in described and "stopped on the gateway by root (uid 0) at " in described
    until(lambda: "RestartedOnGateway" in fleet.cloud.kubectl("describe", "pod", "web"), "its event")
    node = fleet.cloud.kubectl("describe", "node", NODE)
    assert "UpgradesHeld" in node and "harvest" in node

    # What the cloud sends and ends meanwhile waits.
    fleet.create(f"{CORE}/pods", pod("new"))
    until(lambda: str_at(fleet.find(f"{CORE}/pods/new"), "status", "reason") == "UpgradesHeld", "it waits")
    fleet.cloud.kubectl("delete", "pod", "web", "--wait=false")
    until(lambda: str_at(here(fleet, "web"), "metadata", "deletionTimestamp"), "the gateway has heard of it")
    assert run_of(fleet, "web") == third
    done(fleet, "upgrade", "release")
    until(lambda: fleet.run_of("new"), "it runs now", deadline_s=90)
    until(lambda: fleet.find(f"{CORE}/pods/web") is None, "and the other is gone", deadline_s=90)
    done(fleet, "pod", "start", "pump")
    until(lambda: fleet.run_of("pump"), "the cloud sees it run")
    held = find_condition(maps_at(fleet.find(f"/api/v1/nodes/{NODE}"), "status", "conditions"), "UpgradesHeld")
    assert held is None or str_at(held, "status") == "True"  # it goes with the next look at the node
    until(lambda: "UpgradesHeld" not in fleet.cloud.kubectl("get", "node", NODE, "-o", "yaml"), "the condition went")
