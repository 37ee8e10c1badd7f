"""The gateway's book survives its agent, and is not written for nothing."""

from __future__ import annotations

from edgecore.link.traffic import META_TRAFFIC, TrafficKeeper
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.objects.json import dig, maps_at
from skerry.objects.traffic import Usage

T0_MS = 1_790_000_000_000


async def test_counts_are_kept_over_a_restart() -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="one", clock=ManualClock()))
    waiting = [Usage(up={"live": 5}, wire_up=50)]
    keeper = TrafficKeeper(store, lambda: waiting.pop() if waiting else Usage(), lambda: T0_MS)
    await keeper.save()
    held = store.meta(META_TRAFFIC)
    assert held is not None
    again = TrafficKeeper(store, Usage, lambda: T0_MS)
    again.note(Usage(wire_up=7))
    (hour,) = maps_at(again.shown(), "hours")
    assert hour["wireUp"] == 57 and dig(hour, "up", "live") == 5
    store.close()


async def test_nothing_new_is_not_written() -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="one", clock=ManualClock()))
    keeper = TrafficKeeper(store, Usage, lambda: T0_MS)
    await keeper.save()
    assert store.meta(META_TRAFFIC) is None
    store.close()
