"""What a gateway knows and does, in the edge store's SQLite file: every table but the outbox's own, and the pushes'.

Written in the store's transactions, with the reports that tell of it; read from any thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from edgecore.store.outbox import bytes_of
from edgecore.store.port import EdgeBatch, Held, TwinRow
from skerry.objects.meta import Key, Revision, Stamp

Read: TypeAlias = Callable[[str, Sequence[object]], list[tuple[object, ...]]]
"""Rows of a statement with these values. Raises `UnavailableError`, and `DamagedError` for what can't be read."""


class Facts:
    """Reads them; each method is that of `EdgeStore`."""

    def __init__(self, read: Read) -> None:
        self._read = read

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
        rows = self._read("SELECT resource, namespace, name, uid, revision FROM objects", ())
        return [(_key(row), Stamp(str(row[3]), Revision(int(str(row[4]))))) for row in rows]

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]:
        select = "SELECT resource, namespace, name, prop, body FROM twins"
        order = " ORDER BY resource, namespace, name, prop"
        if device is None:
            rows = self._read(select + order, ())
        else:
            at = (device.resource, device.namespace, device.name)
            rows = self._read(select + " WHERE resource = ? AND namespace = ? AND name = ?" + order, at)
        return [TwinRow(device=_key(row), prop=str(row[3]), body=bytes_of(row[4])) for row in rows]

    def pods(self) -> Sequence[tuple[str, bytes]]:
        return self._records("pods")

    def pod(self, uid: str) -> bytes | None:
        rows = self._read("SELECT body FROM pods WHERE uid = ?", (uid,))
        return bytes_of(rows[0][0]) if rows else None

    def commands(self) -> Sequence[tuple[str, bytes]]:
        return self._records("commands")

    def rules(self) -> Sequence[tuple[str, bytes]]:
        return self._records("rules")

    def meta(self, name: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def _records(self, table: str) -> Sequence[tuple[str, bytes]]:
        rows = self._read(f"SELECT uid, body FROM {table} ORDER BY uid", ())  # noqa: S608 - names of ours
        return [(str(uid), bytes_of(body)) for uid, body in rows]

    def count(self) -> int:
        """Of the objects that are held."""
        (count,) = self._read("SELECT count(*) FROM objects", ())
        return int(str(count[0]))


def write_facts(connection: sqlite3.Connection, batch: EdgeBatch) -> None:
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
