"""What waits to be committed, when a disk is full and when much comes at once."""

from __future__ import annotations

import asyncio

import pytest

from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import NewPush
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.ledger import Ledger
from edgecore.twins.settings import KeeperSettings
from edgecore.twins.stage import Stage
from skerry.clocks import ManualClock


def test_pushes_that_a_full_disk_refused_come_before_those_since() -> None:
    refused, since = Stage(pushes=[NewPush("q", b"1"), NewPush("q", b"2")]), Stage(pushes=[NewPush("q", b"3")])
    since.put_back(refused)
    assert since
    assert [each.body for each in since.batch({}.get).pushes] == [b"1", b"2", b"3"]


async def test_no_reading_is_taken_while_too_many_pushes_wait_for_the_store() -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    settings = KeeperSettings(staged_rows_max=2, group_rows=2)
    ledger = Ledger(store, clock=clock, settings=settings, stored=lambda *_: None, body_of=lambda _: None)
    for number in range(2):
        async with asyncio.timeout(1):
            await ledger.has_room()
        ledger.stage.pushes.append(NewPush("q", b"%d" % number))
        ledger.staged()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ledger.has_room()
    await ledger.finish()
    async with asyncio.timeout(1):
        await ledger.has_room()
    assert [each.body for each in store.pushes("q", limit=9)] == [b"0", b"1"]
    store.close()
