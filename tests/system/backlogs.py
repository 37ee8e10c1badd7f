"""A gateway with much to tell, for tests and measurements of how it gets that across."""

from __future__ import annotations

from pathlib import Path

from edgecore.store.opening import open_store
from edgecore.store.port import EdgeBatch, NewReading, OutboxBudgets
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import ManualClock, SystemClock, SystemIds
from skerry.objects.blocks import Reading
from skerry.objects.json import int_at, maps_at, str_at
from skerry.objects.meta import uid_of
from skerry.objects.twins import DeviceName
from tests.system.real_fleet import DEVICES, RealFleet


def pile_up(fleet: RealFleet, count: int, *, a_commit: int = 100) -> None:
    """What the store of a gateway that does not run holds after hours without a link, written as the agent would:
    `depth` of the boiler, so many readings a second."""
    uid = uid_of(fleet.api().request("GET", f"{DEVICES}/devices/boiler").obj)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    now, ago_s = SystemClock(), count / a_commit + 10
    then = ManualClock(wall_ms=now.wall_ms() - round(ago_s * 1000), monotonic_s=max(1.0, now.monotonic_s() - ago_s))
    settings = StoreSettings(directory=fleet.edge.data / "store", boot_id=boot_id, budgets=OutboxBudgets())
    store = open_store(settings, then, SystemIds()).store
    device = DeviceName(namespace="default", name="boiler", uid=uid)
    for first in range(1, count + 1, a_commit):
        taken_ms, wall_ms = round(then.monotonic_s() * 1000), then.wall_ms()
        some = tuple(
            NewReading(
                reading=Reading(
                    device=device,
                    prop="depth",
                    seq=number,
                    value=str(number % 997),
                    type="INT",
                    quality="good",
                    reason="",
                    source_ms=wall_ms,
                    source_seq=None,
                    ago_ms=0,
                ),
                taken_ms=taken_ms,
            )
            for number in range(first, first + a_commit)
        )
        store.apply(EdgeBatch(readings=some))
        then.advance(1)
    store.close()


def waiting(fleet: RealFleet) -> int:
    """Readings that the gateway still has to tell."""
    status = fleet.find("/skerry/status", fleet.edge.api)
    found = maps_at(status, "outbox", "waiting")
    return sum(int_at(each, "reports") for each in found if str_at(each, "class") == "telemetry")
