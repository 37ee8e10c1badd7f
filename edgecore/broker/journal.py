"""What the broker keeps across a restart and a power cut: sessions, what waits for them, and what is retained.

One SQLite file, WAL with full syncs: a commit that returned survives a power cut. Rows follow `skerry.mqtt.kept`.
Times are written as this machine's time of day; one that is read back runs no longer than it was meant to, wherever
the clock stood in between. A file that can't be read is set aside under another name, and a new one begins.

A second form lives in memory, for tests and the demo: it forgets everything.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any, Final, Protocol

from skerry.errors import StorageFullError, UnavailableError
from skerry.files import unavailable
from skerry.mqtt.fields import Fields
from skerry.mqtt.kept import Changes, DeliveryRow, Kept, Message, SessionRow, Stage, Subscription
from skerry.mqtt.packets import Kind, PacketError, Wanted, Will
from skerry.mqtt.properties import read_properties, write_properties
from skerry.ports import Clock

LOG = logging.getLogger(__name__)

VERSION: Final = 1
SIZE_PAGES_MAX: Final = 64 * 1024
"""Of the file, 256 MiB: well over what `Limits` lets a broker hold."""
_SCHEMA: Final = """
CREATE TABLE sessions (client TEXT PRIMARY KEY, user TEXT NOT NULL, expiry_s INTEGER NOT NULL, left_ms INTEGER,
  will_topic TEXT, will_payload BLOB, will_flags INTEGER, will_properties BLOB, will_due_ms INTEGER) WITHOUT ROWID;
CREATE TABLE subscriptions (client TEXT, filter TEXT, options INTEGER NOT NULL, identifier INTEGER NOT NULL,
  PRIMARY KEY (client, filter)) WITHOUT ROWID;
CREATE TABLE deliveries (client TEXT, number INTEGER, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
  ids TEXT NOT NULL, packet_id INTEGER NOT NULL, stage INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
  flags INTEGER NOT NULL, properties BLOB NOT NULL, origin TEXT NOT NULL, expires_ms INTEGER,
  PRIMARY KEY (client, number));
CREATE TABLE received (client TEXT, packet_id INTEGER, PRIMARY KEY (client, packet_id)) WITHOUT ROWID;
CREATE TABLE retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, flags INTEGER NOT NULL,
  properties BLOB NOT NULL, origin TEXT NOT NULL, expires_ms INTEGER);
