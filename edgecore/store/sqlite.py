"""The edge store in one SQLite file: what a gateway still knows after its power was cut.

Keeps everything of `EdgeStore` in `edge.db`. WAL with full syncs: a transaction that returned survives a power
cut, one that did not is there whole or not at all. One connection writes (from the store's one thread), one reads
(from any, under a lock), so a read never waits for a disk sync.

A file that fails its check (`damage`) is set aside under another name and a new store is made. What is sound of its
small tables is taken over at once, and the life of its outbox goes on where that is known; what waited in it is saved
beside the running agent (`salvage`), and what can't be is told to the cloud as gaps.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import Final, TextIO

from edgecore.store.claims import Claims
from edgecore.store.damage import (
    CACHE_KIB,
    DROP_UNREADABLE,
    GONE,
    META_DAMAGE,
    META_LEFT,
    META_STARTS,
    META_USAGE,
    DamageNote,
    Examined,
    count_usage,
    examine,
    is_suspect,
    look_through,
    read_usage,
    suspect,
    take_over,
    translated,
    trust,
    usage_text,
    version_of,
)
from edgecore.store.expiry import EXPIRY_MS
from edgecore.store.outbox import BOOTS, CLASSES, OUTBOX_COLUMNS, OUTBOX_FROM, Writing, boot_of, bytes_of, report_of
from edgecore.store.packing import Tails, pack
from edgecore.store.port import (
    BOOTS_MAX,
    CLASSES_OF_LANE,
    LAST_STEP_MS,
    META_KNOWN_MS,
    META_LEAVING,
    META_THINNED,
    ClassWaits,
    EdgeBatch,
    Held,
    OutboxBudgets,
    OutboxReport,
    Push,
    PushQueue,
    ReportClass,
    StoreStats,
    TwinRow,
    floor_of,
)
from edgecore.store.pushes import QUEUES, WAITING, push_of, queue_of, write_pushes
from edgecore.store.salvage import (
    META_SALVAGE,
    DamagedOutbox,
    Salvage,
    Stretch,
    begin_salvage,
    bring,
    end_salvage,
    finish,
    read_on,
    salvage_from,
    say,
)
from edgecore.store.schema import STEPS, VERSION
from edgecore.store.set_aside import drop_surplus, name_aside, set_aside
from edgecore.store.thinning import Thinned
from skerry.errors import DamagedError, StorageFullError, UnavailableError
from skerry.files import unavailable
from skerry.frozen import Frozen, replace
from skerry.objects.json import decode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.reports import GapReport
from skerry.objects.spans import Span
from skerry.ports import Clock, Ids
from skerry.sync.ports import BootTimes, Taken
from skerry.sync.starts import Starts
from skerry.wire.frames import Start

FILE_NAME: Final = "edge.db"
WAL_PAGES: Final = 256
"""Checkpoint after so many (1 MiB), so that what a checkpoint still needs fits the reserve."""
RESERVE_BYTES: Final = 2 << 20
"""Kept as a file and given up on a full disk: deleting needs room first, and receipts must be able to make some."""
PRUNE_ROWS: Final = 64
"""In one transaction of a prune that lives on the reserve."""

_SET_META: Final = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"


LOG: Final = logging.getLogger(__name__)


class OpenedStore(Frozen):
    """What `open_store` gives."""

    store: SqliteEdgeStore
    set_aside: Path | None
    """Where a damaged file was moved; None when nothing was wrong."""
    damage: str
    """What was wrong with it, in SQLite's words, or `GONE`; "" when nothing was."""
    taken_over: tuple[str, ...]
    """The tables of the damaged file that were sound and that the new store has."""


