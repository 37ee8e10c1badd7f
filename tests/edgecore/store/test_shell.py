"""The store's face for the event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgecore.store import shell
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.errors import DamagedError, StorageFullError, UnavailableError
from skerry.objects.spans import Span
from skerry.wire.frames import PROMPT
from tests.contracts.edge_store_contract import held, report


async def test_listeners_hear_a_commit_after_it_can_be_read() -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i1", clock=ManualClock()))
    heard: asyncio.Queue[tuple[EdgeBatch, int]] = asyncio.Queue()
    end = store.listen(lambda batch: heard.put_nowait((batch, len(store.list("configmaps")))))
    batch = EdgeBatch(puts=(held("a"),))
    await store.apply(batch)
    assert await asyncio.wait_for(heard.get(), 5) == (batch, 1)
    end()
    await store.apply(EdgeBatch(puts=(held("b"),)))
    await asyncio.sleep(0)
    assert heard.empty()
    store.close()


async def test_a_failed_write_reaches_its_caller_and_no_listener() -> None:
    inner = FailingEdgeStore(MemoryEdgeStore(incarnation="i1", clock=ManualClock()))
    store = AsyncEdgeStore(inner)
    heard: list[EdgeBatch] = []
    store.listen(heard.append)
    inner.fail_writes_with = StorageFullError("no room")
    with pytest.raises(StorageFullError):
        await store.apply(EdgeBatch(reports=(report("p"),)))
    await asyncio.sleep(0)
    assert heard == []
    store.close()


async def test_writes_take_effect_in_the_order_of_the_calls() -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i1", clock=ManualClock()))
    await asyncio.gather(*(store.apply(EdgeBatch(reports=(report("p", b"%d" % n),))) for n in range(20)))
    assert [item.body for item in store.outbox(after=0, limit=10)] == [b"19"]
    await store.prune_outbox(through=store.outbox_head())
    assert store.stats().outbox_reports == 0
    store.close()


async def test_what_is_sent_and_what_a_new_life_settles_reaches_the_store() -> None:
    inner = MemoryEdgeStore(incarnation="i1", clock=ManualClock())
    store = AsyncEdgeStore(inner)
    await store.apply(EdgeBatch(reports=(report("p"), report("q"), report("r"))))
    store.note_sent(2)
    assert store.outbox_left() == inner.outbox_left() == 2
    await store.begin_life("i2", ((PROMPT, Span(1, 2)),))
    assert (inner.incarnation, [item.key for item in store.outbox(after=0, limit=9)]) == ("i2", ["r"])
    assert store.damage() == ""
    store.close()


async def test_writes_go_through_the_writer_that_was_given() -> None:
    writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="given")
    inner = MemoryEdgeStore(incarnation="i1", clock=ManualClock())
    store = AsyncEdgeStore(inner, writer)
    begun, go_on = threading.Event(), threading.Event()
    writer.submit(lambda: (begun.set(), go_on.wait(5)))
    assert begun.wait(5)
    waiting = asyncio.create_task(store.apply(EdgeBatch(puts=(held("a"),))))
    await asyncio.sleep(0)
    assert store.list("configmaps") == []
    go_on.set()
    await waiting
    assert len(store.list("configmaps")) == 1
    store.close()


async def test_who_waits_for_the_cloud_hears_of_receipts_and_sees_a_new_life_being_begun() -> None:
    writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="given")
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i1", clock=ManualClock()), writer)
    heard: list[bool] = []
    stop = store.listen_receipts(lambda: heard.append(store.is_beginning_life))
    await store.prune_outbox(through=1)
    assert heard == [False]
    begun, go_on = threading.Event(), threading.Event()
    writer.submit(lambda: (begun.set(), go_on.wait(5)))
    assert begun.wait(5)
    beginning = asyncio.create_task(store.begin_life("i2", ()))
    await asyncio.sleep(0)
    assert store.is_beginning_life
    go_on.set()
    await beginning
    async with asyncio.timeout(5):
        while store.is_beginning_life:
            await asyncio.sleep(0)
    assert heard == [False, False] and store.incarnation == "i2"
    stop()
    await store.prune_outbox(through=2)
    assert len(heard) == 2
    store.close()


class Salvaging(MemoryEdgeStore):
    """After a damaged store; what each step meets, and None for nothing."""

    def __init__(self, *steps: UnavailableError | None) -> None:
        super().__init__(incarnation="i", clock=ManualClock())
        self.steps = [*steps]

    def salvage(self) -> bool:
        met = self.steps.pop(0)
        if met is not None:
            raise met
        return bool(self.steps)


async def test_a_salvage_goes_on_step_by_step_and_waits_for_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shell, "SALVAGE_AGAIN_S", 0.0)
    inner = Salvaging(None, StorageFullError("full"), StorageFullError("full"), None, None)
    store = AsyncEdgeStore(inner)
    await store.salvage()
    assert inner.steps == []
    assert caplog.text.count("can't be saved yet error=full") == 1
    store.close()


async def test_a_salvage_ends_where_its_own_store_breaks() -> None:
    store = AsyncEdgeStore(Salvaging(None, DamagedError("page 7"), None))
    with pytest.raises(DamagedError):
        await store.salvage()
    store.close()
