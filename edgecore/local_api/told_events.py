"""Events that this gateway told, for whoever looks at it: those that wait for the cloud, and the last of this life.

The cloud has them all; a technician at a gateway without a link has nobody else to ask. Keeps the newest in memory,
as they were told; what waits is read from the outbox, and so outlives a restart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.reports import EVENT

KEPT_MAX: Final = 200
BYTES_MAX: Final = 256 * 1024
WAITING_MAX: Final = 2000
"""Reports that are looked through for what waits."""


class ToldEvents:
    """`listen`, then ask."""

    def __init__(self, store: AsyncEdgeStore) -> None:
        self._store = store
        self._told: OrderedDict[bytes, None] = OrderedDict()
        self._bytes = 0

    def listen(self) -> Callable[[], None]:
        """Hear of commits from now on; the result ends it."""
        return self._store.listen(self._committed)

    def _committed(self, batch: EdgeBatch) -> None:
        for report in batch.reports:
            if report.kind == EVENT and report.body not in self._told:
                self._told[report.body] = None
                self._bytes += len(report.body)
        while len(self._told) > KEPT_MAX or self._bytes > BYTES_MAX:
            body, _ = self._told.popitem(last=False)
            self._bytes -= len(body)

    def list(self, namespace: str = "") -> list[JsonObject]:
        """The newest state of each, in the order of their telling."""
        waiting = [item.body for item in self._store.outbox(after=0, limit=WAITING_MAX) if item.kind == EVENT]
        found: dict[tuple[str, str], JsonObject] = {}
        left = set(waiting)  # what went up is older than what waits
        for body in [*(each for each in self._told if each not in left), *waiting]:
            event = decode_object(body)
            if namespace in ("", namespace_of(event)):
                found.pop((namespace_of(event), name_of(event)), None)
                found[(namespace_of(event), name_of(event))] = event
        return [*found.values()]