class StoreSettings(Frozen):
    """How a store is opened. `max_pages` bounds the file (4 KiB each); 0 leaves it to the disk."""

    directory: Path
    boot_id: str
    """The kernel's random boot id: monotonic times are comparable within one."""
    budgets: OutboxBudgets
    max_pages: int = 0
    free_bytes: Callable[[Path], int] = lambda directory: disk_usage(directory).free
    """Room on the file system of the directory."""
    damaged: Callable[[str], None] = lambda what: None
    """Told once, from whatever thread, when the running store turns out to be damaged."""


def open_store(settings: StoreSettings, clock: Clock, ids: Ids) -> OpenedStore:
    """Open or make the store of this directory.

    Raises `UnavailableError` when another agent has it open, when it was written by a newer version, or when the
    directory can't be written; `StorageFullError` when there is no room for it.
    """
    try:
        settings.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(settings.directory / "edge.lock")
    except OSError as error:
        raise UnavailableError(f"opening the edge store in {settings.directory}: {error.strerror}") from error
    try:
        _drop_surplus(settings)  # room for what may have to be made anew
        opened = _known_again(_opened(settings, lock, clock, ids), lock)
        trust(settings.directory)
        if opened.set_aside is not None:
            _drop_surplus(settings)
    except BaseException:
        lock.close()
        raise
    return opened


def _known_again(opened: OpenedStore, lock: TextIO) -> OpenedStore:
    """Say it where this is another store than the last one here: an empty file, or one whose WAL is gone, is not a
    damaged one, and all that the gateway knew is gone as well. The file of the lock remembers which it was."""
    incarnation = opened.store.incarnation
    is_lost = False
    try:
        before = Path(lock.name).read_text()
        is_lost = bool(before) and before != incarnation and not opened.damage
        if is_lost:  # first: else a power cut in between keeps it secret
            opened.store.apply(EdgeBatch(meta=((META_DAMAGE, DamageNote(damage=GONE).text),)))
        if before != incarnation:
            lock.truncate(0)
            lock.write(incarnation)
            lock.flush()
    except (OSError, UnicodeDecodeError, UnavailableError) as error:
        LOG.warning("which edge store this is can't be remembered reason=%s", error)
    return replace(opened, damage=GONE) if is_lost else opened


def _drop_surplus(settings: StoreSettings) -> None:
    spare = salvage_from(settings.directory)
    drop_surplus(settings.directory, settings.free_bytes, floor=settings.budgets.free_floor, spare=spare)


def _opened(settings: StoreSettings, lock: TextIO, clock: Clock, ids: Ids) -> OpenedStore:
    path = settings.directory / FILE_NAME
    again = partial(SqliteEdgeStore, lock, settings, clock, ids, Examined())
    target = salvage_from(settings.directory)
    if target is not None and target.exists() and not path.exists():
        set_aside(path, target)  # a crash came in between
    examined = examine(path, suspect=is_suspect(settings.directory))
    damage = examined.damage
    if not damage:
        _private(path)
        try:
            store = SqliteEdgeStore(lock, settings, clock, ids, examined)
        except DamagedError as error:  # in what was not asked of
            damage = str(error)
        else:
            if target is None or not target.exists() or store.follows(target):
                return OpenedStore(store=store, set_aside=None, damage="", taken_over=())
            return _taking_over(store, target, "seen by a start that was cut short", again)
    target = name_aside(path, clock.wall_ms())
    begin_salvage(target)
    set_aside(path, target)
    _private(path)
    return _taking_over(again(), target, damage, again)


def _taking_over(
    store: SqliteEdgeStore, damaged: Path, damage: str, again: Callable[[], SqliteEdgeStore]
) -> OpenedStore:
    """Opened once more, for it goes on with the life of the damaged one."""
    try:
        taken_over = store.take_over(damaged, damage)
    finally:
        store.disconnect()
    return OpenedStore(store=again(), set_aside=damaged, damage=damage, taken_over=taken_over)


def _lock(path: Path) -> TextIO:
    """Held until closed or the process ends, however it ends."""
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UnavailableError(f"another agent uses {path.parent} (it holds {path.name})") from None
    return lock


