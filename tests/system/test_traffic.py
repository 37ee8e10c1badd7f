"""Bytes of a real link: what the kernel counts, what both ends say of it, and what an idle gateway costs."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from skerry.objects.json import int_at
from skerry.transport.wire_bytes import wire_bytes_of
from tests.system.real_fleet import CORE, config_map, pod, real_fleet, until

pytestmark = pytest.mark.system


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


def test_an_idle_day_is_within_its_budget(tmp_path: Path) -> None:
    """Heartbeats of half a second for some seconds, counted by the kernel, as many as a day of 30 s has."""
    with real_fleet(tmp_path, "--heartbeat-s", "1") as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the node is ready")
        time.sleep(5)  # what a start has to tell is told
        before, began = _wire(fleet.cloud.skerry("node", "traffic", "eu-1", "-o", "json")), time.monotonic()
        time.sleep(20)
        used = _wire(fleet.cloud.skerry("node", "traffic", "eu-1", "-o", "json")) - before
        beats = (time.monotonic() - began) / 1.0
        day = used / beats * 86_400 / 30
        assert day < 1_500_000, f"{used} bytes in {beats:.0f} heartbeats: {day:.0f} a day"


def _wire(said: str) -> int:
    total = json.loads(said)["total"]
    return int(total["wireUp"]) + int(total["wireDown"])
