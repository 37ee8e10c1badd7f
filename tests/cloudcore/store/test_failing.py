"""The failing form without a plan keeps the store's promises; with one it fails exactly so."""

from __future__ import annotations

import pytest

from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Store
from skerry.errors import StorageFullError, UnavailableError
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_writes import Disk, key, put, write


class TestFailingStoreWithoutAPlan(StoreContract):
    @pytest.fixture
    def disk(self) -> Disk:
        state = MemoryState(epoch="e1")

        async def reopen() -> Store:
            return FailingStore(MemoryStore(state))

        return reopen


async def test_a_commit_fails_before_it_takes_effect_or_after() -> None:
    def plan(operation: Operation, number: int) -> Fault | None:
        if operation != "commit":
            return None
        return {1: Fault(error=StorageFullError("full")), 2: Fault(error=UnavailableError("cut"), after=True)}.get(
            number
        )

    store = FailingStore(MemoryStore(MemoryState(epoch="e1")), plan)
    with pytest.raises(StorageFullError):
        await write(store, put(key("a")))
    assert await store.get(key("a")) is None
    with pytest.raises(UnavailableError, match="cut"):
        await write(store, put(key("a")))
    assert await store.get(key("a")) is not None
    assert await write(store, put(key("a"))) == (2,)


async def test_a_read_fails_by_its_number() -> None:
    def plan(operation: Operation, number: int) -> Fault | None:
        return Fault(error=UnavailableError("no")) if (operation, number) == ("read", 2) else None

    store = FailingStore(MemoryStore(MemoryState(epoch="e1")), plan)
    assert await store.revision() == 0
    with pytest.raises(UnavailableError):
        await store.list("pods")
    assert await store.get(key("a")) is None
