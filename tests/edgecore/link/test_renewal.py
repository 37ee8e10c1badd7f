"""How a renewal goes about it; that it works is tested with a cloud, in `tests/system`."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.link.renewal import CertificateKeeper
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_WAY, EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.transport.proxy import Proxy

PROXY = Proxy(scheme="http", host="proxy", port=3128)


@pytest.mark.parametrize(
    ("proxy", "remembered", "ways"),
    [
        (None, "", ("websocket",)),
        (None, "proxy", ("websocket",)),
        (PROXY, "", ("websocket", "proxy")),
        (PROXY, "quic", ("websocket", "proxy")),
        (PROXY, "websocket", ("websocket", "proxy")),
        (PROXY, "proxy", ("proxy", "websocket")),
    ],
)
async def test_the_way_that_the_link_remembers_is_asked_first(
    tmp_path: Path, proxy: Proxy | None, remembered: str, ways: tuple[str, ...]
) -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))
    await store.apply(EdgeBatch(meta=((META_WAY, remembered),)))
    assert CertificateKeeper(tmp_path, store, lambda: 0, proxy)._ways() == ways
    store.close()
