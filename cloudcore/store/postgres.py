"""What is peculiar to PostgreSQL (`Database` in `sql_database`): several processes on one database.

Keeps the same five tables as SQLite, and one of its own: `marks`, a row for each process with the number of the
last transaction that it committed. A connection that breaks during a commit leaves its outcome in doubt; the mark,
read once the counter row is free again (so the transaction is over, either way), says what became of it.

Commits are in order of revision because each transaction locks the counter row first. Each tells the others the
new revision with NOTIFY, which PostgreSQL delivers when the transaction commits; a listener on a connection of its
own hears it, and looks for itself now and then because notifications are lost with a connection.

A data source name is libpq's, whole: several hosts, TLS, service and password files
(https://www.postgresql.org/docs/current/libpq-connect.html). Nothing here writes it to a log.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import conninfo, sql
from sqlalchemy import BigInteger, Column, Connection, DateTime, Engine, MetaData, Table, Text, create_engine, text
from sqlalchemy.exc import DBAPIError

from cloudcore.store import sql_tables as t
from cloudcore.store.postgres_errors import connection_fault, database_fault
from cloudcore.store.sql import SqlStore, open_database
from cloudcore.store.sql_database import Heard, News
from skerry.errors import GoneError, InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.meta import Revision
from skerry.ports import Ids

log: Final = logging.getLogger(__name__)

SCHEMES: Final = ("postgresql://", "postgres://")

_own: Final = MetaData()
marks: Final = Table(
    "marks",
    _own,
    Column("writer", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)

_PAUSE_S: Final = 0.5
"""Before the listener tries again to connect."""
_SETUP_LOCK: Final = 0x536B657272790001
"""Advisory lock of whoever makes or checks the tables ("Skerry", 1)."""
_SETUP: Final = text("SELECT pg_advisory_xact_lock(:key)")
_SEAL: Final = text(
    "WITH mark AS (INSERT INTO marks (writer, number, at) VALUES (:writer, :number, now()) "
    "ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at) "
    "SELECT pg_notify(:channel, :news)"
)
_WAKE: Final = text("SELECT pg_notify(:channel, 'closing')")
_SEALED: Final = text("SELECT number FROM marks WHERE writer = :writer")
_FORGET_MARKS: Final = text("DELETE FROM marks WHERE at < now() - interval '1 day'")
_IDENTITY: Final = """
SELECT (SELECT system_identifier FROM pg_control_system()) || '/'
    || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '/'
    || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/'
    || to_regclass('meta')::oid
"""
"""Server, timeline (a promoted standby and a recovery to a point in time begin another one), database, table."""

_DURABLE: Final = "SELECT current_setting('fsync'), current_setting('full_page_writes')"


class PostgresSettings(Frozen):
    """How the server is used."""

    readers: int = 4
    """Connections that read; one writes, and one listens."""
    connect_s: float = 5.0
    """To open a connection to one host."""
    silence_s_max: float = 15.0
    """After which a connection whose other end doesn't answer is given up."""
    statement_s: float = 30.0
    """No statement of ours takes a second; one that takes this long is ended by the server."""
    idle_s_max: float = 5.0
    """How long this process may stop in the middle of a write (suspended, cut off) before the server ends its
    transaction: it holds the counter row, and with it every other replica's writes."""
    lock_wait_s: float = 15.0
    """For the counter row; longer than another process may hold it without moving."""
    patience_s: float = 10.0
    """How long a write waits for a database that has gone away: a restart takes seconds."""
    doubt_s: float = 30.0
    """How long to ask for the outcome of a commit whose connection was lost."""
    poll_s: float = 1.5
    """Between two looks at the revision when nothing is heard: what a lost notification may cost."""


async def open_postgres_store(dsn: str, *, ids: Ids, settings: PostgresSettings | None = None) -> SqlStore:
    """Open or create the store in the database that `dsn` names.

    Raises `InvalidError` for a name that libpq doesn't understand, `UnavailableError` when the server can't be
    reached, refuses, or has tables of another version.
    """
    wanted = settings or PostgresSettings()
    options = connection_options(dsn, os.environ, wanted)
    return await open_database(lambda: PostgresDatabase(options, wanted, writer_name=ids.uid()), ids=ids)


