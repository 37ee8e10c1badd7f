"""The file of the edge store: a connection that writes, one that reads, transactions, and what SQLite says of them.

WAL with full syncs: a transaction that returned survives a power cut, one that did not is there whole or not at all.
One connection writes (from the store's one thread), one reads (from any, under a lock), so a read never waits for a
disk sync. Damage that a statement meets is marked beside the file (`damage`) and told once.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgecore.store.damage import CACHE_KIB, look_through, suspect, translated
from skerry.errors import DamagedError, UnavailableError

FILE_NAME: Final = "edge.db"
WAL_PAGES: Final = 256
"""Checkpoint after so many (1 MiB), so that what a checkpoint still needs fits the store's reserve."""


class Database:
    """Of one open store. Raises `UnavailableError`, `StorageFullError` on a full disk, and `DamagedError`."""

    def __init__(self, path: Path, *, pages_max: int) -> None:
        """`pages_max` bounds the file, 4 KiB each; 0 leaves it to the disk."""
        self._path = path
        self._read_lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._damaged: Callable[[str], None] | None = None
        """Whom to tell of damage; None while it is opened, and when it was told."""
        self._pages_max = pages_max
        self.writer = self._connect()

    def begin_reading(self) -> None:
        """The file is known to be there now; the reader joins the writer's WAL."""
        self._reader = self._connect()

    def tell_damage(self, damaged: Callable[[str], None]) -> None:
        """Opened: from now on damage is told to this, once, from whatever thread meets it."""
        self._damaged = damaged

    def _connect(self) -> sqlite3.Connection:
        place = self._path.absolute().as_uri()  # so that a damaged store's may be one, too
        try:
            connection = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._connections.append(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            if self._pages_max:
                connection.execute(f"PRAGMA max_page_count = {self._pages_max}")
        except sqlite3.Error as error:
            self.close()
            raise translated(error, f"opening the edge store {self._path}") from error
        return connection

    @contextmanager
    def transaction(self, doing: str) -> Generator[None]:
        """All of the body commits, or nothing."""
        try:
            self.writer.execute("BEGIN IMMEDIATE")
            yield
            self.writer.execute("COMMIT")
        except BaseException as error:
            if self.writer.in_transaction:  # SQLite itself rolls back after some errors
                self.writer.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._failure(error, doing) from error
            raise

    def checkpoint(self, doing: str) -> None:
        """What the log beside the tables has goes into them, and it begins anew."""
        try:
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise self._failure(error, doing) from error

    def read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        try:
            with self._read_lock:
                return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error, "reading the edge store") from error

    def damage(self) -> str:
        """See `EdgeStore.damage`."""
        found = look_through(self._path)
        if found:
            self._suspect(found)
        return found

    def close(self) -> None:
        with self._read_lock:
            for connection in self._connections:
                connection.close()

    def _failure(self, error: sqlite3.Error, doing: str) -> UnavailableError:
        failure = translated(error, doing)
        if isinstance(failure, DamagedError):
            self._suspect(str(failure))
        return failure

    def _suspect(self, what: str) -> None:
        tell, self._damaged = self._damaged, None
        if tell is not None:
            suspect(self._path.parent, what)
            tell(what)
