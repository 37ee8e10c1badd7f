"""A store that fails on plan: how the parts above it are shown what a bad day looks like.

Wraps another store and keeps nothing but a count of operations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

from cloudcore.store.port import Batch, Change, Entry, Page, Place, Position, Standing, Store, Stored, StoredRecord
from skerry.errors import SkerryError
from skerry.frozen import Frozen
from skerry.objects.meta import Key, Revision
from skerry.wire.frames import Start

Operation = Literal["commit", "enter", "read", "watch", "compact", "trim"]


class Fault(Frozen):
    """How one operation fails."""

    error: SkerryError
    after: bool = False
    """The operation takes effect first, so that the caller can't know: an answer that was lost."""


Plan = Callable[[Operation, int], Fault | None]
"""(operation, its number among those of its kind, from 1) -> how it fails; None: it doesn't. A watch asks
before each change that it passes on."""


def never(_operation: Operation, _number: int) -> Fault | None:
    """The plan on which nothing fails."""
    return None


class FailingStore:
    """`Store` over another one."""

    def __init__(self, store: Store, plan: Plan = never) -> None:
        self._store = store
        self._plan = plan
        self._counts: dict[Operation, int] = {}

    @property
    def epoch(self) -> str:
        return self._store.epoch

    @property
    def shared(self) -> bool:
        return self._store.shared

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        fault = self._before("commit")
        revisions = await self._store.commit(batch)
        self._after(fault)
        return revisions

    async def get(self, key: Key) -> Stored | None:
        fault = self._before("read")
        found = await self._store.get(key)
        self._after(fault)
        return found

    async def resources(self) -> Sequence[str]:
        fault = self._before("read")
        found = await self._store.resources()
        self._after(fault)
        return found

    async def list(
        self,
        resource: str,
        *,
        namespace: str = "",
        at: Revision | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 0,
    ) -> Page:
        fault = self._before("read")
        found = await self._store.list(resource, namespace=namespace, at=at, after=after, limit=limit)
        self._after(fault)
        return found

    async def changes(self, *, after: Revision, limit: int = 1000) -> Sequence[Change]:
        fault = self._before("read")
        found = await self._store.changes(after=after, limit=limit)
        self._after(fault)
        return found

    async def watch(self, *, after: Revision) -> AsyncIterator[Change]:
        async for change in self._store.watch(after=after):
            fault = self._before("watch")
            yield change
            self._after(fault)

    async def revision(self) -> Revision:
        fault = self._before("read")
        found = await self._store.revision()
        self._after(fault)
        return found

    async def compacted(self) -> Revision:
        fault = self._before("read")
        found = await self._store.compacted()
        self._after(fault)
        return found

    async def compact(self, to: Revision) -> None:
        fault = self._before("compact")
        await self._store.compact(to)
        self._after(fault)

    async def enter(
        self,
        node: str,
        incarnation: str,
        *,
        hub: str = "",
        while_at: Standing | None = None,
        starts: Sequence[Start] = (),
    ) -> Position:
        fault = self._before("enter")
        position = await self._store.enter(node, incarnation, hub=hub, while_at=while_at, starts=starts)
        self._after(fault)
        return position

    async def entry(self, node: str) -> Entry | None:
        fault = self._before("read")
        found = await self._store.entry(node)
        self._after(fault)
        return found

    async def entries(self, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        fault = self._before("read")
        found = await self._store.entries(after=after, limit=limit)
        self._after(fault)
        return found

    async def watch_entries(self, *, after: int) -> AsyncIterator[Entry]:
        async for entry in self._store.watch_entries(after=after):
            fault = self._before("watch")
            yield entry
            self._after(fault)

    async def position(self, node: str) -> Position | None:
        fault = self._before("read")
        found = await self._store.position(node)
        self._after(fault)
        return found

    async def records(
        self,
        series: str,
        *,
        after: Place | None = None,
        since_ms: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[StoredRecord]:
        fault = self._before("read")
        found = await self._store.records(
            series, after=after, since_ms=since_ms, limit=limit, newest_first=newest_first
        )
        self._after(fault)
        return found

    async def arrivals(
        self, series: str, *, after: int = 0, since_ms: int = 0, limit: int = 1000
    ) -> Sequence[StoredRecord]:
        fault = self._before("read")
        found = await self._store.arrivals(series, after=after, since_ms=since_ms, limit=limit)
        self._after(fault)
        return found

    async def tail(self, *, after: int, limit: int = 1000) -> Sequence[StoredRecord]:
        fault = self._before("read")
        found = await self._store.tail(after=after, limit=limit)
        self._after(fault)
        return found

    async def newest_record(self) -> int:
        fault = self._before("read")
        found = await self._store.newest_record()
        self._after(fault)
        return found

    async def trim_records(self, *, before_ms: int, keep_per_series: int) -> int:
        fault = self._before("trim")
        dropped = await self._store.trim_records(before_ms=before_ms, keep_per_series=keep_per_series)
        self._after(fault)
        return dropped

    async def close(self) -> None:
        await self._store.close()

    def _before(self, operation: Operation) -> Fault | None:
        """Fail now, or say how to fail once the operation has taken effect."""
        number = self._counts[operation] = self._counts.get(operation, 0) + 1
        fault = self._plan(operation, number)
        if fault is not None and not fault.after:
            raise fault.error
        return fault

    def _after(self, fault: Fault | None) -> None:
        if fault is not None:
            raise fault.error
