"""The edge store's tables, as steps from each version to the next.

A file's version is SQLite's `user_version`. Steps are only ever added: gateways come back after years with any of
the older files. Each step runs in one transaction with its version number, so a crash leaves one or the other.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from skerry.errors import UnavailableError

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE objects (
             resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
             uid TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,
             PRIMARY KEY (resource, namespace, name))""",
        # The boot is a number here, its 36 characters in `boots`: telemetry has millions of rows.
        "CREATE TABLE boots (number INTEGER PRIMARY KEY, boot_id TEXT NOT NULL UNIQUE)",
        """CREATE TABLE outbox (
             seq INTEGER PRIMARY KEY, class TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL,
             wall_ms INTEGER NOT NULL, boot INTEGER NOT NULL,
             monotonic_ms INTEGER NOT NULL, cost INTEGER NOT NULL)""",
        "CREATE UNIQUE INDEX outbox_state ON outbox (kind, key) WHERE class = 'state'",
        # Holds all that is asked when the oldest of a class go, and when a start adds up what waits.
        "CREATE INDEX outbox_class ON outbox (class, seq, cost)",
        """CREATE TABLE twins (
             resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, prop TEXT NOT NULL,
             body BLOB NOT NULL, PRIMARY KEY (resource, namespace, name, prop)) WITHOUT ROWID""",
        "CREATE TABLE pods (uid TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE gaps (class TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    ),
    ("CREATE TABLE commands (uid TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",),
    (  # What a boot knew of time (`BootTimes`); of boots before this step nothing is known.
        "ALTER TABLE boots ADD COLUMN opened_ms INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE boots ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE boots ADD COLUMN floor_ms INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE boots ADD COLUMN said_ms INTEGER",
        "ALTER TABLE boots ADD COLUMN heard_ms INTEGER",
        "ALTER TABLE boots ADD COLUMN server_ms INTEGER",
    ),
    (  # What waits is counted once, here, and from then on kept (`edgecore.store.damage.META_USAGE`).
        """INSERT OR REPLACE INTO meta (name, value)
             SELECT 'outbox_usage', json_group_object(class, json_array(reports, bytes)) FROM (
               SELECT class, count(*) AS reports, sum(cost) AS bytes FROM outbox GROUP BY class)""",
    ),
    (  # Telemetry waits in blocks. A row that is none has one number, as before.
        "ALTER TABLE outbox ADD COLUMN readings INTEGER NOT NULL DEFAULT 1",
        "DROP INDEX outbox_class",
        "CREATE INDEX outbox_class ON outbox (class, seq, cost, readings)",
    ),
    (  # Numbers are never given twice: what is said of one that was dropped is not said of another.
        """CREATE TABLE pushes (
             number INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body BLOB NOT NULL)""",
        "CREATE INDEX pushes_queue ON pushes (queue, number)",
        """CREATE TABLE push_queues (
             queue TEXT PRIMARY KEY, waiting INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL)
             WITHOUT ROWID""",
    ),
    ("CREATE TABLE rules (uid TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",),
)
"""STEPS[n] leads from version n to n + 1."""

VERSION: Final = len(STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """Of the tables; 0 for a new file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to `VERSION`, in the caller's transaction. Raises `UnavailableError` for newer ones."""
    version = version_of(connection)
    if version > VERSION:
        raise UnavailableError(
            f"the edge store has version {version}, this agent knows {VERSION}: install the newer agent again"
        )
    for step in STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