"""
_TABLES: Final = ("sessions", "subscriptions", "deliveries", "received")
_ENDED: Final = tuple(f"DELETE FROM {table} WHERE client = ?" for table in _TABLES)  # noqa: S608 - names of ours


class Journal(Protocol):
    """What a broker asks of its disk. `commit` may be called from any one thread at a time."""

    def load(self) -> Kept:
        """Everything; called once, before any commit."""
        ...

    def commit(self, changes: Changes) -> None:
        """Durable when it returns, whole or not at all. Raises `UnavailableError`."""
        ...

    def close(self) -> None: ...


class MemoryJournal:
    """Forgets. Implements `Journal`."""

    def load(self) -> Kept:
        return Kept()

    def commit(self, changes: Changes) -> None:
        del changes

    def close(self) -> None:
        pass


class SqliteJournal:
    """See the module. Implements `Journal`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises `UnavailableError` where there can be no such file."""
        self._clock = clock
        self._path = path
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise UnavailableError(f"{path}: {error}") from error
            self._set_aside(str(error))
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.touch(mode=0o600)  # what waits in it is nobody else's to read
        except OSError as error:
            raise unavailable(self._path, error) from error
        db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA cache_size=-512")
            db.execute(f"PRAGMA max_page_count={SIZE_PAGES_MAX}")
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
            elif version != VERSION:
                raise sqlite3.DatabaseError(f"version {version} is not {VERSION}")
            if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("it fails its check")
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, reason: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{self._clock.wall_ms()}")
        LOG.error("broker_damaged the broker's file was moved to %s, a new one begins reason=%r", aside, reason)
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    # --- writing ------------------------------------------------------------------------------------------

    def commit(self, changes: Changes) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(changes)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFullError(f"no room to write {self._path}") from error
            raise UnavailableError(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise UnavailableError(f"{self._path}: {error}") from error

    def _write(self, changes: Changes) -> None:
        many = self._db.executemany
        for statement in _ENDED:
            many(statement, [(client,) for client in changes.ended])
        many("REPLACE INTO sessions VALUES (?,?,?,?,?,?,?,?,?)", map(self._session, changes.sessions))
        many("DELETE FROM subscriptions WHERE client = ? AND filter = ?", changes.unsubscribed)
        many("REPLACE INTO subscriptions VALUES (?,?,?,?)", [_subscription(*each) for each in changes.subscribed])
        many("DELETE FROM deliveries WHERE client = ? AND number = ?", changes.done)
        many("REPLACE INTO deliveries VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", map(self._delivery, changes.deliveries))
        many(
            "UPDATE deliveries SET packet_id = ?, stage = ? WHERE client = ? AND number = ?",
            [(packet_id, int(stage), client, number) for client, number, packet_id, stage in changes.staged],
        )
        many("DELETE FROM received WHERE client = ? AND packet_id = ?", changes.forgotten)
        many("REPLACE INTO received VALUES (?,?)", changes.received)
        many("DELETE FROM retained WHERE topic = ?", [(topic,) for topic in changes.cleared])
        many(
            "REPLACE INTO retained VALUES (?,?,?,?,?,?)",
            [(message.topic, *self._message(message)) for message in changes.retained],
        )

    def _ms(self, at_s: float | None) -> int | None:
        """As this machine's time of day."""
        if at_s is None:
            return None
        return self._clock.wall_ms() + round((at_s - self._clock.monotonic_s()) * 1000)

    def _session(self, row: SessionRow) -> tuple[Any, ...]:
        will = row.will
        said: tuple[Any, ...] = (None, None, None, None)
        if will is not None:
            said = (will.topic, will.payload, will.qos | will.retain << 2, write_properties(will.properties))
        return row.client, row.user, row.expiry_s, self._ms(row.left_s), *said, self._ms(row.will_due_s)

    def _delivery(self, row: DeliveryRow) -> tuple[Any, ...]:
        ids = ",".join(map(str, row.subscription_ids))
        stage = int(row.stage)
        head = (row.client, row.number, row.qos, int(row.retain), ids, row.packet_id, stage, row.message.topic)
        return head + self._message(row.message)

    def _message(self, message: Message) -> tuple[Any, ...]:
        flags = message.qos | message.retain << 2
        properties = write_properties(message.properties)
        return message.payload, flags, properties, message.origin, self._ms(message.expires_s)

    # --- reading ------------------------------------------------------------------------------------------

    def load(self) -> Kept:
        try:
            return self._load()
        except (sqlite3.DatabaseError, PacketError, ValueError) as error:
            self._db.close()
            self._set_aside(str(error))
            self._db = self._open()
            return Kept()

    def _load(self) -> Kept:
        rows = self._db.execute
        return Kept(
            sessions=[self._read_session(row) for row in rows("SELECT * FROM sessions")],
            subscriptions=[_read_subscription(row) for row in rows("SELECT * FROM subscriptions")],
            deliveries=[self._read_delivery(row) for row in rows("SELECT * FROM deliveries ORDER BY client, number")],
            received=[(client, number) for client, number in rows("SELECT client, packet_id FROM received")],
            retained=[self._read_message(row[0], row[1:]) for row in rows("SELECT * FROM retained")],
        )

    def _left_s(self, at_ms: int) -> float:
        """From now until then; negative for what was."""
        return (at_ms - self._clock.wall_ms()) / 1000

    def _read_session(self, row: Any) -> SessionRow:
        client, user, expiry_s, left_ms, topic, payload, flags, properties, due_ms = row
        now_s, will, due_s = self._clock.monotonic_s(), None, None
        if topic is not None:
            said = read_properties(Fields(properties), Kind.WILL)
            will = Will(topic=topic, payload=payload, qos=flags & 3, retain=bool(flags & 4), properties=said)
            if due_ms is not None:
                due_s = now_s + min(max(self._left_s(due_ms), 0.0), said.will_delay_s or 0)
        return SessionRow(
            client=client,
            user=user,
            expiry_s=expiry_s,
            left_s=None if left_ms is None else now_s + min(self._left_s(left_ms), 0.0),
            will=will,
            will_due_s=due_s,
        )

    def _read_delivery(self, row: Any) -> DeliveryRow:
        client, number, qos, retain, ids, packet_id, stage, topic = row[:8]
        return DeliveryRow(
            client=client,
            number=number,
            qos=qos,
            retain=bool(retain),
            subscription_ids=tuple(int(each) for each in ids.split(",") if each),
            packet_id=packet_id,
            stage=Stage(stage),
            message=self._read_message(topic, row[8:]),
        )

    def _read_message(self, topic: str, row: Any) -> Message:
        payload, flags, properties, origin, expires_ms = row
        said = read_properties(Fields(properties), Kind.PUBLISH)
        expires_s = None
        if expires_ms is not None:
            left_s = min(max(self._left_s(expires_ms), 0.0), said.message_expiry_s or 0)
            expires_s = self._clock.monotonic_s() + left_s
        return Message(
            topic=topic,
            payload=payload,
            qos=flags & 3,
            retain=bool(flags & 4),
            properties=said,
            origin=origin,
            expires_s=expires_s,
        )

    def close(self) -> None:
        self._db.close()


def _subscription(client: str, subscription: Subscription) -> tuple[Any, ...]:
    wanted = subscription.wanted
    options = wanted.qos | wanted.no_local << 2 | wanted.as_published << 3 | wanted.retain_handling << 4
    options |= subscription.telling << 6
    return client, wanted.filter, options, subscription.identifier


def _read_subscription(row: Any) -> tuple[str, Subscription]:
    client, filter, options, identifier = row
    wanted = Wanted(
        filter=filter,
        qos=options & 3,
        no_local=bool(options & 4),
        as_published=bool(options & 8),
        retain_handling=options >> 4 & 3,
    )
    return client, Subscription(wanted=wanted, identifier=identifier, telling=bool(options & 64))
