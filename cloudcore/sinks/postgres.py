"""Rows into a table of a PostgreSQL database, TimescaleDB's hypertables among them.

The table is made where it is not there, and otherwise taken as it is: it must have the columns that are written. Its
key is the row's number in this life of the cloud's store, so that what is sent again is there once. Keeps one
connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cloudcore.sinks.port import RefusedRowsError, Secret
from cloudcore.sinks.rows import Row
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, str_at

TIMEOUT_S: Final = 30.0
TABLE: Final = re.compile(r"([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}")
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
    "dropped",
)
_MADE: Final = """CREATE TABLE IF NOT EXISTS {} (
  epoch text NOT NULL, number bigint NOT NULL, time timestamptz NOT NULL, namespace text NOT NULL,
  device text NOT NULL, property text NOT NULL, node text NOT NULL, value double precision, text text,
  quality text NOT NULL, sequence bigint NOT NULL, dropped bigint NOT NULL, PRIMARY KEY (epoch, number, time))"""


class PostgresReceiver:
    """See the module. The Secret's `dsn` says where the database is, and who we are there."""

    def __init__(self, spec: JsonObject, secret: Secret, *, epoch: str) -> None:
        self._dsn = secret.get("dsn", "")
        name = str_at(spec, "table") or "skerry_readings"
        self._table = sql.Identifier(*name.split("."))
        self._epoch = epoch
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    async def send(self, rows: Sequence[Row]) -> int:
        if not self._dsn:
            raise UnavailableError("spec.secretRef: the Secret has no `dsn` (postgresql://...)")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._send(rows)
        except psycopg.DataError as error:
            raise RefusedRowsError(_said(error)) from error
        except (psycopg.Error, TimeoutError, OSError) as error:
            await self.close()
            raise UnavailableError(_said(error)) from error
        return 0

    async def _send(self, rows: Sequence[Row]) -> None:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(_whole(self._dsn))
            async with self._connection.transaction():
                await self._connection.execute(sql.SQL(_MADE).format(self._table))
        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
            self._table,
            sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
            sql.SQL(", ").join([sql.SQL("%s")] * len(_COLUMNS)),
        )
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            await cursor.executemany(insert, [self._values(row) for row in rows])

    def _values(self, row: Row) -> tuple[object, ...]:
        return (
            self._epoch,
            row.number,
            datetime.fromtimestamp(row.at_ms / 1000, UTC),
            row.namespace,
            row.device,
            row.prop,
            row.node,
            row.float,
            row.value,
            row.quality,
            row.seq,
            row.hole,
        )

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()


def _whole(dsn: str) -> str:
    """Raises `UnavailableError` where it can't be read, without libpq's words, which repeat a part of it."""
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        raise UnavailableError("the Secret's dsn can't be read: postgresql://USER:PASSWORD@HOST/DATABASE") from None
    return dsn


def _said(error: BaseException) -> str:
    """One line; a failed connection's text has no password in it, once its string could be read."""
    return " ".join(str(error).split())[:300] or type(error).__name__
