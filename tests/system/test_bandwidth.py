"""Caps by time of day between real processes: what the kernel counts, who stays connected, and what comes after."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from random import Random

import pytest

from edgecore.store.opening import open_store
from edgecore.store.port import EdgeBatch, NewReport, OutboxBudgets
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import InvalidError
from skerry.objects.bandwidth import BANDWIDTH
from skerry.objects.json import dig, int_at, str_at
from skerry.objects.twins import DeviceName, Telemetry, encode_telemetry
from tests.system.real_fleet import CORE, RealFleet, config_map, pod, real_fleet, until

pytestmark = [pytest.mark.system, pytest.mark.long]

UP, DOWN = 4000, 8000
"""Bytes a second: 32 and 64 kbit/s."""
WINDOW_S = 30.0
READINGS = 4000


def annotate(fleet: RealFleet, plan: str | None) -> None:
    fleet.patch("/api/v1/nodes/eu-1", {"metadata": {"annotations": {BANDWIDTH: plan}}})


def counted(fleet: RealFleet) -> tuple[int, int]:
    """What the kernel counted on the cloud's side of the link: up, down."""
    total = json.loads(fleet.cloud.skerry("node", "traffic", "eu-1", "-o", "json"))["total"]
    return int_at(total, "wireUp"), int_at(total, "wireDown")


def fill(data: Path) -> None:
    """A backlog that no compression can shrink much, in the store of an agent that does not run."""
    chance, device = (
        Random(3),
        DeviceName(namespace="default", name="pump", uid="6f6e9c1e-51c3-4e0a-9d77-0f5b1c2d3e4f"),
    )
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    settings = StoreSettings(directory=data / "store", boot_id=boot, budgets=OutboxBudgets())
    store = open_store(settings, SystemClock(), SystemIds()).store
    now_ms = round(time.time() * 1000)
    readings = [
        Telemetry(
            device=device,
            prop="pressure",
            seq=number,
            value=chance.randbytes(100).hex(),
            type="STRING",
            quality="good",
            reason="",
            source_ms=now_ms + number,
        )
        for number in range(1, READINGS + 1)
    ]
    key = "default/pump/pressure"
    reports = [
        NewReport(report_class="telemetry", kind="telemetry", key=key, body=encode_telemetry(each))
        for each in readings
    ]
    store.apply(EdgeBatch(reports=tuple(reports)))
    store.close()


def test_a_backlog_and_a_view_keep_to_their_caps_and_nobody_falls_silent(tmp_path: Path) -> None:
    with real_fleet(tmp_path, "--heartbeat-s", "2") as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the node is ready")
        annotate(fleet, f"00:00-12:00 up {UP}B/s down {DOWN}B/s; 12:00-24:00 up {UP}B/s down {DOWN}B/s")
        link = lambda: fleet.edge.api.request("GET", "/skerry/link").obj  # noqa: E731
        until(lambda: str_at(link(), "bandwidth").startswith("up 32kbit, down 64kbit"), "the gateway knows its cap")
        fleet.edge.stop()
        fill(fleet.edge.data)
        chance = Random(4)
        names = [f"settings-{number}" for number in range(90)]
        for name in names:
            fleet.create(f"{CORE}/configmaps", config_map(name, chance.randbytes(4000).hex()))
        fleet.create(f"{CORE}/pods", pod("reader", *names))
        fleet.edge.start()
        until(lambda: fleet.edge.link_state() == "connected", "the link is up")
        time.sleep(5)
        session = int_at(link(), "session")
        (up, down), began = counted(fleet), time.monotonic()
        time.sleep(WINDOW_S)
        (up_then, down_then), took_s = counted(fleet), time.monotonic() - began
        assert (up_then - up) / took_s == pytest.approx(UP, rel=0.1)
        assert (down_then - down) / took_s == pytest.approx(DOWN, rel=0.1)
        assert int_at(link(), "session") == session, "no heartbeat was late: the session is the same"
        assert fleet.ready() == "True"
        shown = fleet.cloud.skerry("node", "traffic", "eu-1")
        assert "cap: up 32kbit, down 64kbit" in shown and "plan: 00:00-12:00" in shown
        assert "32kbit/64kbit" in fleet.cloud.skerry("node", "traffic")
        waiting = fleet.edge.api.request("GET", "/skerry/status").obj
        left = dig(waiting, "outbox", "reports")
        assert isinstance(left, int) and left > READINGS // 4
        annotate(fleet, None)
        until(lambda: fleet.run_of("reader"), "the view is there at full rate", deadline_s=60)
        until(
            lambda: dig(fleet.edge.api.request("GET", "/skerry/status").obj, "outbox", "reports") == 0,
            "the backlog is told at full rate",
            deadline_s=60,
        )
        assert int_at(link(), "session") == session


def test_a_plan_that_makes_no_sense_is_refused_by_the_cloud_and_by_the_gateway(tmp_path: Path) -> None:
    with real_fleet(tmp_path) as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the node is ready")
        with pytest.raises(InvalidError, match=r"64kb.* has no unit that is known; write 64kbit"):
            annotate(fleet, "64kb")
        fleet.edge.stop()
        refused = fleet.edge._main("run", "--bandwidth", "06:00-25:00 64kbit")
        try:
            assert refused.wait(20) != 0
        except subprocess.TimeoutExpired:
            refused.kill()
            raise
        assert "--bandwidth, part 1" in fleet.edge.log and "not within 00:00 to 24:00" in fleet.edge.log
        assert "Traceback" not in fleet.edge.log
