"""The store in memory: the form that tests and simulations use, and the yardstick for the others.

Everything is kept in dictionaries of this object and lost with it; `state` hands it on, which is how a test
restarts a process without a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from cloudcore.store.port import (
    ABSENT,
    Basis,
    Batch,
    Change,
    Entry,
    Page,
    Place,
    Position,
    Record,
    Standing,
    Stored,
    StoredRecord,
)
from cloudcore.store.positions import Life, advanced, entered, entry_of, position_of
from cloudcore.store.revisions import Row, check_basis, check_kept, check_standing, rows_of
from cloudcore.store.ring import Ring
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.meta import Key, Revision
from skerry.wire.frames import Start

_PAGE = 1000


@dataclass(slots=True, kw_only=True)
class MemoryState:
    """What a disk would hold."""

    epoch: str
    objects: dict[Key, Stored] = field(default_factory=dict[Key, Stored])
    log: list[Row] = field(default_factory=list[Row])
    """Dense from `compacted` + 1."""
    compacted: Revision = ABSENT
    lives: dict[str, dict[str, Life]] = field(default_factory=dict[str, "dict[str, Life]"])
    """By node and incarnation."""
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """By node, in order of their numbers."""
    entry_number: int = 0
    records: list[StoredRecord] = field(default_factory=list[StoredRecord])
    record_number: int = 0

    @property
    def revision(self) -> Revision:
        return Revision(self.compacted + len(self.log))


class MemoryStore:
    """`Store` over a `MemoryState`."""

    def __init__(self, state: MemoryState) -> None:
        self.state = state
        self._closed = False
        self._news = Ring(floor=state.revision, limit=1)
        self._entered = asyncio.Event()
        """Set at the next entry, and then replaced."""

    @property
    def epoch(self) -> str:
        return self.state.epoch

    @property
    def shared(self) -> bool:
        return False

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        self._check_open()
        state = self.state
        advance = batch.advance
        lives, records = None, batch.records
        if batch.basis is not None:
            check_basis(batch.basis, self._changed(batch.basis))
        if advance is not None:
            lives, records = advanced(state.lives.get(advance.node, {}), advance, records)
        rows = rows_of(batch.writes, state.objects.get, state.revision)
        for row in rows:
            _put(state.objects, row)
        state.log.extend(rows)
        if advance is not None and lives is not None:
            state.lives[advance.node] = lives
        for record in records:
            self._append(record)
        self._news.append([row.change for row in rows])
        return tuple(row.revision for row in rows)

    async def get(self, key: Key) -> Stored | None:
        self._check_open()
        return self.state.objects.get(key)

    async def resources(self) -> Sequence[str]:
        self._check_open()
        return sorted({key.resource for key in self.state.objects})

    async def list(
        self,
        resource: str,
        *,
        namespace: str = "",
        at: Revision | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 0,
    ) -> Page:
        self._check_open()
        revision = self.state.revision if at is None else min(at, self.state.revision)
        check_kept(revision, self.state.compacted)
        found = sorted(
            (
                stored
                for stored in self._objects_at(revision).values()
                if stored.key.resource == resource and namespace in ("", stored.key.namespace)
            ),
            key=_place,
        )
        rest = [stored for stored in found if after is None or _place(stored) > after]
        items = rest[:limit] if limit else rest
        remaining = len(rest) - len(items)
        return Page(
            items=tuple(items),
            revision=revision,
            next_after=_place(items[-1]) if remaining else None,
            remaining=remaining,
        )

    async def changes(self, *, after: Revision, limit: int = _PAGE) -> Sequence[Change]:
        self._check_open()
        check_kept(after, self.state.compacted)
        start = after - self.state.compacted
        return [row.change for row in self.state.log[start : start + limit]]

    async def watch(self, *, after: Revision) -> AsyncIterator[Change]:
        seen = after
        while True:
            changes = await self.changes(after=seen)
            for change in changes:
                yield change
                seen = change.revision
            if not changes:
                await self._news.news()

    async def revision(self) -> Revision:
        self._check_open()
        return self.state.revision

    async def compacted(self) -> Revision:
        self._check_open()
        return self.state.compacted

    async def compact(self, to: Revision) -> None:
        self._check_open()
        state = self.state
        to = min(to, state.revision)
        if to > state.compacted:
            del state.log[: to - state.compacted]
            state.compacted = to

    async def enter(
        self,
        node: str,
        incarnation: str,
        *,
        hub: str = "",
        while_at: Standing | None = None,
        starts: Sequence[Start] = (),
    ) -> Position:
        self._check_open()
        state = self.state
        if while_at is not None:
            check_standing(while_at, state.objects.get(while_at.key))
        lives, common = entered(state.lives.get(node, {}), incarnation, starts)
        state.lives[node] = lives
        position = position_of(node, lives)
        assert position is not None, "somebody has just entered"
        if hub:
            state.entry_number += 1
            state.entries.pop(node, None)
            state.entries[node] = entry_of(position, hub=hub, number=state.entry_number)
            self._wake()
        return replace(position, common=common)

    async def entry(self, node: str) -> Entry | None:
        self._check_open()
        return self.state.entries.get(node)

    async def entries(self, *, after: int = 0, limit: int = _PAGE) -> Sequence[Entry]:
        self._check_open()
        return [entry for entry in self.state.entries.values() if entry.number > after][:limit]

    async def watch_entries(self, *, after: int) -> AsyncIterator[Entry]:
        while True:
            news, found = self._entered, await self.entries(after=after)
            for entry in found:
                yield entry
                after = entry.number
            if not found:
                await news.wait()

    async def position(self, node: str) -> Position | None:
        self._check_open()
        return position_of(node, self.state.lives.get(node, {}))

    async def records(
        self,
        series: str,
        *,
        after: Place | None = None,
        since_ms: int = 0,
        limit: int = _PAGE,
        newest_first: bool = False,
    ) -> Sequence[StoredRecord]:
        self._check_open()
        found = [record for record in self.state.records if record.series == series and record.at_ms >= since_ms]
        found.sort(key=lambda record: record.place, reverse=newest_first)
        if after is not None and newest_first:
            found = [record for record in found if record.place < after]
        elif after is not None:
            found = [record for record in found if record.place > after]
        return found[:limit]

    async def arrivals(
        self, series: str, *, after: int = 0, since_ms: int = 0, limit: int = _PAGE
    ) -> Sequence[StoredRecord]:
        self._check_open()
        found = [
            record
            for record in self.state.records
            if record.series == series and record.number > after and record.at_ms >= since_ms
        ]
        return found[:limit]

    async def tail(self, *, after: int, limit: int = _PAGE) -> Sequence[StoredRecord]:
        self._check_open()
        return [record for record in self.state.records if record.number > after][:limit]

    async def newest_record(self) -> int:
        self._check_open()
        return self.state.record_number

    async def trim_records(self, *, before_ms: int, keep_per_series: int) -> int:
        self._check_open()
        seen: dict[str, int] = {}
        kept: list[StoredRecord] = []
        for record in sorted(self.state.records, key=lambda record: record.place, reverse=True):
            seen[record.series] = seen.get(record.series, 0) + 1
            if record.at_ms >= before_ms and seen[record.series] <= keep_per_series:
                kept.append(record)
        dropped = len(self.state.records) - len(kept)
        self.state.records = sorted(kept, key=lambda record: record.number)
        return dropped

    async def close(self) -> None:
        self._closed = True
        self._news.close()
        self._wake()

    def _wake(self) -> None:
        news, self._entered = self._entered, asyncio.Event()
        news.set()

    def _objects_at(self, revision: Revision) -> dict[Key, Stored]:
        """Current objects with the rows after `revision` undone, newest first."""
        if revision == self.state.revision:
            return self.state.objects
        objects = dict(self.state.objects)
        for row in reversed(self.state.log[revision - self.state.compacted :]):
            if row.before is None:
                del objects[row.key]
            else:
                objects[row.key] = row.before
        return objects

    def _changed(self, basis: Basis) -> Revision:
        """When the resource was written last, if that was after the basis; else 0."""
        log, compacted = self.state.log, self.state.compacted
        if basis.revision < compacted:
            return compacted  # perhaps it was: nobody knows any more
        rows = log[basis.revision - compacted :]
        return max((row.revision for row in rows if row.key.resource == basis.resource), default=ABSENT)

    def _append(self, record: Record) -> None:
        self.state.record_number += 1
        self.state.records.append(
            StoredRecord(
                series=record.series,
                number=self.state.record_number,
                at_ms=record.at_ms,
                body=record.body,
                seq=record.seq,
            )
        )

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the store is closed")


def _put(objects: dict[Key, Stored], row: Row) -> None:
    stored = row.stored
    if stored is None:
        del objects[row.key]
    else:
        objects[row.key] = stored


def _place(stored: Stored) -> tuple[str, str]:
    return stored.key.namespace, stored.key.name
