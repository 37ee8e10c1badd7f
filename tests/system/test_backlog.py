"""A backlog of thousands of readings drains while both ends are killed: nothing is lost, nothing is there twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecore.store.opening import open_store
from edgecore.store.port import EdgeBatch, NewReport, OutboxBudgets
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import ManualClock, SystemClock, SystemIds
from skerry.objects.json import int_at, maps_at, str_at
from skerry.objects.meta import uid_of
from skerry.objects.twins import DeviceName, Telemetry, encode_telemetry, series_of
from tests.system.real_fleet import DEVICES, NODE, RealFleet, boiler, real_fleet, until

pytestmark = [pytest.mark.system, pytest.mark.long]

BACKLOG = 6_000
KILLS = ("edge", "cloud", "edge", "both", "cloud", "edge")
AGE_S = 120.0
"""Of the backlog: older than what a gateway calls one."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    """With a device that speaks ten times a second, and a gateway that was stopped."""
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        model, device = boiler([*range(1, 50)])
        fleet.create(f"{DEVICES}/devicemodels", model)
        fleet.create(f"{DEVICES}/devices", device)
        fleet.edge.start()
        until(lambda: fleet.history("boiler", "level"), "the first reading")
        fleet.edge.stop()
        yield fleet


def pile_up(fleet: RealFleet) -> None:
    """What a gateway's store holds after hours without a link, written as the agent would have."""
    uid = uid_of(fleet.api().request("GET", f"{DEVICES}/devices/boiler").obj)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    now = SystemClock()
    then = ManualClock(wall_ms=now.wall_ms() - round(AGE_S * 1000), monotonic_s=max(1.0, now.monotonic_s() - AGE_S))
    settings = StoreSettings(directory=fleet.edge.data / "store", boot_id=boot_id, budgets=OutboxBudgets())
    store = open_store(settings, then, SystemIds()).store
    device = DeviceName(namespace="default", name="boiler", uid=uid)
    for first in range(1, BACKLOG + 1, 500):
        told = [
            Telemetry(
                device=device,
                prop="depth",
                seq=number,
                value=str(number),
                type="INT",
                quality="good",
                reason="",
                source_ms=then.wall_ms(),
            )
            for number in range(first, first + 500)
        ]
        key = series_of("default", "boiler", "depth")
        reports = [
            NewReport(report_class="telemetry", kind="telemetry", key=key, body=encode_telemetry(each))
            for each in told
        ]
        store.apply(EdgeBatch(reports=tuple(reports)))
        then.advance(1)
    store.close()


def waiting(fleet: RealFleet) -> int:
    """Readings that the gateway still has to tell."""
    status = fleet.find("/skerry/status", fleet.edge.api)
    return sum(
        int_at(each, "reports")
        for each in maps_at(status, "outbox", "waiting")
        if str_at(each, "class") == "telemetry"
    )


def strike(fleet: RealFleet, who: str) -> None:
    """kill -9, and up again."""
    if who != "cloud":
        fleet.edge.stop(signal.SIGKILL)
    if who != "edge":
        fleet.cloud.stop(signal.SIGKILL)
        fleet.start_cloud()
    if who != "cloud":
        fleet.edge.start()


def arrived(fleet: RealFleet) -> list[int]:
    """The gateway's own numbers, as they arrived: what somebody gets who follows."""
    found: list[int] = []
    after = "0"
    while after:
        query = {"property": "depth", "after": after, "limit": "1000"}
        page = fleet.api().request("GET", f"{DEVICES}/devices/boiler/history", query=query).obj
        found += [int_at(item, "sequence") for item in maps_at(page, "items")]
        after = str_at(page, "metadata", "continue")
    return found


def test_a_backlog_survives_kills_of_both_ends_and_is_seen_from_both(
    fleet: RealFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pile_up(fleet)
    monkeypatch.setenv("SKERRY_BACKLOG_BYTES_S", "8192")  # slow, so that every kill finds it draining
    fleet.edge.start()
    until(lambda: arrived(fleet), "the backlog to move")
    until(lambda: "True" in fleet.cloud.skerry("node", "backlog", NODE), "the cloud to be told of it")
    here = [sys.executable, "-m", "skerry.cli.main", "node", "backlog", "--data", str(fleet.edge.data)]
    said = subprocess.run(here, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "telemetry" in said, said

    for number, who in enumerate(KILLS):
        before = len(arrived(fleet))
        until(lambda before=before: len(arrived(fleet)) > before, f"kill {number}: more of it to arrive")
        assert waiting(fleet) > 0, f"nothing was left to drain at kill {number}"
        time.sleep(0.1 * number)  # some in the middle of a frame, some of a commit
        strike(fleet, who)

    monkeypatch.delenv("SKERRY_BACKLOG_BYTES_S")
    strike(fleet, "edge")
    until(lambda: len(arrived(fleet)) >= BACKLOG, "all of it to arrive", deadline_s=120)
    numbers = arrived(fleet)
    assert len(numbers) == BACKLOG, "twice"
    assert sorted(numbers) == list(range(1, BACKLOG + 1)), "lost"
    assert fleet.history("boiler", "depth") == list(range(1, BACKLOG + 1)), "in order of time"
    live = fleet.history("boiler", "level")
    assert live == list(range(1, len(live) + 1)), "what was read meanwhile"
    until(lambda: "False" in fleet.cloud.skerry("node", "backlog", NODE), "the cloud to be told that it is over")
