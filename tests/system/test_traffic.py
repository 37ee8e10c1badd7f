"""Bytes of a real link: what the kernel counts, what both ends say of it, and what an idle gateway costs."""

from __future__ import annotations

import base64
import json
import random
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from skerry.objects.json import int_at, maps_at
from skerry.sync.edge import PING_HEARTBEATS
from skerry.sync.ports import SyncSettings
from skerry.transport.wire_bytes import wire_bytes_of
from tests.system.real_fleet import CORE, RealFleet, config_map, pod, real_fleet, until

pytestmark = [pytest.mark.system, pytest.mark.long]

PING_BYTES = 4


def test_the_kernel_counts_what_travels() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as here:
        there, _ = listener.accept()
        with there:
            here.sendall(b"x" * 100_000)
            left = 100_000
            while left:
                left -= len(there.recv(65_536))
            sent, received = wire_bytes_of(here) or (0, 0)
            assert 100_000 + 52 < sent < 110_000
            assert 52 <= received < 5_000, "acknowledgements alone"
            mirrored = wire_bytes_of(there) or (0, 0)
            assert mirrored[1] >= 100_000
        assert wire_bytes_of(there) is None, "a closed socket can't say"


def test_both_ends_keep_a_book_that_outlives_them(tmp_path: Path) -> None:
    with real_fleet(tmp_path, "--heartbeat-s", "1") as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the node is ready")
        fleet.create(f"{CORE}/configmaps", config_map("settings", "x" * 20_000))
        fleet.create(f"{CORE}/pods", pod("reader", "settings"))
        until(lambda: fleet.run_of("reader"), "the pod runs")
        cloud = json.loads(fleet.cloud.skerry("node", "traffic", "eu-1", "-o", "json"))
        edge = fleet.edge.api.request("GET", "/skerry/traffic").obj
        down = int_at(cloud, "total", "down", "objects")
        assert down > 100, cloud
        (hour,) = [each for each in edge["hours"] if isinstance(each, dict)][-1:]  # type: ignore[union-attr]
        assert int_at(hour, "down", "objects") >= down
        assert int_at(cloud, "total", "wireDown") > sum(cloud["total"]["down"].values())
        assert "on the network" in fleet.cloud.skerry("node", "traffic", "eu-1")
        assert "eu-1" in fleet.cloud.skerry("node", "traffic", "-o", "wide")
        fleet.cloud.stop()
        fleet.start_cloud()
        until(lambda: fleet.edge.link_state() == "connected", "the link is up again")
        again = json.loads(fleet.cloud.skerry("node", "traffic", "eu-1", "-o", "json"))
        assert int_at(again, "total", "down", "objects") >= down


def test_a_killed_cloud_keeps_what_a_busy_node_cost_and_its_past_when_it_is_deleted(tmp_path: Path) -> None:
    with real_fleet(tmp_path, "--heartbeat-s", "1") as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the node is ready")
        fleet.cloud.kubectl("annotate", "node", "eu-1", "skerry.dev/traffic-budget=daily=1kB")
        refused = fleet.cloud.kubectl("annotate", "node", "eu-1", "skerry.dev/bandwidth=64kb", check=False)
        assert "metadata.annotations[skerry.dev/bandwidth]" in refused, refused
        fleet.create(f"{CORE}/configmaps", config_map("large", random_text(900_000)))
        fleet.create(f"{CORE}/configmaps", config_map("larger", random_text(900_000)))
        fleet.create(f"{CORE}/pods", pod("reader", "large", "larger"))
        until(lambda: fleet.run_of("reader"), "the pod runs", deadline_s=60)
        until(lambda: _records(fleet), "the book is written", deadline_s=90)
        until(lambda: "TrafficOverBudget" in fleet.cloud.kubectl("get", "events"), "the warning", deadline_s=60)
        fleet.cloud.stop(signal.SIGKILL)
        fleet.start_cloud()
        book = json.loads(fleet.cloud.skerry("node", "traffic", "eu-1", "-o", "json"))
        assert int_at(book, "total", "wireDown") > 1_000_000, book
        unknown = fleet.cloud.try_skerry("node", "traffic", "nosuch")
        assert (unknown.returncode, unknown.stderr.strip()) == (3, 'error: nodes "nosuch" not found')
        fleet.cloud.kubectl("delete", "node", "eu-1")
        assert "on the network" in fleet.cloud.skerry("node", "traffic", "eu-1")


def random_text(size: int) -> str:
    """Not to be deflated much."""
    return base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()


def _records(fleet: RealFleet) -> bool:
    """Whether the cloud's store has a record of the node's traffic."""
    with closing(sqlite3.connect(f"file:{fleet.cloud.data / 'cloud.db'}?mode=ro", uri=True)) as store:
        return bool(store.execute("SELECT 1 FROM records WHERE series = 'traffic:eu-1'").fetchone())


def test_an_idle_day_is_within_its_budget(tmp_path: Path) -> None:
    """What the kernel counts for one question and its answer, times those of a day with the default heartbeat.

    Of several short spans the cheapest counts: on a busy machine an answer may come so late that TCP acknowledges the
    question by a packet of its own.
    """
    with real_fleet(tmp_path, "--heartbeat-s", "1") as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the node is ready")
        time.sleep(5)  # what a start has to tell is told
        costs: list[float] = []
        for _ in range(6):
            before = _carried(fleet)
            time.sleep(5)
            wire, pings = (now - then for now, then in zip(_carried(fleet), before, strict=True))
            assert pings >= 1
            costs.append(wire / pings)
        exchanges = 86_400 / SyncSettings().heartbeat_s / PING_HEARTBEATS + 86_400 / SyncSettings().compare_s
        day = min(costs) * exchanges
        assert day < 500_000, f"{min(costs):.0f} bytes an exchange: {day:.0f} a day; all: {costs}"


def _carried(fleet: RealFleet) -> tuple[int, int]:
    """Bytes on the network, and pings, by the gateway's own book. A ping has four bytes up to its 127th."""
    hours = maps_at(fleet.edge.api.request("GET", "/skerry/traffic").obj, "hours")
    wire = sum(int_at(hour, "wireUp") + int_at(hour, "wireDown") for hour in hours)
    return wire, sum(int_at(hour, "up", "session") for hour in hours) // PING_BYTES
