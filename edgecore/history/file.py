"""The gateway's own history in a SQLite file: a ring of chunks, the oldest of which go when it is full.

It is a convenience and not the record: what the cloud must have waits in the outbox, whose file this is not. So
nothing here is synced commit by commit (WAL, `synchronous=NORMAL`: a power cut costs the newest chunks and never the
file), and a file that can't be read is thrown away. Methods may take a disk's time: call them from a thread. One
connection, under a lock.
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

from edgecore.history.chunks import Chunk, Kept, chunk_of, pays, runs_of
from skerry.errors import ProtocolError, UnavailableError

LOG: Final = logging.getLogger(__name__)

_VERSION: Final = 1
_ROW_BYTES: Final = 120
"""What a chunk takes beside its body: its columns and its place in two indexes."""
_MADE: Final = (
    """CREATE TABLE chunks (
         number INTEGER PRIMARY KEY, series TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
         first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, sure INTEGER NOT NULL, readings INTEGER NOT NULL,
         body BLOB NOT NULL)""",
    "CREATE INDEX chunks_first ON chunks (series, first_ms, last_ms)",
    "CREATE INDEX chunks_last ON chunks (series, last_ms)",
    "CREATE TABLE total (bytes INTEGER NOT NULL)",
    "INSERT INTO total (bytes) VALUES (0)",
)
_INSERT: Final = """INSERT INTO chunks (series, first_ms, last_ms, first_seq, last_seq, sure, readings, body)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_CHUNK: Final = """SELECT series, first_ms, last_ms, first_seq, last_seq, sure, readings, body
  FROM chunks WHERE number = ?"""
_NEWEST: Final = "SELECT number FROM chunks WHERE series = ? ORDER BY last_ms DESC LIMIT 1"
_OLDEST: Final = "SELECT number, length(body) FROM chunks ORDER BY number LIMIT 500"
_UPWARD: Final = """SELECT number FROM chunks WHERE series = ? AND last_ms >= ? AND first_ms <= ?
  ORDER BY first_ms, number"""
_DOWNWARD: Final = """SELECT number FROM chunks WHERE series = ? AND last_ms >= ? AND first_ms <= ?
  ORDER BY last_ms DESC, number DESC"""
_AFTER: Final = "SELECT number FROM chunks WHERE series = ? AND last_seq > ? ORDER BY first_seq"


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
        self._connection = self._open()
        (self._size,) = self._connection.execute("SELECT bytes FROM total").fetchone()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                return self._connected()
            except sqlite3.DatabaseError as error:
                LOG.warning("the gateway's own history can't be read and begins anew error=%s", error)
                for suffix in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                return self._connected()
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(f"opening {self._path}: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -1024")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise sqlite3.DatabaseError(f"it has version {version}, this agent knows {_VERSION}")
            if not version:
                for statement in _MADE:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("SELECT number FROM chunks LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    # --- writing ---

    def keep(self, series: Mapping[str, Sequence[Kept]]) -> None:
        """Add these readings, of each series in the order in which they were taken. On a disk that is nearly full the
        oldest go, and of the new ones none is kept."""
        with self._transaction():
            if self._free() < self._free_floor:
                self._drop()
                self._connection.execute("PRAGMA incremental_vacuum").fetchall()
                return
            for name, kept in series.items():
                for run in runs_of(kept):
                    self._add(name, run)
            while self._size > self._bytes_max and self._drop():
                pass

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

    def _drop(self) -> bool:
        """Some of the oldest; whether there were any."""
        rows = self._connection.execute(_OLDEST).fetchall()
        gone = 0
        for number, size in rows:
            self._connection.execute("DELETE FROM chunks WHERE number = ?", (number,))
            self._size -= size + _ROW_BYTES
            gone += 1
            if self._size <= self._bytes_max and self._free() >= self._free_floor:
                break
        return gone > 0

    def _free(self) -> int:
        try:
            return self._free_bytes(self._path.parent)
        except OSError:
            return self._free_floor

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._lock:
            size, newest = self._size, dict(self._newest)
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("UPDATE total SET bytes = ?", (self._size,))
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._size, self._newest = size, newest
                with suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise UnavailableError(f"writing {self._path.name}: {error}") from error
                raise

    # --- reading ---

    def chunks(self, series: str, *, since_ms: int, until_ms: int, newest_first: bool) -> Iterator[Chunk]:
        """Of a series and a time, in order of their first moments, or from the last of their last ones."""
        yield from self._selected(_DOWNWARD if newest_first else _UPWARD, (series, since_ms, until_ms))

    def after(self, series: str, seq: int) -> Iterator[Chunk]:
        """Those with readings of higher numbers, in order of these."""
        yield from self._selected(_AFTER, (series, seq))

    def _selected(self, select: str, values: Sequence[object]) -> Iterator[Chunk]:
        """One after the other, so that an answer holds little; what grows or goes meanwhile is read as it is then."""
        with self._reading():
            numbers = [number for (number,) in self._connection.execute(select, values).fetchall()]
        for number in numbers:
            with self._reading():
                chunk = self._chunk(number)
            if chunk is not None:
                yield chunk

    @contextmanager
    def _reading(self) -> Generator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise UnavailableError(f"reading {self._path.name}: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _chunk_of(row: Sequence[object]) -> Chunk:
    series, first_ms, last_ms, first_seq, last_seq, sure, readings, body = row
    assert isinstance(body, bytes)
    return Chunk(
        series=str(series),
        first_ms=int(str(first_ms)),
        last_ms=int(str(last_ms)),
        first_seq=int(str(first_seq)),
        last_seq=int(str(last_seq)),
        sure=bool(sure),
        readings=int(str(readings)),
        body=body,
    )
