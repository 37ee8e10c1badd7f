"""The gateway's own history in a SQLite file: a ring of chunks, the oldest of which go when it is full.

It is a convenience and not the record: what the cloud must have waits in the outbox, whose file this is not. So
nothing here is synced commit by commit (WAL, `synchronous=NORMAL`: a power cut costs the newest chunks and never the
file), and a file that turns out to be damaged is thrown away, at whatever moment. One that can't be opened for
another reason (a full disk, another process, a newer agent's) stays as it is, and is tried again. Methods may take a
disk's time: call them from a thread. One connection, under a lock.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from typing import Final

from edgecore.history.chunks import LIFE, Chunk, Kept, chunk_of, in_lives, pays, runs_of
from skerry.errors import ProtocolError, UnavailableError

LOG: Final = logging.getLogger(__name__)

_VERSION: Final = 2
_ROW_BYTES: Final = 120
"""What a chunk takes beside its body: its columns and its place in two indexes."""
_MADE: Final = (
    """CREATE TABLE chunks (
         number INTEGER PRIMARY KEY, series TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
         life INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, sure INTEGER NOT NULL,
         readings INTEGER NOT NULL, body BLOB NOT NULL)""",
    "CREATE INDEX chunks_first ON chunks (series, first_ms, last_ms)",
    "CREATE INDEX chunks_last ON chunks (series, last_ms)",
    "CREATE TABLE total (bytes INTEGER NOT NULL)",
    "INSERT INTO total (bytes) VALUES (0)",
)
_STEPS: Final[tuple[tuple[str, ...], ...]] = (
    ("BEGIN IMMEDIATE", *_MADE, f"PRAGMA user_version = {_VERSION}", "COMMIT"),
    (
        "BEGIN IMMEDIATE",
        "ALTER TABLE chunks ADD COLUMN life INTEGER NOT NULL DEFAULT 0",
        f"PRAGMA user_version = {_VERSION}",
        "COMMIT",
    ),
    (),
)
"""What makes a file of this version of each one before it."""
_INSERT: Final = """INSERT INTO chunks (series, first_ms, last_ms, life, first_seq, last_seq, sure, readings, body)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_CHUNK: Final = """SELECT series, first_ms, last_ms, life, first_seq, last_seq, sure, readings, body
  FROM chunks WHERE number = ?"""
_LAST: Final = "SELECT life, last_seq FROM chunks WHERE series = ? ORDER BY life DESC, last_seq DESC LIMIT 1"
_NEWEST: Final = "SELECT number FROM chunks WHERE series = ? ORDER BY last_ms DESC LIMIT 1"
_OLDEST: Final = "SELECT number, length(body) FROM chunks ORDER BY number LIMIT 500"
_UPWARD: Final = """SELECT number FROM chunks WHERE series = ? AND last_ms >= ? AND first_ms <= ?
  ORDER BY first_ms, number"""
_DOWNWARD: Final = """SELECT number FROM chunks WHERE series = ? AND last_ms >= ? AND first_ms <= ?
  ORDER BY last_ms DESC, number DESC"""
_AFTER: Final = "SELECT number FROM chunks WHERE series = ? AND (life, last_seq) > (?, ?) ORDER BY life, first_seq"


class _BegunAnewError(UnavailableError):
    """The file was damaged, and there is another."""


