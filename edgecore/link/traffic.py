"""The gateway's own book of bytes on its link, by hour and by day.

Kept as one row in the edge store's `meta`, written every quarter of an hour where there is news: a stop or a crash
loses at most a quarter of an hour's counts, and a flash card is not worn out by them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Final

from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.traffic import TrafficBook, Usage

LOG: Final = logging.getLogger(__name__)

META_TRAFFIC: Final = "traffic"
SAVE_S: Final = 900.0


class TrafficKeeper:
    """`gather` gives what was counted since it was last asked; `now_ms` the time as far as it is known."""

    def __init__(self, store: AsyncEdgeStore, gather: Callable[[], Usage], now_ms: Callable[[], int]) -> None:
        self._store = store
        self._gather = gather
        self._now_ms = now_ms
        held = store.meta(META_TRAFFIC)
        self._book = TrafficBook.read(decode_object(held.encode())) if held else TrafficBook()
        self._changed = False

    def note(self, usage: Usage) -> None:
        """Count this, too."""
        if usage:
            self._book.add(usage, self._now_ms())
            self._changed = True

    def shown(self) -> JsonObject:
        """The book up to now."""
        self.note(self._gather())
        return self._book.shown()

    async def run(self) -> None:
        """Write it down now and then, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                await self.save()
            except UnavailableError as error:
                LOG.warning("traffic not saved reason=%s", error)

    async def save(self) -> None:
        """Raises what the store raises; the counts stay."""
        self.note(self._gather())
        if self._changed:
            text = json.dumps(self._book.shown(), separators=(",", ":"))
            await self._store.apply(EdgeBatch(meta=((META_TRAFFIC, text),)))
            self._changed = False
