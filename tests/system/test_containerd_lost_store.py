"""A gateway's store is damaged or lost while there is no cloud: its containers go on, and are looked after.

On containerd. What is set aside stays for people; nothing that runs is ended, nothing runs twice, and when the cloud
is back it is told what happened.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest

from edgecore.store.database import FILE_NAME
from edgecore.store.held_copy import FILE, read
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.objects.meta import name_of
from tests.system.containerd import Containerd, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, config_map, real_fleet
from tests.system.test_containerd_pods import HOLDS, pod, runs

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PAGE = 4096


@pytest.fixture
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture
def fleet(containerd: Containerd, tmp_path: Path) -> Generator[RealFleet]:
    """With a pod that mounts a ConfigMap, and one whose run is over; both in the copy."""
    with real_fleet(tmp_path) as made:
        made.edge.environ = {"SKERRY_RUNTIME": "containerd", "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint}
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        made.create(f"{CORE}/configmaps", config_map("settings", "first"))
        made.create(f"{CORE}/pods", pod("once", "exit 0", restartPolicy="Never"))
        made.create(f"{CORE}/pods", mounting("app"))
        runs(made, "app")
        until(lambda: phase(made, "once") == "Succeeded", "the other is done", lambda: made.edge.log)
        until(lambda: copied(made) >= {"app", "once", "settings"}, "it is copied", lambda: made.edge.log)
        yield made


def mounting(name: str) -> JsonObject:
    made = pod(
        name, f"cat /settings/text; {HOLDS}", volumes=[{"name": "settings", "configMap": {"name": "settings"}}]
    )
    (container,) = maps_at(made, "spec", "containers")
    container["volumeMounts"] = [{"name": "settings", "mountPath": "/settings"}]
    return made


def phase(fleet: RealFleet, name: str) -> str:
    return str_at(fleet.find(f"{CORE}/pods/{name}"), "status", "phase")


def copied(fleet: RealFleet) -> set[str]:
    """Names of what is in the copy; the pod whose run is over counts with its record."""
    copy = read(fleet.edge.data / FILE, NODE)
    if copy is None or not copy.batch.pods:
        return set()
    return {each.key.name for each in copy.batch.puts}


def tear_objects(path: Path) -> None:
    """The page on which the pod is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (body,) = connection.execute("SELECT body FROM objects WHERE resource = 'configmaps'").fetchone()
    content = bytearray(path.read_bytes())
    page = content.index(body[:100]) // PAGE
    content[page * PAGE : (page + 1) * PAGE] = b"\xff" * PAGE
    path.write_bytes(content)


def zero(path: Path) -> None:
    """All of it: what SQLite keeps beside it would make it whole again."""
    for each in path.parent.glob(f"{FILE_NAME}-*"):
        each.unlink()
    path.write_bytes(bytes(path.stat().st_size))


def remove(path: Path) -> None:
    for each in path.parent.glob("edge.*"):
        each.unlink()


def lose(fleet: RealFleet, how: Callable[[Path], None]) -> None:
    """The cloud goes, the agent is killed, and its store is damaged."""
    fleet.cloud.stop(signal.SIGKILL)
    fleet.edge.stop(signal.SIGKILL)
    how(fleet.edge.data / "store" / FILE_NAME)


def here(fleet: RealFleet, name: str) -> JsonObject:
    """The pod as the gateway itself tells of it."""
    return fleet.find(f"{CORE}/pods/{name}", fleet.edge.api) or {}


def container_of(told: JsonObject) -> str:
    (status,) = maps_at(told, "status", "containerStatuses") or [{}]
    return str_at(status, "containerID") if "running" in (status.get("state") or {}) else ""  # type: ignore[operator]


def restarts_of(told: JsonObject) -> int:
    (status,) = maps_at(told, "status", "containerStatuses")
    return int_at(status, "restartCount")


def damage_events(fleet: RealFleet) -> list[str]:
    events = maps_at(fleet.find("/api/v1/events"), "items")
    return [str_at(each, "message") for each in events if str_at(each, "reason") == "EdgeStoreDamaged"]


@pytest.mark.parametrize("how", [tear_objects, zero, remove])
def test_pods_are_looked_after_without_a_cloud(
    how: Callable[[Path], None], fleet: RealFleet, containerd: Containerd
) -> None:
    before = fleet.run_of("app").split(" ")[0]
    processes = containerd.pids()
    lose(fleet, how)
    fleet.edge.start()
    until(lambda: container_of(here(fleet, "app")) == before, "the run is known", lambda: fleet.edge.log)
    assert containerd.pids() == processes, "nothing was ended, and nothing runs twice"
    assert restarts_of(here(fleet, "app")) == 0
    until(lambda: str_at(here(fleet, "once"), "status", "phase") == "Succeeded", "what is done stays done")

    os.kill(processes[before.removeprefix("containerd://")], signal.SIGKILL)
    until(lambda: container_of(here(fleet, "app")) not in ("", before), "it is started again", lambda: fleet.edge.log)
    assert restarts_of(here(fleet, "app")) == 1
    again = container_of(here(fleet, "app"))
    assert len(containerd.pids()) == len(processes)

    fleet.start_cloud()
    until(lambda: fleet.run_of("app").split(" ")[0] == again, "the cloud is told", lambda: fleet.edge.log, seconds=60)
    until(lambda: damage_events(fleet), "the cloud is told what happened", lambda: fleet.edge.log)
    assert "objects are as they were copied at" in damage_events(fleet)[0]
    fleet.patch(f"{CORE}/configmaps/settings", {"data": {"text": "second"}})
    held = fleet.edge.data / "pods"
    until(lambda: "second" in {text.read_text() for text in held.glob("*/volumes/**/settings/text")}, "in step")
    assert len(containerd.pids()) == len(processes) and fleet.run_of("app").split(" ")[0] == again


def test_without_a_copy_the_containers_go_on_until_the_cloud_says_whose_they_are(
    fleet: RealFleet, containerd: Containerd
) -> None:
    before = fleet.run_of("app").split(" ")[0]
    processes = containerd.pids()
    lose(fleet, remove)
    (fleet.edge.data / FILE).unlink()
    fleet.edge.start()
    until(lambda: fleet.edge.link_state() != "connected", "it dials in vain")
    assert containerd.pids() == processes
    assert [name_of(each) for each in fleet.held("pods").values()] == []
    fleet.start_cloud()
    until(lambda: container_of(here(fleet, "app")) == before, "the run is known", lambda: fleet.edge.log, seconds=60)
    until(lambda: fleet.run_of("app").split(" ")[0] == before, "as the cloud sees it", lambda: fleet.edge.log)
    assert containerd.pids() == processes
    assert restarts_of(here(fleet, "app")) == 0
    assert not list(fleet.edge.data.glob("pods/*/volumes/**/none"))
