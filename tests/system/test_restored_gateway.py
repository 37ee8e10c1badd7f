"""A gateway whose store is replaced by an older copy, as by an old image of its card: nothing it writes is lost."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.json import int_at
from tests.system.real_fleet import CORE, DEVICES, RealFleet, boiler, real_fleet, until

pytestmark = pytest.mark.system


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        yield fleet


def readings(fleet: RealFleet) -> list[int]:
    return fleet.history("boiler", "level")


def waiting(fleet: RealFleet) -> int:
    return int_at(fleet.edge.api.request("GET", "/skerry/status").obj, "outbox", "reports")


def test_readings_whose_numbers_were_given_out_before_are_kept_by_the_cloud(fleet: RealFleet, tmp_path: Path) -> None:
    until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
    model, device = boiler([1, 2, 3])
    fleet.create(f"{DEVICES}/devicemodels", model)
    fleet.create(f"{DEVICES}/devices", device)
    fleet.edge.start()
    until(lambda: len(readings(fleet)) > 3, "the first readings")
    fleet.edge.stop()
    copied = max(readings(fleet))
    store = fleet.edge.data / "store"
    shutil.copytree(store, tmp_path / "copy")
    fleet.edge.start()
    until(lambda: len(readings(fleet)) > copied + 12, "readings that the copy does not know of")
    fleet.edge.stop(signal.SIGKILL)
    until(lambda: fleet.ready() == "Unknown", "the last that was on its way to have arrived")
    taken = readings(fleet)

    fleet.cloud.stop()
    shutil.rmtree(store)
    shutil.copytree(tmp_path / "copy", store)
    before = 0
    for _ in range(
        2
    ):  # its numbers get past those that the cloud has, and it is started again before it hears of them
        fleet.edge.start()
        until(lambda: waiting(fleet) > before + 10, "readings to wait")  # noqa: B023
        before = waiting(fleet)
        fleet.edge.stop(signal.SIGKILL)
    fleet.edge.start()
    fleet.start_cloud()
    until(lambda: fleet.edge.link_state() == "connected", "the gateway to be back")
    until(lambda: waiting(fleet) < 5, "what waited to be told")
    assert "the gateway's store is an older copy of what it was" in fleet.edge.log

    counts = Counter(readings(fleet))
    twice = sorted(number for number, count in counts.items() if count == 2)
    assert max(counts.values()) == 2
    assert set(counts) == set(range(1, max(counts) + 1)), "none is lost"
    # Numbered again after the copy, by the gateway that was set back: other readings, each told once.
    assert twice == list(range(twice[0], max(taken) + 1))
    assert copied < twice[0] <= copied + 20
