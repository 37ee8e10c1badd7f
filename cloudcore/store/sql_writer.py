"""The one writer of the SQL store: a thread that commits waiting batches in groups.

While one group is being made durable the next one gathers, so that one fsync serves up to 64 batches. A
group's batches are decided first, one after the other, each over what the earlier ones decided; one that is
refused takes no revision and leaves nothing behind, so no savepoints are needed. Then the group is written
with one statement a table, and committed. It keeps the waiting batches; a crash loses those, and none of them
was acknowledged.

A connection may be lost at any moment. Before the commit was sent nothing has happened, and the group begins again
on a new connection. After that the database is asked whether the transaction is there (`Database.sealed`): only
where it can't be asked either is the outcome told as unknown.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, RootTransaction
from sqlalchemy import Row as RowOf
from sqlalchemy.exc import DBAPIError

from cloudcore.store import sql_tables as t
from cloudcore.store.dates import Dates
from cloudcore.store.port import Basis, Batch, Change, Entry, Position, Record, Standing, Stored
from cloudcore.store.positions import Life, Lives, advanced, entered, entry_of, position_of
from cloudcore.store.revisions import Row, check_basis, check_standing, rows_of
from cloudcore.store.sql_database import Database, News
from skerry.errors import SkerryError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.meta import Key, Revision
from skerry.sync.received import Received
from skerry.sync.starts import Starts
from skerry.wire.frames import Start

log: Final = logging.getLogger(__name__)

GROUP: Final = 64
"""Batches a transaction: more gain little (measured in benchmarks/store.py) and delay the first."""
WAITING_MAX: Final = 10_000
"""Batches waiting; beyond this the store is not keeping up and says so."""

_NAMES: Final = 256
"""Objects read by one statement."""
_PAUSE_S: Final = 0.05
_PAUSE_S_MAX: Final = 0.5
"""Between two attempts to reach a database that has gone away."""

Step = Callable[[Connection], int]
"""A small piece of housekeeping in a transaction of its own; how many rows it touched."""


class _Commit(Frozen):
    batch: Batch
    done: asyncio.Future[tuple[Revision, ...]]


class _Enter(Frozen):
    node: str
    incarnation: str
    hub: str
    while_at: Standing | None
    starts: Sequence[Start]
    done: asyncio.Future[Position]


class _Housekeeping(Frozen):
    step: Step
    done: asyncio.Future[int]


@dataclass(slots=True, kw_only=True)
class _Group:
    """What a transaction will write, decided batch by batch."""

    revision: Revision
    compacted: Revision
    record_number: int
    rows: list[Row] = field(default_factory=list[Row])
    before: dict[Key, Stored | None] = field(default_factory=dict[Key, "Stored | None"])
    """What the database has, for the keys that the group touches."""
    now: dict[Key, Stored | None] = field(default_factory=dict[Key, "Stored | None"])
    """What the group makes of them."""
    lives_before: dict[str, Lives] = field(default_factory=dict[str, Lives])
    """What the database has of the nodes that the group touches, by node and incarnation."""
    lives_now: dict[str, Lives] = field(default_factory=dict[str, Lives])
    """What the group makes of it."""
    records: list[tuple[int, Record]] = field(default_factory=list[tuple[int, Record]])
    changed: dict[str, Revision] = field(default_factory=dict[str, Revision])
    """When the resources of the batches' bases were written last, if that was after the oldest of these bases."""
    entry_number: int = 0
    """Of the newest entry; known where the group has any."""
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """By node."""

    def fetch(self, jobs: Sequence[_Commit | _Enter], connection: Connection) -> None:
        """Read all that the batches will ask for in one go: a round trip to a server costs more than a row."""
        nodes = {job.node for job in jobs if isinstance(job, _Enter)}
        batches = [job.batch for job in jobs if isinstance(job, _Commit)]
        nodes.update(batch.advance.node for batch in batches if batch.advance is not None)
        self.lives_before = _select_lives(connection, sorted(nodes)) if nodes else {}
        self.lives_now = dict(self.lives_before)
        if any(isinstance(job, _Enter) and job.hub for job in jobs):
            self.entry_number = connection.execute(t.newest_entry).scalar_one()
        self._fetch_changed([batch.basis for batch in batches if batch.basis is not None], connection)
        keys = {write.key for batch in batches for write in batch.writes}
        keys.update(job.while_at.key for job in jobs if isinstance(job, _Enter) and job.while_at is not None)
        self.before.update(dict.fromkeys(keys))
        names: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key in sorted(keys):
            names[key.resource, key.namespace].append(key.name)
        for (resource, namespace), its in names.items():
            for first in range(0, len(its), _NAMES):
                values = {"b_resource": resource, "b_ns": namespace, "b_names": its[first : first + _NAMES]}
                for row in connection.execute(t.select_objects, values):
                    stored = _stored(row)
                    self.before[stored.key] = stored

    def _fetch_changed(self, bases: Sequence[Basis], connection: Connection) -> None:
        for resource in {basis.resource for basis in bases}:
            oldest = min(basis.revision for basis in bases if basis.resource == resource)
            values = {"b_resource": resource, "b_after": oldest}
            newest = connection.execute(t.changed_since, values).scalar_one()
            # Below the compacted revision the log doesn't say: perhaps it was.
            self.changed[resource] = Revision(max(newest or 0, self.compacted if oldest < self.compacted else 0))

    def current(self, key: Key) -> Stored | None:
        if key in self.now:
            return self.now[key]
        return self.before[key]

    def add(self, batch: Batch) -> tuple[Revision, ...]:
        """Decide one batch. Raises a caller's error, and then nothing of the batch is in the group."""
        advance = batch.advance
        lives, records = None, batch.records
        if batch.basis is not None:
            check_basis(batch.basis, self.changed[batch.basis.resource])
        if advance is not None:
            lives, records = advanced(self.lives_now[advance.node], advance, records)
        rows = rows_of(batch.writes, self.current, self.revision)
        for row in rows:
            self.now[row.key] = row.stored
            if row.key.resource in self.changed:
                self.changed[row.key.resource] = row.revision
        self.rows.extend(rows)
        self.revision = Revision(self.revision + len(rows))
        if advance is not None and lives is not None:
            self.lives_now[advance.node] = lives
        for record in records:
            self.record_number += 1
            self.records.append((self.record_number, record))
        return tuple(row.revision for row in rows)

    def enter(self, job: _Enter) -> Position:
        """Begin a session of the node. Raises `ConflictError`, and then nobody has entered."""
        if job.while_at is not None:
            check_standing(job.while_at, self.current(job.while_at.key))
        lives, common = entered(self.lives_now[job.node], job.incarnation, job.starts)
        self.lives_now[job.node] = lives
        position = position_of(job.node, lives)
        assert position is not None, "somebody has just entered"
        if job.hub:
            self.entry_number += 1
            self.entries[job.node] = entry_of(position, hub=job.hub, number=self.entry_number)
        return replace(position, common=common)

    @property
    def empty(self) -> bool:
        """Every batch was refused, or asked for nothing."""
        return not (self.rows or self.records or self.lives_now != self.lives_before)

    @property
    def news(self) -> News:
        return News(revision=self.revision, entry=self.entry_number)

    def write(self, connection: Connection) -> None:
        if self.rows:
            connection.execute(t.insert_log, [_log_values(row) for row in self.rows])
        self._write_objects(connection)
        self._write_lives(connection)
        if self.entries:
            connection.execute(t.delete_entries, [{"b_node": node} for node in self.entries])
            connection.execute(t.insert_entries, [_entry_values(entry) for entry in self.entries.values()])
        if self.records:
            connection.execute(t.insert_records, [_record_values(number, record) for number, record in self.records])
        connection.execute(t.update_numbers, {"b_rev": self.revision, "b_record_number": self.record_number})

    def _write_objects(self, connection: Connection) -> None:
        new: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        gone: list[dict[str, Any]] = []
        for key, stored in self.now.items():
            if self.before[key] is None:
                if stored is not None:
                    new.append(_object_values(stored))
            elif stored is None:
                gone.append(_key_values(key))
            else:
                values = {"b_rev": stored.revision, "b_body": stored.body, "b_uid": stored.uid}
                changed.append(_key_values(key) | values)
        for statement, values in ((t.insert_objects, new), (t.update_objects, changed), (t.delete_objects, gone)):
            if values:
                connection.execute(statement, values)

    def _write_lives(self, connection: Connection) -> None:
        new: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        gone: list[dict[str, Any]] = []
        for node, now in self.lives_now.items():
            before = self.lives_before[node]
            for incarnation, life in now.items():
                if incarnation not in before:
                    new.append(_life_values(node, incarnation, life))
                elif life != before[incarnation]:
                    values = {
                        "b_session": life.session,
                        "b_received": life.received.text,
                        "b_dates": life.dates.text,
                        "b_starts": life.starts.text,
                    }
                    changed.append({"b_node": node, "b_incarnation": incarnation} | values)
            gone += [{"b_node": node, "b_incarnation": incarnation} for incarnation in before.keys() - now.keys()]
        for statement, values in ((t.insert_outboxes, new), (t.update_outboxes, changed), (t.delete_outboxes, gone)):
            if values:
                connection.execute(statement, values)