def connection_options(dsn: str, environ: Mapping[str, str], settings: PostgresSettings) -> dict[str, str]:
    """What is asked of libpq: what the name says, what its variables say, and else our own limits. Pure.

    Raises `InvalidError`, which quotes nothing of the name: there may be a password in it.
    """
    if not dsn.startswith(SCHEMES):
        raise InvalidError(
            "--database: must begin with postgresql:// (https://www.postgresql.org/docs/current/libpq-connect.html)"
        )
    try:
        given = {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
    except psycopg.Error:
        raise InvalidError(
            "--database: libpq does not understand this name; a password with special characters must be "
            "percent-encoded, or better be in a password file (PGPASSFILE)"
        ) from None
    defaults = {
        "application_name": ("PGAPPNAME", "cloudcore"),
        "connect_timeout": ("PGCONNECT_TIMEOUT", str(round(settings.connect_s))),
        "target_session_attrs": ("PGTARGETSESSIONATTRS", "read-write"),
        "keepalives_idle": ("", "10"),
        "keepalives_interval": ("", "5"),
        "keepalives_count": ("", "3"),
        "tcp_user_timeout": ("", str(round(1000 * settings.silence_s_max))),
    }
    missing = {
        name: value for name, (variable, value) in defaults.items() if name not in given and variable not in environ
    }
    return {**missing, **given}


def shown(options: Mapping[str, str]) -> str:
    """The database for people: where, which, as whom."""
    where = ", ".join(
        f"{host}:{port}" if port else host
        for host, port in zip(
            options.get("host", "local socket").split(","),
            _spread(options.get("port", ""), options.get("host", "").count(",") + 1),
            strict=False,
        )
    )
    named = [f"{name} {options[key]}" for name, key in (("database", "dbname"), ("user", "user")) if key in options]
    return ", ".join([f"PostgreSQL at {where}", *named])


def _spread(ports: str, count: int) -> list[str]:
    """One port for all hosts, or one each."""
    given = ports.split(",")
    return given * count if len(given) == 1 else given


class PostgresDatabase:
    """`Database` on a server."""

    shared: bool = True

    def __init__(self, options: Mapping[str, str], settings: PostgresSettings, *, writer_name: str) -> None:
        self._options = dict(options)
        self._settings = settings
        self._writer_name = writer_name
        self._number = 0
        self._identity = ""
        self._channel = ""
        self._closing = threading.Event()
        self._listener: threading.Thread | None = None
        self.name = shown(options)
        self.connections = settings.readers
        self.patience_s = settings.patience_s
        self.writer = self._engine(connections=1, reads_only=False)
        self.readers = self._engine(connections=settings.readers, reads_only=True)

    def begin_setup(self, connection: Connection) -> None:
        # An index on the readings of years takes as long as it takes; every other statement has its limit.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.execute(_SETUP, {"key": _SETUP_LOCK})
        encoding = connection.exec_driver_sql("SELECT current_setting('server_encoding')").scalar_one()
        if encoding != "UTF8":
            raise UnavailableError(f"the store {self.name} is encoded in {encoding}: create the database with UTF8")
        _own.create_all(connection)
        connection.execute(_FORGET_MARKS)

    def identity(self, connection: Connection) -> str:
        identity = str(connection.exec_driver_sql(_IDENTITY).scalar_one())
        self._identity = identity
        self._channel = f"skerry_{identity.rpartition('/')[2]}"
        fsync, pages = connection.exec_driver_sql(_DURABLE).one()
        if "off" in (fsync, pages):
            log.warning(
                "the database may lose acknowledged writes when its machine fails fsync=%s full_page_writes=%s",
                fsync,
                pages,
            )
        return identity

    def seal(self, connection: Connection, news: News) -> None:
        self._number += 1
        values = {
            "writer": self._writer_name,
            "number": self._number,
            "channel": self._channel,
            "news": f"{news.revision} {self._writer_name} {news.entry}",
        }
        connection.execute(_SEAL, values)

    def sealed(self) -> bool | None:
        end_s = time.monotonic() + self._settings.doubt_s
        while time.monotonic() < end_s and not self._closing.wait(0.1):
            try:
                with self.writer.begin() as connection:
                    # Whoever has this row is the only one: the transaction in doubt has ended, one way or the other.
                    connection.execute(t.lock_meta)
                    number = connection.execute(_SEALED, {"writer": self._writer_name}).scalar_one_or_none()
                    return number == self._number
            except DBAPIError as error:
                log.info("a commit's outcome is not known yet reason=%s", self.explain(error))
        return None

    def lost(self, error: DBAPIError) -> bool:
        return error.connection_invalidated or isinstance(error.orig, _NotConnectedError)

    def explain(self, error: DBAPIError) -> UnavailableError:
        original = error.orig
        if isinstance(original, _NotConnectedError):
            return connection_fault(self.name, str(original))
        state = getattr(original, "sqlstate", None)
        return database_fault(self.name, state, str(original))

    def follow(self, heard: Heard) -> None:
        self._listener = threading.Thread(target=self._listen, args=(heard,), name="store-listener", daemon=True)
        self._listener.start()

    def close(self) -> None:
        self._closing.set()
        if self._listener is not None:
            with suppress(DBAPIError), self.writer.begin() as connection:
                connection.execute(_WAKE, {"channel": self._channel})
            self._listener.join()
        self.readers.dispose()
        self.writer.dispose()

    def _engine(self, *, connections: int, reads_only: bool) -> Engine:
        return create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._connect(_session(self._settings, reads_only=reads_only)),
            pool_size=connections,
            max_overflow=1,  # while a connection that broke is still held, its outcome is asked for on another
            pool_timeout=self._settings.connect_s,
        )

    def _connect(self, session: str) -> psycopg.Connection[Any]:
        """A connection to the database this store was opened on, and to no other."""
        try:
            connection = psycopg.connect(conninfo.make_conninfo(**self._options), autocommit=True)
            try:
                connection.execute(session.encode())
                if self._identity:
                    self._check_identity(connection)
                connection.autocommit = False
            except BaseException:
                connection.close()
                raise
        except _MovedError:
            raise
        except psycopg.Error as error:
            raise _NotConnectedError(str(error)) from error
        return connection

    def _check_identity(self, connection: psycopg.Connection[Any]) -> None:
        found = connection.execute(_IDENTITY.encode()).fetchone()
        if found is None or found[0] != self._identity:
            raise _MovedError("it is another database than before: restored, or a standby that took over")

    # --- news of other processes ---

    def _listen(self, heard: Heard) -> None:
        failed = False
        while not self._closing.is_set():
            try:
                with self._connect(_session(self._settings, reads_only=False)) as connection:
                    connection.autocommit = True
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    if failed:
                        log.info("the store is heard again store=%s", self.name)
                    failed = False
                    self._hear(connection, heard)
            except _MovedError as error:
                log.error("the store was replaced store=%s", self.name)
                heard(GoneError(f"the store {self.name} was replaced: {error}", compacted=0))
                return
            except psycopg.Error as error:
                if not failed and not self._closing.is_set():
                    log.warning("the store is not heard store=%s reason=%s", self.name, " ".join(str(error).split()))
                failed = True
                self._closing.wait(_PAUSE_S)

    def _hear(self, connection: psycopg.Connection[Any], heard: Heard) -> None:
        poll_s = self._settings.poll_s
        due_s = time.monotonic()
        while not self._closing.is_set():
            if time.monotonic() >= due_s:
                # Also what was missed while nobody listened.
                found = connection.execute(b"SELECT rev, (SELECT max(number) FROM entries) FROM meta").fetchone()
                if found is not None:
                    heard(News(revision=Revision(found[0]), entry=found[1] or 0))
                due_s = time.monotonic() + poll_s
            for notice in connection.notifies(timeout=max(0.01, due_s - time.monotonic()), stop_after=1):
                # What this process commits it knows already; the numbers are only hints, and others may send any.
                match notice.payload.split(" "):
                    case [revision, writer, entry] if revision.isdecimal() and entry.isdecimal():
                        if writer != self._writer_name:
                            heard(News(revision=Revision(int(revision)), entry=int(entry)))
                    case _:
                        continue


class _NotConnectedError(psycopg.OperationalError):
    """No connection could be made."""


class _MovedError(_NotConnectedError):
    """A connection was made to another database than the store was opened on."""


def _session(settings: PostgresSettings, *, reads_only: bool) -> str:
    """Settings of a session. As statements, because poolers refuse them as startup options."""
    wanted = {
        "statement_timeout": f"{settings.statement_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{settings.idle_s_max * 1000:.0f}",
        "lock_timeout": f"{settings.lock_wait_s * 1000:.0f}",
        "default_transaction_isolation": "'repeatable read'" if reads_only else "'read committed'",
        "default_transaction_read_only": "on" if reads_only else "off",
        "client_encoding": "'UTF8'",
    }
    durable = (
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    return "; ".join([*(f"SET {name} = {value}" for name, value in wanted.items()), durable])
