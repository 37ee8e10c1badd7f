"""Rows into a table of a PostgreSQL database, TimescaleDB's hypertables among them.

The table is made where it is not there, and otherwise taken as it is: it must have the columns that are written, and
who writes needs no more than INSERT on it. Its key is the row's number in this life of the cloud's store, so that
what is sent again is there once. Where the database is, the Sink says, and so those decide who may write Sinks; the
Secret says only who we are there. Nothing of the cloud's own environment (libpq's variables, its password file, a
client's certificate in somebody's home) takes part. Keeps one connection.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from cloudcore.sinks.http import authorities_of
from cloudcore.sinks.port import RefusedRowsError, Secret, SlowError
from cloudcore.sinks.rows import Row
from skerry.errors import UnavailableError
from skerry.objects.hosts import is_loopback
from skerry.objects.json import JsonObject, bool_at, int_at, str_at

TIMEOUT_S: Final = 30.0
CONNECT_S: Final = 10
PORT: Final = 5432
ROOTS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems have their authorities: libpq wants a file."""
_NONE: Final = "/dev/null/none"
"""No file, also none in a home."""
_UNSAID: Final = {
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
    "require_auth": "scram-sha-256,md5,password,none",
    "sslcertmode": "disable",
}
"""What stands for nothing said, where an empty word does not. Nobody is shown a ticket or a certificate of ours."""
_COLUMNS: Final = (
    "epoch",
    "number",
    "time",
    "namespace",
    "device",
    "property",
    "node",
    "value",
    "text",
    "quality",
    "sequence",
    "estimated",
    "gap",
    "dropped",
    "thinned",
)
_MADE: Final = """CREATE TABLE IF NOT EXISTS {} (
  epoch text NOT NULL, number bigint NOT NULL, time timestamptz NOT NULL, namespace text NOT NULL,
  device text NOT NULL, property text NOT NULL, node text NOT NULL, value double precision, text text,
  quality text NOT NULL, sequence bigint NOT NULL, estimated boolean NOT NULL, gap text,
  dropped bigint NOT NULL, thinned bigint NOT NULL, PRIMARY KEY (epoch, number, time))"""


class PostgresReceiver:
    """See the module. `spec` is the Sink's, whole. The Secret's `username` and `password` are ours there, in its
    `ca.crt` are the authorities that the server's certificate may be of."""

    def __init__(self, spec: JsonObject, secret: Secret, *, epoch: str) -> None:
        self._spec = spec
        self._secret = secret
        name = str_at(spec, "postgres", "table") or "skerry_readings"
        self._table = sql.Identifier(*name.split("."))
        self._epoch = epoch
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    async def send(self, rows: Sequence[Row]) -> int:
        values = [self._values(row) for row in rows]
        connection = self._connection or await self._connected()
        self._connection = connection
        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
            self._table,
            sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
            sql.SQL(", ").join([sql.SQL("%s")] * len(_COLUMNS)),
        )
        try:
            async with asyncio.timeout(TIMEOUT_S), connection.transaction(), connection.cursor() as cursor:
                await cursor.executemany(insert, values)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise RefusedRowsError(_said(error)) from error
        except TimeoutError as error:
            await self.close()
            raise SlowError(f"no answer in {TIMEOUT_S:.0f} s") from error
        except (psycopg.Error, OSError) as error:
            await self.close()
            raise UnavailableError(_said(error)) from error
        return 0

    async def _connected(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """To a table that is there."""
        if not self._secret.get("username"):
            raise UnavailableError("spec.secretRef: the Secret has no `username` (and `password`) of the database")
        try:
            async with asyncio.timeout(TIMEOUT_S), self._parameters() as parameters:
                connection = await psycopg.AsyncConnection.connect(make_conninfo("", **parameters))
                try:
                    await self._make_table(connection)
                except BaseException:
                    await _close(connection)
                    raise
        except (psycopg.Error, TimeoutError, OSError) as error:
            raise UnavailableError(_said(error)) from error
        return connection

    async def _make_table(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        """Where there is none: who may only insert is not asked whether he could make one."""
        async with connection.transaction():
            found = await connection.execute("SELECT to_regclass(%s)", (self._table.as_string(None),))
            if await found.fetchone() == (None,):
                await connection.execute(sql.SQL(_MADE).format(self._table))

    @asynccontextmanager
    async def _parameters(self) -> AsyncGenerator[dict[str, str | int]]:
        """All that libpq would else take from somewhere; the file of the authorities is there meanwhile."""
        host = str_at(self._spec, "postgres", "host")
        parameters: dict[str, str | int] = {
            **_of_nobody(),
            "host": host,
            "port": int_at(self._spec, "postgres", "port") or PORT,
            "dbname": str_at(self._spec, "postgres", "database"),
            "user": self._secret["username"],
            "password": self._secret.get("password", ""),
            "passfile": _NONE,
            "application_name": "skerry",
            "connect_timeout": CONNECT_S,
            "sslcert": _NONE,
            "sslkey": _NONE,
            "sslcrl": _NONE,
            "client_encoding": "utf8",
        }
        own = self._secret.get("ca.crt", "")
        if not own and (bool_at(self._spec, "allowPlain") or is_loopback(host)):
            yield parameters | {"sslmode": "prefer", "sslrootcert": _NONE}
            return
        secure: dict[str, str | int] = {"sslmode": "verify-full"}
        if not own:
            yield parameters | secure | {"sslrootcert": _roots()}
            return
        authorities_of(self._secret)
        with tempfile.NamedTemporaryFile("w", prefix="skerry-ca-", suffix=".crt") as file:
            await asyncio.to_thread(_write, Path(file.name), own)
            yield parameters | secure | {"sslrootcert": file.name}

    def _values(self, row: Row) -> tuple[object, ...]:
        """Raises `RefusedRowsError` for a time that is none here."""
        try:
            time = datetime.fromtimestamp(row.at_ms / 1000, UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise RefusedRowsError(f"{row.at_ms} ms is no time of a column") from error
        return (
            self._epoch,
            row.number,
            time,
            row.namespace,
            row.device,
            row.prop,
            row.node,
            row.float,
            row.value,
            row.quality,
            row.seq,
            row.estimated,
            row.gap if row.hole else None,
            row.hole,
            row.thinned,
        )

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)


async def _close(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    with suppress(psycopg.Error):
        await connection.close()


def _of_nobody() -> dict[str, str]:
    """Every option that libpq would take from a variable of the environment, as it is without one; but for `service`,
    which fills only what nobody says."""
    found: dict[str, str] = {}
    for option in pq.Conninfo.get_defaults():
        name = option.keyword.decode()
        if option.envvar is not None and name != "service":
            found[name] = _UNSAID.get(name, "") if option.compiled is None else option.compiled.decode()
    return found


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _roots() -> str:
    """The system's authorities."""
    given = ssl.get_default_verify_paths().cafile
    return next((path for path in (given, *ROOTS) if path and Path(path).exists()), "system")


def _said(error: BaseException) -> str:
    """One line. A failed connection's text has no password in it."""
    return " ".join(str(error).split())[:300] or type(error).__name__
