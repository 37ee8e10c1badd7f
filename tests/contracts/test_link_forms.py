"""The link in memory keeps the contract; transports on real sockets do in `tests/system/test_link_forms.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from skerry.transport.memory import pair
from tests.contracts.link_contract import NODE, Ends, LinkContract, MakeEnds


class TestMemory(LinkContract):
    @pytest.fixture
    def make(self) -> MakeEnds:
        @asynccontextmanager
        async def ends() -> AsyncGenerator[Ends]:
            edge, cloud = pair(edge_name=NODE, edge_key="a key", edge_issuer="aa")
            yield Ends(edge=edge, cloud=cloud, edge_key="a key", edge_issuer="aa")

        return ends
