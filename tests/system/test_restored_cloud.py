"""A cloud whose store is replaced by an older copy: everything becomes right again, and what runs goes on."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from skerry.objects.json import str_at
from tests.system.real_fleet import (
    CORE,
    DEVICES,
    NODE,
    RealFleet,
    boiler,
    config_map,
    pod,
    processes_of,
    real_fleet,
    set_point,
    until,
)

pytestmark = pytest.mark.system


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        yield fleet


def back_up(fleet: RealFleet, to: Path) -> None:
    """As the manual says: SQLite's own backup, while the cloud runs (`.backup` of its shell is the same)."""
    with closing(sqlite3.connect(fleet.cloud.data / "cloud.db")) as store, closing(sqlite3.connect(to)) as copy:
        store.backup(copy)


def restore(fleet: RealFleet, backup: Path) -> None:
    """The cloud dies; an older copy is moved into its place."""
    fleet.cloud.stop(signal.SIGKILL)
    for name in ("cloud.db-wal", "cloud.db-shm"):
        (fleet.cloud.data / name).unlink(missing_ok=True)
    beside = fleet.cloud.data / "restored.db"
    shutil.copy(backup, beside)
    beside.replace(fleet.cloud.data / "cloud.db")
    fleet.start_cloud()


def test_a_restored_cloud_shows_the_gateway_as_it_is_and_restarts_nothing(fleet: RealFleet, tmp_path: Path) -> None:
    model, device = boiler([1, 2, 3])
    fleet.create(f"{CORE}/configmaps", config_map("settings", "first"))
    until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
    fleet.create(f"{CORE}/pods", pod("web", "settings"))
    fleet.create(f"{DEVICES}/devicemodels", model)
    fleet.create(f"{DEVICES}/devices", device)
    back_up(fleet, tmp_path / "backup.db")  # before the gateway has ever said a word

    fleet.edge.start()
    until(lambda: fleet.run_of("web"), "the pod to run")
    fleet.create(f"{CORE}/pods", pod("late"))
    fleet.patch(f"{CORE}/configmaps/settings", {"data": {"text": "second"}})
    until(lambda: fleet.run_of("late"), "the later pod to run")
    until(lambda: fleet.device_state("boiler") == "online", "the device to be online")
    set_point(fleet, "55")
    until(lambda: fleet.ack("boiler", "setpoint") == "verified", "the setpoint to be verified")
    until(lambda: str_at(fleet.held("configmaps")["settings"], "data", "text") == "second", "the ConfigMap")
    until(lambda: fleet.ready() == "True", "the node to be ready")
    before, ran = fleet.run_of("web"), processes_of(fleet)
    assert len(ran) == 2

    restore(fleet, tmp_path / "backup.db")
    until(lambda: fleet.ready() == "True", "the node to be ready again")
    until(lambda: fleet.run_of("web") == before, "the pod's status, of the same run")
    until(lambda: fleet.device_state("boiler") == "online", "the device's state")
    until(lambda: fleet.wanted("boiler", "setpoint") == "55", "the setpoint, which the backup lacks")
    until(lambda: fleet.ack("boiler", "setpoint") == "verified", "its acknowledgement")
    until(lambda: str_at(fleet.twin("boiler", "setpoint"), "reported", "value") == "55", "the reported value")
    until(lambda: fleet.history("boiler", "level"), "history to go on")
    node = fleet.find(f"/api/v1/nodes/{NODE}")
    assert str_at(node, "status", "nodeInfo", "containerRuntimeVersion").startswith("process://")

    # What should exist, the backup says: the later pod does not, and the ConfigMap is the older one.
    until(lambda: str_at(fleet.held("configmaps")["settings"], "data", "text") == "first", "the older ConfigMap")
    until(lambda: set(fleet.held("pods")) == {"web"}, "the gateway to hold one pod")
    until(lambda: len(processes_of(fleet)) == 1, "the later pod's process to end")
    assert processes_of(fleet).items() <= ran.items(), "what runs is what ran"