class HistoryFile:
    """See the module. Raises `UnavailableError` where the disk does not let it."""

    def __init__(
        self,
        path: Path,
        *,
        bytes_max: int,
        free_floor: int,
        free_bytes: Callable[[Path], int] = lambda directory: disk_usage(directory).free,
    ) -> None:
        """`free_floor`: below that much room on the disk it gives way, before anything that waits for the cloud."""
        self._path = path
        self._bytes_max = bytes_max
        self._free_floor = free_floor
        self._free_bytes = free_bytes
        self._lock = threading.Lock()
        self._newest: dict[str, int] = {}
        """The chunk of each series that may still grow."""
        self._last: dict[str, int] = {}
        """The newest number of each series that was kept since the file was opened."""
        self._size = 0
        self._opened: sqlite3.Connection | None = None
        self._closed = False

    @property
    def _connection(self) -> sqlite3.Connection:
        """Opened when it is first wanted, and where it could not be, when it is wanted again. Under the lock."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise UnavailableError(f"{self._path.name} is closed")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                return self._connected()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._throw_away(error)
                return self._connected()
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(f"opening {self._path}: {error}") from error

    def _throw_away(self, why: Exception) -> None:
        LOG.warning("the gateway's own history is damaged and begins anew error=%s", why)
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _connected(self) -> sqlite3.Connection:
        """Raises `UnavailableError` for a newer agent's."""
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -1024")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise UnavailableError(f"{self._path} has version {version}, this agent knows {_VERSION}")
            for statement in _STEPS[int(version)]:
                connection.execute(statement)
            connection.execute("SELECT number FROM chunks LIMIT 1").fetchone()
            (self._size,) = connection.execute("SELECT bytes FROM total").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self, why: sqlite3.Error) -> None:
        """It broke while it was open; another is made when it is wanted. Under the lock."""
        broken, self._opened = self._opened, None
        self._newest, self._last, self._size = {}, {}, 0
        if broken is not None:
            with suppress(sqlite3.Error):
                broken.close()
        try:
            self._throw_away(why)
        except OSError as error:
            raise UnavailableError(f"throwing {self._path} away: {error}") from error

    # --- writing ---

    def keep(self, series: Mapping[str, Sequence[Kept]]) -> None:
        """Add these readings, of each series in the order in which they were taken. On a disk that is nearly full the
        oldest go, and of the new ones none is kept. Where the file turns out to be damaged they are the first of
        another."""
        try:
            self._keep(series)
        except _BegunAnewError:
            self._keep(series)

    def _keep(self, series: Mapping[str, Sequence[Kept]]) -> None:
        short = self._free_floor - self._free()
        if short > 0:
            with self._transaction():
                self._drop(short)
            self._give_back()
            return
        with self._transaction():
            for name, kept in series.items():
                numbered = in_lives(kept, self._last_of(name))
                self._last[name] = numbered[-1].number
                for run in runs_of(numbered):
                    self._add(name, run)
            while self._size > self._bytes_max and self._drop(self._size - self._bytes_max):
                pass

    def _give_back(self) -> None:
        """The room of what went, to the disk. A script, as SQLite frees a page with every step of this one, and
        Python takes one step of what has no rows."""
        with self._lock:
            try:
                self._connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise self._failed(error, "writing") from error

    def _last_of(self, series: str) -> int:
        """Its newest number; 0 before the first."""
        known = self._last.get(series)
        if known is None:
            row = self._connection.execute(_LAST, (series,)).fetchone()
            known = 0 if row is None else int(row[0]) * LIFE + int(row[1])
        return known

    def _add(self, series: str, run: list[Kept]) -> None:
        number = self._newest.get(series)
        while number is not None and (older := self._chunk(number)) is not None and pays(older, run):
            with suppress(ProtocolError):
                run = [*older.kept(), *run]
            self._connection.execute("DELETE FROM chunks WHERE number = ?", (number,))
            self._size -= len(older.body) + _ROW_BYTES
            before = self._connection.execute(_NEWEST, (series,)).fetchone()
            number = None if before is None else before[0]
        chunk = chunk_of(series, run)
        added = self._connection.execute(
            _INSERT,
            (
                series,
                chunk.first_ms,
                chunk.last_ms,
                chunk.life,
                chunk.first_seq,
                chunk.last_seq,
                chunk.sure,
                chunk.readings,
                chunk.body,
            ),
        )
        assert added.lastrowid is not None
        self._newest[series] = added.lastrowid
        self._size += len(chunk.body) + _ROW_BYTES

    def _chunk(self, number: int) -> Chunk | None:
        row = self._connection.execute(_CHUNK, (number,)).fetchone()
        return None if row is None else _chunk_of(row)

    def _drop(self, wanted: int) -> bool:
        """Of the oldest as many as have so many bytes, or some of these; whether there were any."""
        least = self._size - wanted
        rows = self._connection.execute(_OLDEST).fetchall()
        for number, size in rows:
            self._connection.execute("DELETE FROM chunks WHERE number = ?", (number,))
            self._size -= size + _ROW_BYTES
            if self._size <= least:
                break
        return bool(rows)

    def _free(self) -> int:
        try:
            return self._free_bytes(self._path.parent)
        except OSError:
            return self._free_floor

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._lock:
            connection = self._connection
            size, newest, last = self._size, dict(self._newest), dict(self._last)
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield
                connection.execute("UPDATE total SET bytes = ?", (self._size,))
                connection.execute("COMMIT")
            except BaseException as error:
                self._size, self._newest, self._last = size, newest, last
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._failed(error, "writing") from error
                raise

    def _failed(self, error: sqlite3.Error, doing: str) -> UnavailableError:
        """What to raise; a damaged file begins anew."""
        if not _is_damage(error):
            return UnavailableError(f"{doing} {self._path.name}: {error}")
        self._begin_anew(error)
        return _BegunAnewError(f"{doing} {self._path.name}: it was damaged and has begun anew: {error}")

    # --- reading ---

    def chunks(self, series: str, *, since_ms: int, until_ms: int, newest_first: bool) -> Iterator[Chunk]:
        """Of a series and a time, in order of their first moments, or from the last of their last ones."""
        yield from self._selected(_DOWNWARD if newest_first else _UPWARD, (series, since_ms, until_ms))

    def after(self, series: str, number: int) -> Iterator[Chunk]:
        """Those with readings of higher numbers (`Kept.number`), in order of these."""
        yield from self._selected(_AFTER, (series, *divmod(number, LIFE)))

    def _selected(self, select: str, values: Sequence[object]) -> Iterator[Chunk]:
        """One after the other, so that an answer holds little; what grows or goes meanwhile is read as it is then.
        The number of one that went may be another series' by then."""
        with self._reading():
            numbers = [number for (number,) in self._connection.execute(select, values).fetchall()]
        for number in numbers:
            with self._reading():
                chunk = self._chunk(number)
            if chunk is not None and chunk.series == values[0]:
                yield chunk

    @contextmanager
    def _reading(self) -> Generator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._failed(error, "reading") from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._opened is not None:
                self._opened.close()
            self._opened = None


def _is_damage(error: sqlite3.Error) -> bool:
    """And no lock, no lack of room, nor anything else that goes away."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _chunk_of(row: Sequence[object]) -> Chunk:
    series, first_ms, last_ms, life, first_seq, last_seq, sure, readings, body = row
    assert isinstance(body, bytes)
    return Chunk(
        series=str(series),
        first_ms=int(str(first_ms)),
        last_ms=int(str(last_ms)),
        life=int(str(life)),
        first_seq=int(str(first_seq)),
        last_seq=int(str(last_seq)),
        sure=bool(sure),
        readings=int(str(readings)),
        body=body,
    )
