"""What is peculiar to SQLite (`Database` in `sql_database`): the file, one process at a time, durability, and what
its errors mean.

The file is in WAL mode with `synchronous=FULL`: a commit that returned has been through fsync, so it survives
a power cut (https://www.sqlite.org/pragma.html#pragma_synchronous). A `.lock` file next to it is held with
flock for the life of the process; the system lets go of it however the process ends.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from cloudcore.store.sql_database import Heard, News
from skerry.errors import StorageFullError, UnavailableError
from skerry.frozen import Frozen

_PAGE_BYTES: Final = 4096
_WAL_BYTES_KEPT: Final = 64 * 1024 * 1024


class SqliteSettings(Frozen):
    """How the file is used."""

    lock_wait_s: float = 5.0
    """How long to wait for another process's write lock before saying so."""
    max_bytes: int = 0
    """The file never grows beyond this; 0: only the disk limits it."""
    readers: int = 4
    """Connections that read, each in a thread of its own."""


class SqliteDatabase:
    """`Database` in a file. Raises `UnavailableError` when another process has it, or it can't be opened."""

    connections: int
    patience_s: float = 0.0
    shared: bool = False

    def __init__(self, path: Path, settings: SqliteSettings) -> None:
        self._path = path.absolute()
        self._settings = settings
        self.connections = settings.readers
        create_file(self._path)
        self._lock = FileLock(self._path)
        self.writer = writer_engine(self._path, settings)
        self.readers = reader_engine(self._path, settings)

    @property
    def name(self) -> str:
        return str(self._path)

    def begin_setup(self, connection: Connection) -> None:
        """The file is locked already."""

    def identity(self, connection: Connection) -> str:
        return file_identity(self._path)

    def seal(self, connection: Connection, news: News) -> None:
        """There is nobody to tell."""

    def sealed(self) -> bool | None:
        """A commit that failed was rolled back (https://www.sqlite.org/lang_transaction.html)."""
        return False

    def lost(self, error: DBAPIError) -> bool:
        return False

    def explain(self, error: DBAPIError) -> UnavailableError:
        return storage_error(error, self._path, self._settings)

    def follow(self, heard: Heard) -> None:
        """Nobody else writes."""

    def close(self) -> None:
        """Move the write-ahead log into the file, and let go of it."""
        self.readers.dispose()
        try:
            with self.writer.connect() as connection:
                checkpoint(connection)
        finally:
            self.writer.dispose()
            self._lock.release()


class FileLock:
    """Holds a SQLite file for this process alone."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises `UnavailableError` naming the holder when another process has it."""
        lock = path.with_name(path.name + ".lock")
        self._fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise UnavailableError(f"the store {path} is in use by another process (pid {holder})") from error
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._fd)


def create_file(path: Path) -> None:
    """Make the file, readable by its owner only; SQLite gives its companions the same permissions."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise UnavailableError(f"the store {path} can't be opened: {error.strerror}") from error


def file_identity(path: Path) -> str:
    """What a copy of the file does not share with it."""
    return str(path.stat().st_ino)


def writer_engine(path: Path, settings: SqliteSettings) -> Engine:
    """The engine of the one writer. Its transactions take the write lock when they begin."""
    engine = _engine(path, settings, connections=1)

    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES_KEPT}")
        if settings.max_bytes:
            connection.execute(f"PRAGMA max_page_count={max(1, settings.max_bytes // _PAGE_BYTES)}")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin_writing)
    return engine


def reader_engine(path: Path, settings: SqliteSettings) -> Engine:
    """The engine of the readers: each transaction sees one state of the database and never waits for writers."""
    engine = _engine(path, settings, connections=settings.readers)

    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA query_only=ON")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin_reading)
    return engine


def checkpoint(connection: Connection) -> None:
    """Move the write-ahead log into the file and empty it. Outside a transaction."""
    dbapi = connection.connection.driver_connection
    assert isinstance(dbapi, sqlite3.Connection)
    dbapi.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def storage_error(error: DBAPIError, path: Path, settings: SqliteSettings) -> UnavailableError:
    """The world's error that a driver's error means (https://www.sqlite.org/rescode.html)."""
    original = error.orig
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        waited = f"waited {settings.lock_wait_s:g} s"
        return UnavailableError(f"the store {path} is locked by another process ({waited}); nothing was written")
    if code == sqlite3.SQLITE_FULL:
        limit = f" (or its limit of {settings.max_bytes} bytes is reached)" if settings.max_bytes else ""
        return StorageFullError(f"the disk of the store {path} is full{limit}; nothing was written")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        fix = "restore a backup (docs/howto/backups.md); gateways go on meanwhile, and catch up by themselves"
        return UnavailableError(f"the store {path} is damaged ({original}): {fix}")
    return UnavailableError(f"the store {path} can't be used: {original}")


def _engine(path: Path, settings: SqliteSettings, *, connections: int) -> Engine:
    return create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": settings.lock_wait_s, "check_same_thread": False},
    )


def _begin_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
