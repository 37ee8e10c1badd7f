"""The store in a SQL database: SQLAlchemy Core on SQLite, durable when `commit` returns.

Keeps everything of the port in five tables (`sql_tables`), and in memory a ring of recent changes for those
who watch. One thread writes (`sql_writer`), a few read, each read in one transaction and so at one revision.
After a crash, committed transactions are there, the others are not, and the next start needs no repair.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Executable, RowMapping
from sqlalchemy.exc import DBAPIError

from cloudcore.store import sql_tables as t
from cloudcore.store.port import Batch, Change, Page, Position, Stored, StoredRecord
from cloudcore.store.revisions import Row, check_kept
from cloudcore.store.ring import Ring
from cloudcore.store.sql_writer import Writer, select_object, select_position
from cloudcore.store.sqlite import (
    FileLock,
    SqliteSettings,
    checkpoint,
    create_file,
    file_identity,
    reader_engine,
    storage_error,
    writer_engine,
)
from skerry.errors import UnavailableError
from skerry.objects.meta import Key, Revision
from skerry.ports import Ids

T = TypeVar("T")

_STEP: Final = 1000
"""Rows a step of housekeeping may touch: a few milliseconds, so that writers are not held up."""
_RING: Final = 4096
"""Recent changes for watchers; older ones are read from the log."""
_UNLIMITED: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engines:
    path: Path
    settings: SqliteSettings
    writer: Engine
    readers: Engine
    lock: FileLock

    def explain(self, error: DBAPIError) -> UnavailableError:
        return storage_error(error, self.path, self.settings)

    def dispose(self) -> None:
        self.readers.dispose()
        self.writer.dispose()
        self.lock.release()


async def open_sql_store(path: Path, *, ids: Ids, settings: SqliteSettings | None = None) -> SqlStore:
    """Open or create the store in the file `path`.

    Raises `UnavailableError` when another process has it, when it can't be read, or when another version of
    Skerry wrote it with other tables.
    """
    engines, epoch, revision = await asyncio.to_thread(_open, path, ids, settings or SqliteSettings())
    return SqlStore(engines, epoch, revision)


def _open(path: Path, ids: Ids, settings: SqliteSettings) -> tuple[_Engines, str, Revision]:
    path = path.absolute()
    create_file(path)
    engines = _Engines(
        path=path,
        settings=settings,
        lock=FileLock(path),
        writer=writer_engine(path, settings),
        readers=reader_engine(path, settings),
    )
    try:
        with engines.writer.begin() as connection:
            epoch, revision = _prepare(connection, path, ids)
    except DBAPIError as error:
        engines.dispose()
        raise engines.explain(error) from error
    except BaseException:
        engines.dispose()
        raise
    return engines, epoch, revision


def _prepare(connection: Connection, path: Path, ids: Ids) -> tuple[str, Revision]:
    """Create the tables where there are none, check them where there are."""
    identity = file_identity(path)
    if not connection.dialect.has_table(connection, t.meta.name):
        t.tables.create_all(connection)
        first = {"id": 1, "schema": t.SCHEMA, "epoch": ids.uid(), "file": identity}
        connection.execute(t.insert_meta, first | {"rev": 0, "compacted": 0, "record_number": 0})
    row = connection.execute(t.select_meta).one()
    if row.schema != t.SCHEMA:
        text = f"the store {path} has schema version {row.schema}; this cloudcore knows only {t.SCHEMA}"
        raise UnavailableError(text)
    if row.file == identity:
        return row.epoch, Revision(row.rev)
    # The file is a copy: a backup that was restored, perhaps older than what gateways have seen (SYNC.md,
    # promise 2). A new epoch tells them that revisions may go back.
    epoch = ids.uid()
    connection.execute(t.update_epoch, {"b_epoch": epoch, "b_file": identity})
    return epoch, Revision(row.rev)


class SqlStore:
    """`Store` in a SQL database; made by `open_sql_store`, and bound to the loop it was opened in."""

    def __init__(self, engines: _Engines, epoch: str, revision: Revision) -> None:
        self._engines = engines
        self._epoch = epoch
        self._ring = Ring(floor=revision, limit=_RING)
        self._newest = revision
        self._readers = ThreadPoolExecutor(engines.settings.readers, thread_name_prefix="store-reader")
        self._writer = Writer(engines.writer, self._publish, engines.explain)
        self._closed = False

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def closed(self) -> bool:
        return self._closed

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        return await self._writer.commit(batch)

    async def get(self, key: Key) -> Stored | None:
        return await self._read(lambda connection: select_object(connection, key))

    async def resources(self) -> Sequence[str]:
        return await self._read(lambda connection: connection.execute(t.select_resources).scalars().all())

    async def list(
        self,
        resource: str,
        *,
        namespace: str = "",
        at: Revision | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 0,
    ) -> Page:
        # No namespace or name sorts below these, and "" is the namespace of what has none.
        place = after or ("", "")
        values = {"b_resource": resource, "b_ns": namespace, "b_after_ns": place[0], "b_after_name": place[1]}
        return await self._read(lambda connection: _page(connection, values, at, limit))

    async def changes(self, *, after: Revision, limit: int = 1000) -> Sequence[Change]:
        def read(connection: Connection) -> Sequence[Change]:
            check_kept(after, Revision(connection.execute(t.select_meta).one().compacted))
            rows = connection.execute(t.select_changes, {"b_after": after, "b_limit": limit})
            return [_change(row) for row in rows.mappings()]

        return await self._read(read)

    async def watch(self, *, after: Revision) -> AsyncIterator[Change]:
        seen = after
        while True:
            changes = self._ring.after(seen, limit=1000)
            if changes is None:
                changes = await self.changes(after=seen)
            for change in changes:
                yield change
                seen = change.revision
            if not changes:
                self._check_open()
                await self._ring.news()

    async def revision(self) -> Revision:
        return await self._read(lambda connection: Revision(connection.execute(t.select_meta).one().rev))

    async def compacted(self) -> Revision:
        return await self._read(lambda connection: Revision(connection.execute(t.select_meta).one().compacted))

    async def compact(self, to: Revision) -> None:
        bound = Revision(await self._writer.housekeeping(lambda connection: _move_compacted(connection, to)))
        self._ring.forget(bound)
        while await self._writer.housekeeping(lambda connection: _drop_log(connection, bound)):
            pass

    async def position(self, node: str) -> Position | None:
        return await self._read(lambda connection: select_position(connection, node))

    async def records(
        self, series: str, *, after: int = 0, since_ms: int = 0, limit: int = 1000
    ) -> Sequence[StoredRecord]:
        values = {"b_series": series, "b_after": after, "b_since_ms": since_ms, "b_limit": limit}
        return await self._read(
            lambda connection: [
                StoredRecord(series=row.series, number=row.number, at_ms=row.at_ms, body=row.body)
                for row in connection.execute(t.select_records, values)
            ]
        )

    async def trim_records(self, *, before_ms: int, keep_per_series: int) -> int:
        dropped = 0
        while n := await self._writer.housekeeping(lambda connection: _drop_old(connection, before_ms)):
            dropped += n
        series = await self._next_series("")
        while series is not None:
            name = series
            while n := await self._writer.housekeeping(
                lambda connection, name=name: _drop_surplus(connection, name, keep_per_series)
            ):
                dropped += n
            series = await self._next_series(name)
        return dropped

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._let_go)
        self._ring.close()

    def _let_go(self) -> None:
        self._readers.shutdown()
        self._engines.readers.dispose()
        try:
            with self._engines.writer.connect() as connection:
                checkpoint(connection)
        finally:
            self._engines.dispose()

    async def _next_series(self, series: str) -> str | None:
        return await self._read(
            lambda connection: connection.execute(t.next_series, {"b_series": series}).scalar_one()
        )

    async def _read(self, read: Callable[[Connection], T]) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._in_transaction, read)

    def _in_transaction(self, read: Callable[[Connection], T]) -> T:
        try:
            with self._engines.readers.begin() as connection:
                return read(connection)
        except DBAPIError as error:
            raise self._engines.explain(error) from error

    def _publish(self, changes: Sequence[Change], before: Revision) -> None:
        if before != self._newest:
            # Something was committed that this process was not told of (a commit whose outcome was lost):
            # watchers find it in the log.
            self._ring.restart(floor=before)
        self._newest = changes[-1].revision
        self._ring.append(changes)

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the store is closed")


def _page(connection: Connection, values: dict[str, Any], at: Revision | None, limit: int) -> Page:
    numbers = connection.execute(t.select_meta).one()
    revision = Revision(numbers.rev if at is None else min(at, numbers.rev))
    check_kept(revision, Revision(numbers.compacted))
    values = values | {"b_at": revision, "b_limit": limit or _UNLIMITED}
    everywhere = not values["b_ns"]
    lists = [(t.list_all, t.count_all) if everywhere else (t.list_namespace, t.count_namespace)]
    if revision < numbers.rev:
        lists.append((t.were_all, t.count_were_all) if everywhere else (t.were_namespace, t.count_were_namespace))
    found = [_stored(connection, rows, values) for rows, _ in lists]
    items = tuple(heapq.merge(*found, key=_place))
    if not limit or len(items) < limit:
        return Page(items=items, revision=revision, next_after=None, remaining=0)
    items = items[:limit]
    remaining = sum(connection.execute(count, values).scalar_one() for _, count in lists) - len(items)
    next_after = _place(items[-1]) if remaining else None
    return Page(items=items, revision=revision, next_after=next_after, remaining=remaining)


def _stored(connection: Connection, rows: Executable, values: dict[str, Any]) -> list[Stored]:
    return [
        Stored(key=Key(row.resource, row.ns, row.name), uid=row.uid, revision=Revision(row.rev), body=row.body)
        for row in connection.execute(rows, values)
    ]


def _place(stored: Stored) -> tuple[str, str]:
    return stored.key.namespace, stored.key.name


def _change(row: RowMapping) -> Change:
    key = Key(row["resource"], row["ns"], row["name"])
    before = None
    if row["prev_rev"] is not None:
        before = Stored(key=key, uid=row["uid"], revision=Revision(row["prev_rev"]), body=row["prev"])
    return Row(
        revision=Revision(row["rev"]), key=key, uid=row["uid"], before=before, after=row["after"], final=row["final"]
    ).change


def _move_compacted(connection: Connection, to: Revision) -> int:
    """Say what is gone before anything goes, so that no reader takes a part for the whole."""
    numbers = connection.execute(t.select_meta).one()
    bound = max(numbers.compacted, min(to, numbers.rev))
    connection.execute(t.update_compacted, {"b_to": bound})
    return bound


def _drop_log(connection: Connection, to: Revision) -> int:
    oldest = connection.execute(t.oldest_log).scalar_one()
    if oldest is None or oldest > to:
        return 0
    return connection.execute(t.delete_log, {"b_to": min(to, oldest + _STEP - 1)}).rowcount


def _drop_old(connection: Connection, before_ms: int) -> int:
    values = {"b_before_ms": before_ms, "b_limit": _STEP}
    return _drop_records(connection, connection.execute(t.old_records, values).scalars().all())


def _drop_surplus(connection: Connection, series: str, keep: int) -> int:
    newest = connection.execute(t.newest_dropped, {"b_series": series, "b_keep": keep}).scalar_one_or_none()
    if newest is None:
        return 0
    values = {"b_series": series, "b_number": newest, "b_limit": _STEP}
    return _drop_records(connection, connection.execute(t.surplus_records, values).scalars().all())


def _drop_records(connection: Connection, numbers: Sequence[int]) -> int:
    if numbers:
        connection.execute(t.delete_records, [{"b_number": number} for number in numbers])
    return len(numbers)
