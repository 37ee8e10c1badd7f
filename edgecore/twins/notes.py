"""Drivers' notes, kept in the edge store: names of `meta` that begin with `driver-`.

A crash between learning and writing costs learning it again.
"""

from __future__ import annotations

from typing import Final

from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore

PREFIX: Final = "driver-"


class StoredNotes:
    """`devices.port.Notes` on the edge store."""

    def __init__(self, store: AsyncEdgeStore) -> None:
        self._store = store

    def read(self, name: str) -> str:
        return self._store.meta(PREFIX + name) or ""

    async def write(self, name: str, text: str) -> None:
        await self._store.apply(EdgeBatch(meta=((PREFIX + name, text),)))
