"""The memory and failing forms of the edge store."""

from __future__ import annotations

import pytest

from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch
from skerry.clocks import ManualClock
from skerry.errors import StorageFullError
from tests.contracts.edge_store_contract import EdgeStoreContract, OpenStore, Room, held, report


class TestMemory(EdgeStoreContract):
    @pytest.fixture
    def open_store(self, clock: ManualClock, room: Room) -> OpenStore:
        return lambda budgets: MemoryEdgeStore(
            incarnation="i1", clock=clock, budgets=budgets, free_bytes=lambda: room.free
        )


class TestFailingWhileNothingFails(EdgeStoreContract):
    @pytest.fixture
    def open_store(self, clock: ManualClock, room: Room) -> OpenStore:
        return lambda budgets: FailingEdgeStore(
            MemoryEdgeStore(incarnation="i1", clock=clock, budgets=budgets, free_bytes=lambda: room.free)
        )


def test_a_snapshot_is_what_a_power_cut_leaves() -> None:
    store = MemoryEdgeStore(incarnation="i1", clock=ManualClock())
    store.apply(EdgeBatch(puts=(held("a"),), reports=(report("p", b"1"),)))
    disk = store.snapshot()
    store.apply(EdgeBatch(puts=(held("b"),), reports=(report("p", b"2"),)))
    store.restore(disk)
    assert [item.key.name for item in store.list("configmaps")] == ["a"]
    assert [item.body for item in store.outbox(after=0, limit=10)] == [b"1"]
    assert store.apply(EdgeBatch(reports=(report("p", b"3"),))) == 2


def test_each_opening_of_a_copy_has_a_mark_of_its_own() -> None:
    store = MemoryEdgeStore(incarnation="i1", clock=ManualClock())
    store.apply(EdgeBatch(reports=(report("p"),)))
    copy = store.snapshot()
    found = set[tuple[int, ...]]()
    for _ in range(3):
        store.restore(copy)
        assert [start.first for start in store.outbox_starts()] == [1, 2]
        found.add(tuple(start.mark for start in store.outbox_starts()))
    assert len({marks[0] for marks in found}) == 1
    assert len({marks[1] for marks in found}) == 3


def test_a_failing_store_refuses_writes_and_keeps_nothing_of_them() -> None:
    store = FailingEdgeStore(MemoryEdgeStore(incarnation="i1", clock=ManualClock()))
    store.apply(EdgeBatch(puts=(held("a"),), reports=(report("p"),)))
    store.fail_writes_with = StorageFullError("no room")
    with pytest.raises(StorageFullError):
        store.apply(EdgeBatch(puts=(held("b"),)))
    with pytest.raises(StorageFullError):
        store.prune_outbox(through=1)
    assert store.attempts == 2
    assert len(store.list("configmaps")) == len(store.outbox(after=0, limit=10)) == 1
