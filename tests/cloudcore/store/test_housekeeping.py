"""What is compacted and trimmed, and when."""

from __future__ import annotations

import asyncio

from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.housekeeping import History, Housekeeping, HousekeepingSettings
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Batch, Record
from skerry.clocks import ManualClock
from skerry.errors import UnavailableError
from skerry.objects.meta import Revision
from tests.contracts.store_writes import key, put, write

SETTINGS = HousekeepingSettings(
    interval_s=0.001, history_s=100, history_min=5, record_age_days=1, records_per_series=2
)


def test_history_is_kept_for_its_time_and_never_less_than_its_number() -> None:
    history = History(SETTINGS)
    observed = [history.observe(float(now), Revision(newest)) for now, newest in ((0, 10), (50, 20), (99, 30))]
    assert observed == [0, 0, 0]
    assert history.observe(100.0, Revision(40)) == 10
    assert history.observe(160.0, Revision(41)) == 20
    assert history.observe(500.0, Revision(41)) == 36
    assert History(SETTINGS).observe(0.0, Revision(3)) == 0


async def test_a_round_compacts_old_history_and_trims_old_records() -> None:
    store, clock = MemoryStore(MemoryState(epoch="e")), ManualClock()
    house = Housekeeping(store, clock, SETTINGS)
    await write(store, *(put(key("a")) for _ in range(20)))
    old, new = clock.wall_ms() - 25 * 3600 * 1000, clock.wall_ms()
    records = [Record(series="s", at_ms=at, body=b"") for at in (old, new, new, new)]
    await store.commit(Batch(records=tuple(records)))
    await house.round()
    assert await store.compacted() == 0
    assert [record.number for record in await store.records("s")] == [3, 4]
    clock.advance(100)
    await house.round()
    assert await store.compacted() == 15


async def test_an_unavailable_store_is_tried_again() -> None:
    def plan(operation: Operation, number: int) -> Fault | None:
        return Fault(error=UnavailableError("locked")) if (operation, number) == ("read", 1) else None

    clock = ManualClock()
    memory = MemoryStore(MemoryState(epoch="e"))
    await memory.commit(Batch(records=(Record(series="s", at_ms=0, body=b""),)))
    running = asyncio.create_task(Housekeeping(FailingStore(memory, plan), clock, SETTINGS).run())
    async with asyncio.timeout(5):
        while await memory.records("s"):
            await asyncio.sleep(0.001)
    running.cancel()
