"""Pages of a backlog are overwritten on a real gateway: the rest arrives once, and what is lost is told."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgecore.store.database import FILE_NAME
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from tests.system.real_fleet import CORE, NODE, RealFleet, pod, real_fleet, until
from tests.system.test_backlog import BACKLOG, arrived, pile_up, waiting
from tests.system.test_backlog import fleet as fleet

pytestmark = pytest.mark.system

PAGE = 4096
BROKEN = (BACKLOG // 2, BACKLOG // 2 + 300, BACKLOG - 100)
"""The pages that hold these readings."""


def overwrite(path: Path) -> None:
    """A card that lied about what it had written."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        bodies = [
            body
            for (body,) in connection.execute("SELECT body FROM outbox WHERE class = 'telemetry' ORDER BY seq")
            if b"depth" in body
        ]
    content = bytearray(path.read_bytes())
    for number in BROKEN:
        page = content.index(bodies[number - 1]) // PAGE
        content[page * PAGE : (page + 1) * PAGE] = b"\xff" * PAGE
    path.write_bytes(content)


def dropped(fleet: RealFleet) -> Iterator[str]:
    """What Events in the cloud say."""
    for event in maps_at(fleet.find("/api/v1/events"), "items"):
        if str_at(event, "reason") == "ReportsDropped":
            yield str_at(event, "message")


def events_of(fleet: RealFleet) -> list[JsonObject]:
    return maps_at(fleet.find("/api/v1/events"), "items")


def test_the_rest_of_a_damaged_backlog_arrives_and_what_is_lost_is_told(fleet: RealFleet) -> None:
    pile_up(fleet)
    overwrite(fleet.edge.data / "store" / FILE_NAME)
    before = len(fleet.edge.log)
    fleet.edge.start()
    process = fleet.edge.process
    assert process is not None
    until(lambda: process.poll() is not None, "the agent to meet the damage")
    fleet.edge.process = None
    said = fleet.edge.log[before:]
    assert "edgecore stops reason=the edge store is damaged, and the next start sets it aside" in said
    assert "Traceback" not in said
    assert "Exception in callback" not in said

    fleet.edge.start()
    until(lambda: any("store was damaged" in each for each in dropped(fleet)), "the cloud to be told")
    until(lambda: any(str_at(each, "reason") == "EdgeStoreDamaged" for each in events_of(fleet)), "the Node's Event")
    assert "EdgeStoreDamaged" in fleet.cloud.kubectl("describe", "node", NODE)
    until(lambda: waiting(fleet) == 0, "the rest to arrive", deadline_s=120)
    status = fleet.find("/skerry/status", fleet.edge.api)
    (gap,) = [each for each in maps_at(status, "outbox", "gaps") if str_at(each, "class") == "telemetry"]
    lost = int_at(gap, "damaged")
    assert 0 < lost < 300
    numbers = arrived(fleet)
    assert len(numbers) == len(set(numbers)), "twice"
    assert len(numbers) + lost == BACKLOG
    assert not set(BROKEN) & set(numbers)
    assert any(f"{lost} because the gateway's store was damaged" in each for each in dropped(fleet))
    here = [sys.executable, "-m", "skerry.cli.main", "node", "backlog", "--data", str(fleet.edge.data)]
    table = subprocess.run(here, capture_output=True, text=True, timeout=60, check=True).stdout
    assert any(line.split()[0] == "telemetry" and line.split()[-1] == str(lost) for line in table.splitlines()), table
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.start()
    until(lambda: fleet.edge.link_state() == "connected", "the agent to be in step again")
    assert sorted(arrived(fleet)) == sorted(numbers), "nor twice after another start"


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut"])
def test_pods_run_on_where_the_store_is_lost_without_a_link(tmp_path: Path, damage: str) -> None:
    with real_fleet(tmp_path) as fleet:
        fleet.edge.start()
        fleet.create(f"{CORE}/pods", pod("reader"))
        until(lambda: fleet.run_of("reader"), "the pod runs")
        run = fleet.run_of("reader")
        fleet.cloud.stop(signal.SIGKILL)
        fleet.edge.stop(signal.SIGKILL)
        lost(fleet.edge.data / "store" / FILE_NAME, damage)
        fleet.edge.start()
        fleet.start_cloud()
        until(lambda: fleet.edge.link_state() == "connected", "in step again")
        until(
            lambda: any(str_at(each, "reason") == "EdgeStoreDamaged" for each in events_of(fleet)), "the Node's Event"
        )
        fleet.create(f"{CORE}/pods", pod("later"))
        until(lambda: fleet.run_of("later"), "what is new runs")
        assert fleet.run_of("reader") == run, "what ran is left alone"


def lost(path: Path, damage: str) -> None:
    """The whole of a store, in one of the ways in which that happens; its WAL as well."""
    size = path.stat().st_size
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    path.write_bytes({"garbage": b"\x5a" * size, "empty": b"", "cut": path.read_bytes()[: size // 3]}[damage])
