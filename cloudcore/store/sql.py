"""The store in a SQL database: SQLAlchemy Core on SQLite or PostgreSQL, durable when `commit` returns.

Keeps everything of the port in five tables (`sql_tables`), and in memory a ring of recent changes for those
who watch. One thread writes (`sql_writer`), a few read, each read in one transaction and so at one revision.
After a crash, committed transactions are there, the others are not, and the next start needs no repair.

Where other processes write to the same database (`sql_database`), the ring has what this one committed in an
unbroken row; of anything else it only says that it is there, and watchers read it from the log.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Executable, RowMapping
from sqlalchemy.exc import DBAPIError

from cloudcore.store import sql_tables as t
from cloudcore.store.port import (
    Batch,
    Change,
    Entry,
    Page,
    Place,
    Position,
    Standing,
    Stored,
    StoredRecord,
    later_epoch,
)
from cloudcore.store.positions import position_of
from cloudcore.store.revisions import Row, check_kept
from cloudcore.store.ring import Ring
from cloudcore.store.sql_database import Database, News
from cloudcore.store.sql_schema import OLDEST, migrate
from cloudcore.store.sql_writer import Writer, select_lives, select_object
from cloudcore.store.sqlite import SqliteDatabase, SqliteSettings
from skerry.errors import GoneError, UnavailableError
from skerry.objects.meta import Key, Revision
from skerry.ports import Ids
from skerry.wire.frames import Start

T = TypeVar("T")

_STEP: Final = 1000
"""Rows a step of housekeeping may touch: a few milliseconds, so that writers are not held up."""
_RING: Final = 4096
"""Recent changes for watchers; older ones are read from the log."""
_UNLIMITED: Final = 2**31 - 1
_HIGHEST: Final = 2**63 - 1
_LAST: Final = Place(_HIGHEST, _HIGHEST, _HIGHEST)
"""Behind every record."""


async def open_sql_store(path: Path, *, ids: Ids, settings: SqliteSettings | None = None) -> SqlStore:
    """Open or create the store in the SQLite file `path`.

    A store of an older version is brought to this one. Raises `UnavailableError` when another process has it, when
    it can't be read, or when a newer version of Skerry wrote it.
    """
    return await open_database(lambda: SqliteDatabase(path, settings or SqliteSettings()), ids=ids)


async def open_database(connect: Callable[[], Database], *, ids: Ids) -> SqlStore:
    """Open or create the store in a database. Raises `UnavailableError` as the database does."""
    database, epoch, revision = await asyncio.to_thread(_open, connect, ids)
    return SqlStore(database, epoch, revision)


def _open(connect: Callable[[], Database], ids: Ids) -> tuple[Database, str, Revision]:
    database = connect()
    try:
        with database.writer.begin() as connection:
            epoch, revision = _prepare(connection, database, ids)
    except DBAPIError as error:
        fault = database.explain(error)
        _abandon(database)
        raise fault from error
    except BaseException:
        _abandon(database)
        raise
    return database, epoch, revision


def _abandon(database: Database) -> None:
    """Close what could not be opened; why it could not is the error to tell."""
    with suppress(DBAPIError):
        database.close()


def _prepare(connection: Connection, database: Database, ids: Ids) -> tuple[str, Revision]:
    """Create the tables where there are none, bring older ones to this version."""
    database.begin_setup(connection)
    if not connection.dialect.has_table(connection, t.meta.name):
        _create(connection, database, ids)
    row = connection.execute(t.select_meta).one()
    if not OLDEST <= row.schema <= t.SCHEMA:
        text = (
            f"the store {database.name} has schema version {row.schema}; this cloudcore knows {OLDEST} to {t.SCHEMA}"
        )
        raise UnavailableError(text)
    migrate(connection, row.schema)
    identity = database.identity(connection)
    if row.file == identity:
        return row.epoch, Revision(row.rev)
    # The database is a copy: a backup that was restored, perhaps older than what gateways have seen (SYNC.md,
    # promise 2). A new epoch tells them that revisions may go back.
    epoch = later_epoch(ids.uid())
    connection.execute(t.update_epoch, {"b_epoch": epoch, "b_file": identity})
    return epoch, Revision(row.rev)


def _create(connection: Connection, database: Database, ids: Ids) -> None:
    for table in t.tables.sorted_tables:
        if connection.dialect.has_table(connection, table.name):
            raise UnavailableError(
                f"the store {database.name} has a table {table.name!r} that is not Skerry's: "
                "give Skerry a database (or a schema) of its own"
            )
    t.tables.create_all(connection)
    first = {"id": 1, "schema": t.SCHEMA, "epoch": ids.uid(), "file": database.identity(connection)}
    connection.execute(t.insert_meta, first | {"rev": 0, "compacted": 0, "record_number": 0})


class SqlStore:
    """`Store` in a SQL database; made by `open_sql_store`, and bound to the loop it was opened in."""

    def __init__(self, database: Database, epoch: str, revision: Revision) -> None:
        self._database = database
        self._epoch = epoch
        self._ring = Ring(floor=revision, limit=_RING)
        self._newest = revision
        self._newest_entry = 0
        self._entered = asyncio.Event()
        """Set at the next entry, and then replaced."""
        self._readers = ThreadPoolExecutor(database.connections, thread_name_prefix="store-reader")
        self._writer = Writer(database, self._publish)
        self._closed = False
        self._gone: GoneError | None = None
        self._loop = asyncio.get_running_loop()
        database.follow(self._hear)

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def shared(self) -> bool:
        return self._database.shared

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
            if self._gone is not None:
                raise self._gone
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

    async def enter(
        self,
        node: str,
        incarnation: str,
        *,
        hub: str = "",
        while_at: Standing | None = None,
        starts: Sequence[Start] = (),
    ) -> Position:
        position = await self._writer.enter(node, incarnation, hub, while_at, starts)
        if hub:
            self._wake()
        return position

    async def entry(self, node: str) -> Entry | None:
        def read(connection: Connection) -> Entry | None:
            row = connection.execute(t.select_entry, {"b_node": node}).mappings().one_or_none()
            return None if row is None else Entry(**row)

        return await self._read(read)

    async def entries(self, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        values = {"b_after": after, "b_limit": limit}
        return await self._read(
            lambda connection: [Entry(**row) for row in connection.execute(t.select_entries, values).mappings()]
        )

    async def watch_entries(self, *, after: int) -> AsyncIterator[Entry]:
        while True:
            if self._gone is not None:
                raise self._gone
            news, found = self._entered, await self.entries(after=after)
            for entry in found:
                yield entry
                after = entry.number
            if not found:
                await news.wait()

    async def position(self, node: str) -> Position | None:
        return await self._read(lambda connection: position_of(node, select_lives(connection, node)))

    async def records(
        self,
        series: str,
        *,
        after: Place | None = None,
        since_ms: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[StoredRecord]:
        if newest_first:
            statement, bound = t.newest_records, after or _LAST
        else:
            first = Place(since_ms, -1, 0)
            statement, bound = t.oldest_records, first if after is None else max(after, first)
        values = {"b_series": series, "b_since_ms": since_ms, "b_limit": limit} | _place_values(bound)
        return await self._read(lambda connection: _records(connection, statement, values))

    async def arrivals(
        self, series: str, *, after: int = 0, since_ms: int = 0, limit: int = 1000
    ) -> Sequence[StoredRecord]:
        values = {"b_series": series, "b_after": after, "b_since_ms": since_ms, "b_limit": limit}
        return await self._read(lambda connection: _records(connection, t.select_arrivals, values))

    async def tail(self, *, after: int, limit: int = 1000) -> Sequence[StoredRecord]:
        values = {"b_after": after, "b_limit": limit}
        return await self._read(lambda connection: _records(connection, t.select_tail, values))

    async def newest_record(self) -> int:
        return await self._read(lambda connection: connection.execute(t.newest_record).scalar_one())

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
        self._wake()

    def _let_go(self) -> None:
        self._readers.shutdown()
        self._database.close()

    async def _next_series(self, series: str) -> str | None:
        return await self._read(
            lambda connection: connection.execute(t.next_series, {"b_series": series}).scalar_one()
        )

    async def _read(self, read: Callable[[Connection], T]) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._in_transaction, read)

    def _in_transaction(self, read: Callable[[Connection], T]) -> T:
        try:
            try:
                return self._once(read)
            except DBAPIError as error:
                if not self._database.lost(error):
                    raise
                # The connection had been lost since it was used last, perhaps long ago; a new one may be had.
                return self._once(read)
        except DBAPIError as error:
            raise self._database.explain(error) from error

    def _once(self, read: Callable[[Connection], T]) -> T:
        with self._database.readers.begin() as connection:
            return read(connection)

    def _publish(self, changes: Sequence[Change], before: Revision) -> None:
        newest = changes[-1].revision
        if before == self._newest:
            self._ring.append(changes)
            self._newest = newest
        else:
            # Something was committed that this process was not told of: by another one, or by a commit whose
            # outcome was lost. Watchers find all of it in the log.
            self._move(newest)

    def _hear(self, news: News | GoneError) -> None:
        """In the database's thread."""
        with suppress(RuntimeError):  # the loop has ended, and nobody watches
            if isinstance(news, GoneError):
                self._loop.call_soon_threadsafe(self._lose, news)
            else:
                self._loop.call_soon_threadsafe(self._learn, news)

    def _lose(self, error: GoneError) -> None:
        """Whoever follows the log has to begin anew, with another process."""
        self._gone = error
        self._ring.restart(floor=self._newest)
        self._wake()

    def _learn(self, news: News) -> None:
        self._move(news.revision)
        if news.entry > self._newest_entry:
            self._newest_entry = news.entry
            self._wake()

    def _wake(self) -> None:
        """Whoever follows the entries looks again."""
        news, self._entered = self._entered, asyncio.Event()
        news.set()

    def _move(self, revision: Revision) -> None:
        """The log goes at least to `revision`, which is not in the ring."""
        if revision > self._newest:
            self._newest = revision
            self._ring.restart(floor=revision)

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


def _records(connection: Connection, statement: Executable, values: dict[str, Any]) -> list[StoredRecord]:
    return [
        StoredRecord(series=row.series, number=row.number, at_ms=row.at_ms, body=row.body, seq=row.seq)
        for row in connection.execute(statement, values)
    ]


def _place_values(place: Place) -> dict[str, Any]:
    return {"b_at_ms": place.at_ms, "b_seq": place.seq, "b_number": place.number}


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
    numbers = connection.execute(t.lock_meta).one()
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
    newest = connection.execute(t.newest_dropped, {"b_series": series, "b_keep": keep}).first()
    if newest is None:
        return 0
    values = {"b_series": series, "b_limit": _STEP} | _place_values(Place(*newest))
    return _drop_records(connection, connection.execute(t.surplus_records, values).scalars().all())


def _drop_records(connection: Connection, numbers: Sequence[int]) -> int:
    if numbers:
        connection.execute(t.delete_records, [{"b_number": number} for number in numbers])
    return len(numbers)
