"""Bringing an older store's tables to this version, in place and in one transaction.

A crash leaves the old tables or the new ones, with the number that says which. Steps are only ever added: a store
of any released version can be opened. Statements are plain SQL, written out: what an old version meant does not
change with the tables of `sql_tables`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from cloudcore.store import sql_tables as t

_STEPS: Final[dict[int, tuple[str, ...]]] = {
    # One position a node, for every lane; sessions were numbered by a clock and not kept.
    1: (
        """CREATE TABLE outboxes (
             node TEXT NOT NULL, incarnation TEXT NOT NULL, session BIGINT NOT NULL, received TEXT NOT NULL,
             PRIMARY KEY (node, incarnation))""",
        """INSERT INTO outboxes (node, incarnation, session, received)
             SELECT node, incarnation, 1, '1-' || seq || ';1-' || seq FROM positions WHERE seq > 0""",
        "DROP TABLE positions",
    ),
    # Records were read by number alone. What the outbox's numbers of older ones were is not known; they stand in
    # order of their times.
    2: (
        "ALTER TABLE records ADD COLUMN seq BIGINT NOT NULL DEFAULT 0",
        "CREATE INDEX records_by_place ON records (series, at_ms, seq, number)",
        "ALTER TABLE outboxes ADD COLUMN dates TEXT NOT NULL DEFAULT ''",
    ),
    # One hub served everybody, and nobody asked where a node is.
    3: (
        """CREATE TABLE entries (
             node TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL, incarnation TEXT NOT NULL,
             session BIGINT NOT NULL, hub TEXT NOT NULL)""",
        "CREATE INDEX entries_by_number ON entries (number)",
    ),
    # Nobody told when its agent had started.
    4: ("ALTER TABLE outboxes ADD COLUMN starts TEXT NOT NULL DEFAULT ''",),
}
"""_STEPS[n] leads from schema version n to n + 1."""

OLDEST: Final = min(_STEPS)


def migrate(connection: Connection, schema: int) -> None:
    """From a version between `OLDEST` and today's. In the caller's transaction."""
    for version in range(schema, t.SCHEMA):
        for statement in _STEPS[version]:
            connection.exec_driver_sql(statement)
    if schema < t.SCHEMA:
        connection.execute(t.update_schema, {"b_schema": t.SCHEMA})
