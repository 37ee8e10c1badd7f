"""The memory form keeps the store's promises."""

from __future__ import annotations

import pytest

from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Store
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_writes import Disk


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def disk(self) -> Disk:
        state = MemoryState(epoch="e1")

        async def reopen() -> Store:
            return MemoryStore(state)

        return reopen