_Outcome: TypeAlias = tuple[Revision, ...] | Position | Exception
"""What became of a batch, or of a session that enters."""


class _Written(Frozen):
    """A group that is durable, or in which nothing was allowed."""

    outcomes: list[_Outcome]
    changes: list[Change]
    start: Revision
    """The revision before the first change."""


Publish = Callable[[Sequence[Change], Revision], None]
"""Told in the loop's thread what was committed, before the committers are: changes, and the revision before."""


class Writer:
    """See the module. Methods are called in the loop's thread; `_run` is the writer's."""

    def __init__(self, database: Database, publish: Publish) -> None:
        self._database = database
        self._engine = database.writer
        self._publish = publish
        self._down = False
        """The database was not there for the last group: the next one tries once and doesn't wait."""
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Commit | _Enter | _Housekeeping] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def commit(self, batch: Batch) -> asyncio.Future[tuple[Revision, ...]]:
        done: asyncio.Future[tuple[Revision, ...]] = self._loop.create_future()
        self._put(_Commit(batch=batch, done=done), first=batch.urgent)
        return done

    def enter(
        self, node: str, incarnation: str, hub: str, while_at: Standing | None, starts: Sequence[Start]
    ) -> asyncio.Future[Position]:
        done: asyncio.Future[Position] = self._loop.create_future()
        job = _Enter(node=node, incarnation=incarnation, hub=hub, while_at=while_at, starts=starts, done=done)
        self._put(job)
        return done

    def housekeeping(self, step: Step) -> asyncio.Future[int]:
        done: asyncio.Future[int] = self._loop.create_future()
        self._put(_Housekeeping(step=step, done=done))
        return done

    async def close(self) -> None:
        """Commit what is waiting, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _put(self, job: _Commit | _Enter | _Housekeeping, *, first: bool = False) -> None:
        with self._wake:
            if self._closing:
                raise UnavailableError("the store is closed")
            if len(self._waiting) >= WAITING_MAX and not first:
                raise UnavailableError(f"the store has {WAITING_MAX} writes waiting; try again later")
            if first:
                self._waiting.appendleft(job)
            else:
                self._waiting.append(job)
            self._wake.notify()

    def _take(self) -> list[_Commit | _Enter] | _Housekeeping | None:
        """The next group, or one step of housekeeping; None when closed and done."""
        with self._wake:
            while not self._waiting and not self._closing:
                self._wake.wait()
            if not self._waiting:
                return None
            first = self._waiting.popleft()
            if isinstance(first, _Housekeeping):
                return first
            group: list[_Commit | _Enter] = [first]
            while self._waiting and len(group) < GROUP:
                following = self._waiting[0]
                if isinstance(following, _Housekeeping):
                    break
                group.append(following)
                self._waiting.popleft()
            return group

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            if isinstance(taken, _Housekeeping):
                self._keep_house(taken)
            else:
                self._commit(taken)

    def _commit(self, jobs: list[_Commit | _Enter]) -> None:
        written: _Written | None = None
        outcomes: list[_Outcome]
        try:
            written = self._patiently(jobs)
            outcomes = written.outcomes
            self._down = False
        except UnavailableError as error:
            outcomes = [error] * len(jobs)
            self._down = True
        except Exception as error:
            # The root of this thread: whoever waits must hear of a fault of ours, and those after them be written.
            log.exception("store writer failed batches=%d", len(jobs))
            outcomes = [error] * len(jobs)
        self._loop.call_soon_threadsafe(self._tell, jobs, outcomes, written)

    def _patiently(self, jobs: list[_Commit | _Enter]) -> _Written:
        """Write a group, waiting a little for a database that has gone away. Raises `UnavailableError`."""
        end_s = time.monotonic() + (0.0 if self._down else self._database.patience_s)
        pause_s = _PAUSE_S
        stale = True
        while True:
            try:
                return self._write(jobs)
            except DBAPIError as error:
                fault = self._database.explain(error)
                if not self._database.lost(error):
                    raise fault from error
            if stale:  # perhaps nothing is wrong but a connection that was lost while nobody used it
                stale = False
                continue
            if time.monotonic() + pause_s > end_s or self._closing:
                raise fault
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    def _write(self, jobs: list[_Commit | _Enter]) -> _Written:
        """One transaction. Raises `DBAPIError` where it certainly has no effect."""
        with self._engine.connect() as connection:
            transaction = connection.begin()
            try:
                group = _begin_group(connection)
                group.fetch(jobs, connection)
                start = group.revision
                outcomes = [_decide(group, job) for job in jobs]
                if group.empty:
                    transaction.rollback()
                else:
                    group.write(connection)
                    self._database.seal(connection, group.news)
                    self._end(transaction)
            finally:
                if transaction.is_active:
                    with suppress(DBAPIError):
                        transaction.rollback()
        return _Written(outcomes=outcomes, changes=[row.change for row in group.rows], start=start)

    def _end(self, transaction: RootTransaction) -> None:
        try:
            transaction.commit()
        except DBAPIError as error:
            committed = self._database.sealed()
            if committed is None:
                raise UnavailableError(
                    f"the store {self._database.name} was lost during a commit and does not come back: "
                    "whether this write was made is not known"
                ) from error
            if not committed:
                raise

    def _tell(
        self,
        jobs: list[_Commit | _Enter],
        outcomes: list[_Outcome],
        written: _Written | None,
    ) -> None:
        if written is not None and written.changes:
            self._publish(written.changes, written.start)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.done.done():
                continue
            if isinstance(outcome, Exception):
                job.done.set_exception(outcome)
            elif isinstance(outcome, Position):
                assert isinstance(job, _Enter)
                job.done.set_result(outcome)
            else:
                assert isinstance(job, _Commit)
                job.done.set_result(outcome)

    def _keep_house(self, job: _Housekeeping) -> None:
        outcome: int | Exception
        try:
            with self._engine.begin() as connection:
                outcome = job.step(connection)
        except DBAPIError as error:
            outcome = self._database.explain(error)
        except Exception as error:
            # As in `_commit`: a step that fails must not end the thread that writes.
            log.exception("store housekeeping failed")
            outcome = error
        self._loop.call_soon_threadsafe(_tell_housekeeper, job.done, outcome)


def _tell_housekeeper(done: asyncio.Future[int], outcome: int | Exception) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def _begin_group(connection: Connection) -> _Group:
    row = connection.execute(t.lock_meta).one()
    return _Group(revision=Revision(row.rev), compacted=Revision(row.compacted), record_number=row.record_number)


def _decide(group: _Group, job: _Commit | _Enter) -> _Outcome:
    try:
        return group.enter(job) if isinstance(job, _Enter) else group.add(job.batch)
    except SkerryError as error:
        return error


def select_object(connection: Connection, key: Key) -> Stored | None:
    row = connection.execute(t.select_object, _key_values(key)).one_or_none()
    return None if row is None else _stored(row)


def _stored(row: RowOf[*tuple[Any, ...]]) -> Stored:
    key = Key(row.resource, row.ns, row.name)
    return Stored(key=key, uid=row.uid, revision=Revision(row.rev), body=row.body)


def select_lives(connection: Connection, node: str) -> Lives:
    """What is kept of a node's outboxes, by incarnation."""
    return _select_lives(connection, [node])[node]


