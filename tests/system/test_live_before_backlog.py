"""A hundred thousand readings go up over a real link, and what is read now is in the cloud within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from skerry.clocks import SystemClock
from skerry.objects.json import int_at, maps_at, str_at
from skerry.objects.times import ms_at
from tests.system.backlogs import pile_up, waiting
from tests.system.real_fleet import DEVICES, RealFleet, boiler, real_fleet, until

pytestmark = pytest.mark.system

BACKLOG = 100_000


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    """With a device that speaks fifty times a second, and a gateway that was stopped."""
    with real_fleet(tmp_path, "--records-per-series", "200000") as fleet:
        model, device = boiler([*range(1, 50)], cycle_ms=20)
        fleet.create(f"{DEVICES}/devicemodels", model)
        fleet.create(f"{DEVICES}/devices", device)
        fleet.edge.start()
        until(lambda: fleet.history("boiler", "level"), "the first reading")
        fleet.edge.stop()
        yield fleet


class Follower:
    """Who follows a property's history, and notes how old each reading is when he sees it."""

    def __init__(self, fleet: RealFleet, prop: str) -> None:
        self._fleet = fleet
        self._prop = prop
        self._after = 0
        self.numbers: list[int] = []
        self.ages_s: list[float] = []

    def look(self) -> None:
        query = {"property": self._prop, "after": str(self._after), "limit": "10000"}
        page = self._fleet.api().request("GET", f"{DEVICES}/devices/boiler/history", query=query).obj
        now_ms = SystemClock().wall_ms()
        for item in maps_at(page, "items"):
            self._after = int_at(item, "number")
            self.numbers.append(int_at(item, "sequence"))
            self.ages_s.append((now_ms - ms_at(str_at(item, "time"))) / 1000)


def test_what_is_read_now_is_seen_within_a_second_while_a_backlog_of_100_000_goes_up(fleet: RealFleet) -> None:
    pile_up(fleet, BACKLOG)
    live, late = Follower(fleet, "level"), Follower(fleet, "depth")
    live.look()
    live.ages_s.clear()
    fleet.edge.start()
    began_s = time.monotonic()
    until(lambda: waiting(fleet) > BACKLOG / 2, "the gateway to say what waits")
    while waiting(fleet) > 1000:
        live.look()
        assert time.monotonic() - began_s < 300, "the backlog does not go up"
        time.sleep(0.05)
    took_s = time.monotonic() - began_s
    ages_s = sorted(live.ages_s)
    print(f"backlog {took_s:.1f} s; live: {len(ages_s)}, median {median(ages_s):.3f} s, last {ages_s[-1]:.3f} s")
    assert len(ages_s) >= 20, "it was read meanwhile"
    assert median(ages_s) < 1.0

    def all_there() -> bool:
        late.look()
        return len(late.numbers) >= BACKLOG

    until(all_there, "all of it", deadline_s=120)
    assert sorted(late.numbers) == list(range(1, BACKLOG + 1)), "once each"
    assert fleet.history("boiler", "depth") == list(range(1, BACKLOG + 1)), "in order of time"
    seen = fleet.history("boiler", "level")
    assert seen == list(range(1, len(seen) + 1))