def _private(path: Path) -> None:
    """Secrets of the cloud are in it; what SQLite keeps beside it gets the same mode. Raises `UnavailableError`."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise unavailable(path, error) from error


class SqliteEdgeStore:
    """See `EdgeStore` and `open_store`."""

    def __init__(self, lock: TextIO, settings: StoreSettings, clock: Clock, ids: Ids, examined: Examined) -> None:
        """Raises `DamagedError` for a file that can't be opened though it was examined."""
        self._path = settings.directory / FILE_NAME
        self._lock_file = lock
        self._clock = clock
        self._ids = ids
        self._budgets = settings.budgets
        self._boot_id = settings.boot_id
        self._free_bytes = settings.free_bytes
        self._looked_ms: int | None = None
        """When expiry was last done with."""
        self._damaged: Callable[[str], None] | None = None
        """Whom to tell of damage; None while it is opened, and when it was told."""
        self._damaged_outbox: DamagedOutbox | None = None
        """Of the store before this one, while that is being saved."""
        self._read_lock = threading.Lock()
        self._claims = Claims()
        self._reserve = settings.directory / "edge.reserve"
        self._connections: list[sqlite3.Connection] = []
        try:
            self._open(settings.max_pages, examined)
        except BaseException as error:
            self.disconnect()
            if isinstance(error, sqlite3.Error):
                raise translated(error, f"opening the edge store {self._path}") from error
            raise
        self._damaged = settings.damaged

    def _open(self, max_pages: int, examined: Examined) -> None:
        self._writer = self._connect()
        if max_pages:
            self._writer.execute(f"PRAGMA max_page_count = {max_pages}")
        with self._transaction("making the edge store"):
            self._migrate()
        # Known to be there now; the reader joins the same WAL.
        self._reader = self._connect()
        self._keep_reserve()
        self._incarnation = self.meta("incarnation") or ""
        assert self._incarnation, "a store is made with its incarnation"
        self._head = int(self.meta("head") or 0)
        self._thinned = Thinned.read(self.meta(META_THINNED) or "")
        self._left, self._starts = self._note_opening(self._mark())
        if examined.unreadable:
            with suppress(StorageFullError), self._transaction("dropping what can't be read"):
                for statement in DROP_UNREADABLE:
                    self._writer.execute(statement)
        salvage = self.meta(META_SALVAGE)
        self._salvage = Salvage.read(salvage) if salvage else None
        self._used: Counter[str]
        self._waiting: Counter[str]
        self._used, self._waiting = read_usage(self.meta(META_USAGE) or "{}")
        if examined.suspect:
            self._count_again()

    def _connect(self) -> sqlite3.Connection:
        place = self._path.absolute().as_uri()  # so that a damaged store's may be one, too
        connection = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        self._connections.append(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        return connection

    def _migrate(self) -> None:
        version = version_of(self._writer)
        if version > VERSION:
            raise UnavailableError(
                f"the edge store has version {version}, this agent knows {VERSION}: install the newer agent again"
            )
        for step in STEPS[version:]:
            for statement in step:
                self._writer.execute(statement)
        self._writer.execute(f"PRAGMA user_version = {VERSION}")
        made = (("incarnation", self._ids.token_hex(8)), ("head", "0"))
        self._writer.executemany("INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)", made)
        boots = [boot_of(row) for row in self._writer.execute(BOOTS).fetchall()]
        if all(boot.boot_id != self._boot_id for boot in boots):
            self._begin_boot(boots)
        row = self._writer.execute("SELECT number, last_ms FROM boots WHERE boot_id = ?", (self._boot_id,)).fetchone()
        self._boot: int = row[0]
        self._last_ms: int = row[1]

    def _note_opening(self, mark: int) -> tuple[int, Starts]:
        """Up to which reports may have been sent, and the starts since. A full disk is no reason not to start: it is
        noted next time."""
        before = (int(self.meta(META_LEFT) or 0), Starts.read(self.meta(META_STARTS) or ""))
        left, starts = before if self.meta(META_LEAVING) == "no" else (self._head, Starts())
        starts = starts.begun(Start(mark=mark, first=self._head + 1))
        noted = ((META_LEFT, str(left)), (META_STARTS, starts.text), (META_LEAVING, "no"))
        with suppress(StorageFullError), self._transaction("noting what may have been sent"):
            self._writer.executemany(_SET_META, noted)
        return left, starts

    def _mark(self) -> int:
        return int(self._ids.token_hex(4), 16)

    def _count_again(self) -> None:
        """Where something was wrong, the counts may be."""
        with suppress(StorageFullError), self._transaction("counting what waits"):
            self._used, self._waiting = count_usage(self._writer)
            self._writer.execute(_SET_META, (META_USAGE, usage_text(self._used, self._waiting)))

    def _begin_boot(self, boots: Sequence[BootTimes]) -> None:
        if len(boots) >= BOOTS_MAX:
            self._writer.execute(
                "DELETE FROM boots WHERE server_ms IS NULL AND number NOT IN (SELECT boot FROM outbox)"
            )
        known = self._writer.execute("SELECT value FROM meta WHERE name = ?", (META_KNOWN_MS,)).fetchone()
        now_ms = self._now_ms()
        self._writer.execute(
            "INSERT INTO boots (boot_id, opened_ms, last_ms, floor_ms) VALUES (?, ?, ?, ?)",
            (self._boot_id, now_ms, now_ms, floor_of(boots, known[0] if known else None)),
        )

    @contextmanager
    def _transaction(self, doing: str) -> Generator[None]:
        """All of the body commits, or nothing."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            yield
            self._writer.execute("COMMIT")
        except BaseException as error:
            if self._writer.in_transaction:  # SQLite itself rolls back after some errors
                self._writer.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._failed(error, doing) from error
            raise

    def _failed(self, error: sqlite3.Error, doing: str) -> UnavailableError:
        failure = translated(error, doing)
        if isinstance(failure, DamagedError):
            self._suspect(str(failure))
        return failure

    def _suspect(self, what: str) -> None:
        tell, self._damaged = self._damaged, None
        if tell is not None:
            suspect(self._path.parent, what)
            tell(what)

    def damage(self) -> str:
        found = look_through(self._path)
        if found:
            self._suspect(found)
        return found

    def take_over(self, damaged: Path, damage: str) -> tuple[str, ...]:
        """What is sound of a damaged store, into this new one: the names of those tables. Open it again then."""
        try:
            return take_over(self._writer, damaged, damage)
        except sqlite3.Error as error:
            raise translated(error, "taking over a damaged edge store") from error

    def follows(self, damaged: Path) -> bool:
        """Whether it has taken over that one."""
        return self._salvage is not None and self._salvage.file == damaged.name

    def salvage(self) -> bool:
        if self._salvage is None or self._salvage.done:
            end_salvage(self._path.parent)
            return False
        try:
            stretch = self._stretch(self._salvage)
            self._save(self._salvage, stretch, has_room=self._free() >= self._budgets.free_floor)
        except StorageFullError:
            self._reserve.unlink(missing_ok=True)  # what follows needs little, and makes room for nothing
            self._save(self._salvage, self._stretch(self._salvage), has_room=False)
        if not self._salvage.done:
            return True
        say(self._salvage)
        end_salvage(self._path.parent)
        self._end_reading()
        self._keep_reserve()
        return False

    def _stretch(self, salvage: Salvage) -> Stretch:
        if self._damaged_outbox is None:
            with suppress(sqlite3.Error):
                self._damaged_outbox = DamagedOutbox(self._path.with_name(salvage.file))
        return read_on(self._damaged_outbox, salvage)

    def _save(self, salvage: Salvage, stretch: Stretch, *, has_room: bool) -> None:
        writing = self._writing()
        with self._transaction("saving what a damaged store had for the cloud"):
            salvage = bring(writing, salvage, stretch, has_room=has_room)
            if salvage.after >= salvage.through:
                salvage = finish(writing, salvage)
            self._writer.execute(_SET_META, (META_SALVAGE, salvage.text))
            self._keep_head(writing.head)
            self._keep_usage(writing.used, writing.waiting)
        self._salvage = salvage
        self._head, self._used, self._waiting = writing.head, writing.used, writing.waiting

    def _end_reading(self) -> None:
        if self._damaged_outbox is not None:
            self._damaged_outbox.close()
        self._damaged_outbox = None

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        try:
            with self._read_lock:
                return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error, "reading the edge store") from error

    @property
    def incarnation(self) -> str:
        return self._incarnation

    def apply(self, batch: EdgeBatch) -> int:
        writing = self._writing()
        tails = self._claims.begin(writing.monotonic_ms, packs=bool(batch.readings))
        grown: Tails | None = None
        try:
            grown = self._apply(batch, writing, tails)
        finally:
            self._claims.end(grown)
        return self._head

    def _apply(self, batch: EdgeBatch, writing: Writing, tails: Tails) -> Tails:
        with self._transaction("writing to the edge store"):
            _write_facts(self._writer, batch)
            write_pushes(self._writer, batch, self._budgets.push)
            tails = pack(batch.readings, writing, tails, growing=self._claims.growing, now_ms=writing.monotonic_ms)
            for report in batch.reports:
                writing.add(report)
            classes: set[ReportClass] = {report.report_class for report in batch.reports}
            if batch.readings:
                classes.add("telemetry")
            for report_class in sorted(classes):
                writing.keep_within(
                    report_class, self._budgets.of(report_class), self._budgets.when_full(report_class)
                )
            looked_ms = self._expire(writing)
            if (free := self._free()) < self._budgets.free_floor:
                writing.make_room(free, self._budgets.free_floor)
            self._keep_head(writing.head)
            self._keep_usage(writing.used, writing.waiting)
            if writing.thinned != self._thinned:
                self._writer.execute(_SET_META, (META_THINNED, writing.thinned.text))
            last_ms = self._note_time(batch, writing.monotonic_ms)
        self._last_ms = last_ms
        self._head, self._used, self._waiting = writing.head, writing.used, writing.waiting
        self._thinned, self._looked_ms = writing.thinned, looked_ms
        return tails

    def _writing(self) -> Writing:
        return Writing(
            connection=self._writer,
            head=self._head,
            used=Counter(self._used),
            waiting=Counter(self._waiting),
            wall_ms=self._clock.wall_ms(),
            monotonic_ms=self._now_ms(),
            boot=self._boot,
            spared=self._claims.spared,
            thinned=self._thinned,
        )

    def _keep_head(self, head: int) -> None:
        if head != self._head:
            self._writer.execute("UPDATE meta SET value = ? WHERE name = 'head'", (str(head),))

    def _keep_usage(self, used: Counter[str], waiting: Counter[str]) -> None:
        if waiting != self._waiting or used != self._used:
            self._writer.execute(_SET_META, (META_USAGE, usage_text(used, waiting)))

    def _note_time(self, batch: EdgeBatch, now_ms: int) -> int:
        """The boot's `last_ms` after this batch."""
        heard = batch.reading
        if heard is not None:
            self._writer.execute(
                "UPDATE boots SET said_ms = ?, heard_ms = ?, server_ms = ? WHERE number = ?",
                (heard.said_ms, heard.heard_ms, heard.server_ms, self._boot),
            )
        elif now_ms < self._last_ms + LAST_STEP_MS:
            return self._last_ms
        self._writer.execute("UPDATE boots SET last_ms = ? WHERE number = ?", (now_ms, self._boot))
        return now_ms

    def _now_ms(self) -> int:
        return round(self._clock.monotonic_s() * 1000)

    def _free(self) -> int:
        try:
            return self._free_bytes(self._reserve.parent)
        except OSError:  # a disk that does not even say how full it is: nothing is dropped for that
            return self._budgets.free_floor

    def _expire(self, writing: Writing) -> int | None:
        """Once in a while, and again at once while there is more to drop; when it was last done with."""
        now_ms = writing.monotonic_ms
        if self._looked_ms is not None and now_ms - self._looked_ms < EXPIRY_MS:
            return self._looked_ms
        boots = [boot_of(row) for row in self._writer.execute(BOOTS).fetchall()]
        done = [writing.expire(report_class, ttl, boots) for report_class, ttl in self._budgets.times().items()]
        return now_ms if all(done) else None

    def outbox_left(self) -> int:
        return self._left

    def outbox_starts(self) -> Sequence[Start]:
        return self._starts.starts

    def note_sent(self, through: int) -> None:
        self._left = max(self._left, through)

    def begin_life(self, incarnation: str, settled: Sequence[tuple[int, Span]]) -> None:
        with self._transaction("beginning a new life of the outbox"):
            used, waiting = Counter(self._used), Counter(self._waiting)
            for lane, span in settled:
                self._forget(CLASSES_OF_LANE[lane], span, used, waiting)
            used, waiting = self._keep_parts(settled, used, waiting)
            self._keep_usage(used, waiting)
            starts = Starts((Start(mark=self._mark(), first=1),))
            told = (("incarnation", incarnation), (META_LEFT, "0"), (META_STARTS, starts.text), (META_LEAVING, "no"))
            self._writer.executemany(_SET_META, told)
        self._incarnation, self._left, self._starts = incarnation, 0, starts
        self._used, self._waiting = used, waiting
        self._claims.reset(Tails(taken=self._head))

    def _keep_parts(
        self, settled: Sequence[tuple[int, Span]], used: Counter[str], waiting: Counter[str]
    ) -> tuple[Counter[str], Counter[str]]:
        """Of blocks of which only the first numbers are settled."""
        writing = replace(self._writing(), used=used, waiting=waiting)
        for lane, span in settled:
            if "telemetry" in CLASSES_OF_LANE[lane]:
                writing.keep_part(span.through)
        return writing.used, writing.waiting

    def prune_outbox(self, *, through: int, first: int = 1, lane: int | None = None) -> None:
        classes = CLASSES_OF_LANE[lane]
        try:
            self._prune(classes, first, through)
        except StorageFullError:
            self._prune_on_reserve(classes, first, through)
        self._claims.arrived(first, through, classes)
        self._keep_reserve()

    def _prune_on_reserve(self, classes: Sequence[ReportClass], first: int, through: int) -> None:
        """In slices, each written into the tables before the next: the log beside them never grows."""
        self._reserve.unlink(missing_ok=True)
        select = "SELECT seq FROM outbox WHERE class = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
        for report_class in classes:
            while rows := self._read(select, (report_class, first, through, PRUNE_ROWS)):
                try:
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                except sqlite3.Error as error:
                    raise self._failed(error, "pruning the outbox") from error
                self._prune((report_class,), first, int(str(rows[-1][0])))

    def _keep_reserve(self) -> None:
        """Made when there is room for it and as much again; else tried at the next prune."""
        try:
            if self._reserve.exists() or disk_usage(self._reserve.parent).free < 2 * RESERVE_BYTES:
                return
            self._reserve.write_bytes(bytes(RESERVE_BYTES))
        except OSError:
            self._reserve.unlink(missing_ok=True)

    def _prune(self, classes: Sequence[ReportClass], first: int, through: int) -> None:
        used, waiting = Counter(self._used), Counter(self._waiting)
        with self._transaction("pruning the outbox"):
            self._forget(classes, Span(first, through), used, waiting)
            self._keep_usage(used, waiting)
            if not waiting.total():
                self._writer.execute("DELETE FROM boots WHERE number != ?", (self._boot,))
        self._used, self._waiting = used, waiting

    def _forget(self, classes: Sequence[ReportClass], span: Span, used: Counter[str], waiting: Counter[str]) -> None:
        which = (json.dumps(classes), *span)
        freed = self._writer.execute(
            "SELECT class, sum(readings), sum(cost) FROM outbox"
            " WHERE class IN (SELECT value FROM json_each(?)) AND seq BETWEEN ? AND ? GROUP BY class",
            which,
        ).fetchall()
        self._writer.execute(
            "DELETE FROM outbox WHERE class IN (SELECT value FROM json_each(?)) AND seq BETWEEN ? AND ?", which
        )
        for report_class, count, cost in freed:
            used[report_class] -= cost
            waiting[report_class] -= count

    def get(self, key: Key) -> Held | None:
        rows = self._read(
            "SELECT resource, namespace, name, uid, revision, body FROM objects"
            " WHERE resource = ? AND namespace = ? AND name = ?",
            (key.resource, key.namespace, key.name),
        )
        return _held(rows[0]) if rows else None

    def list(self, resource: str, *, namespace: str = "") -> Sequence[Held]:
        rows = self._read(
            "SELECT resource, namespace, name, uid, revision, body FROM objects"
            " WHERE resource = ?1 AND (?2 = '' OR namespace = ?2) ORDER BY resource, namespace, name",
            (resource, namespace),
        )
        return [_held(row) for row in rows]

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        rows = self._read("SELECT resource, namespace, name, uid, revision FROM objects")
        return [(_key(row), Stamp(str(row[3]), Revision(int(str(row[4]))))) for row in rows]

    def take(
        self, *, after: int, limit: int, lane: int | None = None, until: int | None = None
    ) -> Taken[OutboxReport]:
        read = partial(self.outbox, after=after, limit=limit, lane=lane)
        return self._claims.take(read, CLASSES_OF_LANE[lane], self._now_ms(), until=until)

    def give_back(self, seqs: Sequence[int]) -> None:
        self._claims.give_back(seqs)

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        self._claims.welcomed([(CLASSES_OF_LANE[lane], span) for lane, span in settled])

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxReport]:
        if lane is None:
            rows = self._read(
                f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
            return [report_of(row) for row in rows]
        # Class by class, each along its index: one may have millions of rows, the next few and far between. In one
        # statement: between two a commit could show its events and not its state, and what is missing in a run of
        # numbers is taken for nothing, by us and by the cloud.
        classes = CLASSES_OF_LANE[lane]
        next_ones = f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE class = ? AND seq > ? ORDER BY seq LIMIT ?"
        part = f"SELECT * FROM ({next_ones})"  # noqa: S608 - names of ours
        rows = self._read(
            f"{' UNION ALL '.join([part] * len(classes))} ORDER BY 1 LIMIT ?",
            (*(value for report_class in classes for value in (report_class, after, limit)), limit),
        )
        return [report_of(row) for row in rows]

    def outbox_head(self) -> int:
        return self._head

    def boots(self) -> Sequence[BootTimes]:
        return [boot_of(row) for row in self._read(BOOTS)]

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]:
        select = "SELECT resource, namespace, name, prop, body FROM twins"
        order = " ORDER BY resource, namespace, name, prop"
        if device is None:
            rows = self._read(select + order)
        else:
            at = (device.resource, device.namespace, device.name)
            rows = self._read(select + " WHERE resource = ? AND namespace = ? AND name = ?" + order, at)
        return [TwinRow(device=_key(row), prop=str(row[3]), body=bytes_of(row[4])) for row in rows]

    def pods(self) -> Sequence[tuple[str, bytes]]:
        return [(str(uid), bytes_of(body)) for uid, body in self._read("SELECT uid, body FROM pods ORDER BY uid")]

    def pod(self, uid: str) -> bytes | None:
        rows = self._read("SELECT body FROM pods WHERE uid = ?", (uid,))
        return bytes_of(rows[0][0]) if rows else None

    def commands(self) -> Sequence[tuple[str, bytes]]:
        return [(str(uid), bytes_of(body)) for uid, body in self._read("SELECT uid, body FROM commands ORDER BY uid")]

    def pushes(self, queue: str, *, after: int = 0, limit: int) -> Sequence[Push]:
        return [push_of(row) for row in self._read(WAITING, (queue, after, limit))]

    def push_queues(self) -> Sequence[PushQueue]:
        return [queue_of(row) for row in self._read(QUEUES)]

    def rules(self) -> Sequence[tuple[str, bytes]]:
        return [(str(uid), bytes_of(body)) for uid, body in self._read("SELECT uid, body FROM rules ORDER BY uid")]

    def meta(self, name: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def stats(self) -> StoreStats:
        gaps = self._read("SELECT body FROM gaps ORDER BY class")
        (count,) = self._read("SELECT count(*) FROM objects")
        return StoreStats(
            outbox_reports=self._waiting.total(),
            outbox_bytes=self._used.total(),
            waiting=tuple(self._waits()),
            objects=int(str(count[0])),
            gaps=tuple(GapReport.decode(decode_object(bytes_of(body))) for (body,) in gaps),
        )

    def _waits(self) -> Iterator[ClassWaits]:
        for report_class in CLASSES.values():
            select = f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE class = ? ORDER BY seq LIMIT 1"
            for row in self._read(select, (report_class,)):
                yield ClassWaits(
                    report_class=report_class,
                    reports=self._waiting[report_class],
                    size_bytes=self._used[report_class],
                    oldest=report_of(row),
                )

    def close(self) -> None:
        self.disconnect()
        self._lock_file.close()

    def disconnect(self) -> None:
        """As `close`, and nobody else may open it yet."""
        with self._read_lock:
            for connection in self._connections:
                connection.close()
        self._end_reading()


def _write_facts(connection: sqlite3.Connection, batch: EdgeBatch) -> None:
    """Everything of a batch but its reports. Deletes first: what is deleted and put is there."""
    connection.executemany(
        "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
        [(key.resource, key.namespace, key.name) for key in batch.deletes],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO objects (resource, namespace, name, uid, revision, body) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (held.key.resource, held.key.namespace, held.key.name, held.stamp.uid, held.stamp.revision, held.body)
            for held in batch.puts
        ],
    )
    connection.executemany(
        "DELETE FROM twins WHERE resource = ? AND namespace = ? AND name = ?",
        [(device.resource, device.namespace, device.name) for device in batch.twin_deletes],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO twins (resource, namespace, name, prop, body) VALUES (?, ?, ?, ?, ?)",
        [
            (twin.device.resource, twin.device.namespace, twin.device.name, twin.prop, twin.body)
            for twin in batch.twins
        ],
    )
    for table, rows in (("pods", batch.pods), ("commands", batch.commands), ("rules", batch.rules)):
        gone, kept = [(uid,) for uid, body in rows if body is None], [row for row in rows if row[1] is not None]
        connection.executemany(f"DELETE FROM {table} WHERE uid = ?", gone)  # noqa: S608 - names of ours
        connection.executemany(f"INSERT OR REPLACE INTO {table} (uid, body) VALUES (?, ?)", kept)  # noqa: S608
    connection.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", batch.meta)


def _key(row: tuple[object, ...]) -> Key:
    return Key(str(row[0]), str(row[1]), str(row[2]))


def _held(row: tuple[object, ...]) -> Held:
    return Held(key=_key(row), stamp=Stamp(str(row[3]), Revision(int(str(row[4])))), body=bytes_of(row[5]))