def _select_lives(connection: Connection, nodes: Sequence[str]) -> dict[str, Lives]:
    found: dict[str, dict[str, Life]] = {node: {} for node in nodes}
    for row in connection.execute(t.select_outboxes, {"b_nodes": nodes}):
        found[row.node][row.incarnation] = Life(
            session=row.session,
            received=Received.read(row.received),
            dates=Dates.read(row.dates),
            starts=Starts.read(row.starts),
        )
    return {**found}


def _key_values(key: Key) -> dict[str, Any]:
    return {"b_resource": key.resource, "b_ns": key.namespace, "b_name": key.name}


def _object_values(stored: Stored) -> dict[str, Any]:
    key = stored.key
    return {
        "resource": key.resource,
        "ns": key.namespace,
        "name": key.name,
        "uid": stored.uid,
        "rev": stored.revision,
        "body": stored.body,
    }


def _log_values(row: Row) -> dict[str, Any]:
    return {
        "rev": row.revision,
        "resource": row.key.resource,
        "ns": row.key.namespace,
        "name": row.key.name,
        "uid": row.uid,
        "prev_rev": None if row.before is None else row.before.revision,
        "prev": None if row.before is None else row.before.body,
        "after": row.after,
        "final": row.final,
    }


def _life_values(node: str, incarnation: str, life: Life) -> dict[str, Any]:
    return {
        "node": node,
        "incarnation": incarnation,
        "session": life.session,
        "received": life.received.text,
        "dates": life.dates.text,
        "starts": life.starts.text,
    }


def _entry_values(entry: Entry) -> dict[str, Any]:
    return {
        "node": entry.node,
        "number": entry.number,
        "incarnation": entry.incarnation,
        "session": entry.session,
        "hub": entry.hub,
    }


def _record_values(number: int, record: Record) -> dict[str, Any]:
    return {
        "number": number,
        "series": record.series,
        "at_ms": record.at_ms,
        "seq": record.seq,
        "body": record.body,
    }
