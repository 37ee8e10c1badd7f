"""What is sound of a damaged edge store goes into the one that follows it, in one transaction.

So a gateway whose backlog broke still knows its pods and devices while there is no link. Only who lost a store loads
this. A crash leaves the new store as it was, and the next start does it again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgecore.store.damage import (
    META_DAMAGE,
    META_LEFT,
    META_STARTS,
    META_USAGE,
    DamageNote,
    first_fault,
    translated,
)
from edgecore.store.port import META_EPOCH, META_LEAVING, META_REVISION, ROW_OVERHEAD_BYTES
from edgecore.store.salvage import Outbox, Salvage, outbox_of, reading_uri
from edgecore.store.set_aside import META_SALVAGE
from skerry.errors import SkerryError, StorageFullError
from skerry.frozen import Frozen, replace

_OF_THE_OUTBOX: Final = ("incarnation", META_LEFT, META_STARTS, META_LEAVING)
_LEFT_BEHIND: Final = (*_OF_THE_OUTBOX, "head", META_USAGE, META_SALVAGE, META_EPOCH, META_REVISION)
"""Of `meta`: the outbox's own, which comes over apart, and the epoch, for a commit that carries one has everybody
tell again what may be lost of the outbox."""
_TAKEN_OVER: Final[Mapping[str, str]] = {
    "objects": "INSERT INTO main.objects (resource, namespace, name, uid, revision, body)"
    " SELECT resource, namespace, name, uid, revision, body FROM damaged.objects"
    " WHERE json_valid(CAST(body AS TEXT))",
    "twins": "INSERT INTO main.twins (resource, namespace, name, prop, body)"
    " SELECT resource, namespace, name, prop, body FROM damaged.twins",
    # A record whose pod is not held says that the pod was deleted; containers without a record are waited for.
    "pods": "INSERT INTO main.pods (uid, body)"
    " SELECT uid, body FROM damaged.pods WHERE uid IN (SELECT uid FROM main.objects)",
    "commands": "INSERT INTO main.commands (uid, body) SELECT uid, body FROM damaged.commands",
    "pushes": "INSERT INTO main.pushes (number, queue, body) SELECT number, queue, body FROM damaged.pushes",
    # Without its record a rule begins anew: what it was about to do is then not done.
    "rules": "INSERT INTO main.rules (uid, body) SELECT uid, body FROM damaged.rules",
    "meta": "INSERT INTO main.meta (name, value) SELECT name, value FROM damaged.meta"
    " WHERE name NOT IN (SELECT value FROM json_each(:left_behind))",
}
_COUNT_PUSHES: Final = (
    "INSERT INTO main.push_queues (queue, waiting, bytes, dropped)"
    " SELECT queue, count(*), sum(length(body) + length(queue) + ?), 0 FROM main.pushes GROUP BY queue"
)
"""Of those that came over; how many were dropped before, nobody knows then."""
LOST_BOOTS: Final = -(1 << 40)
"""Where the table of boots broke: numbers before all others, of boots of which nothing is known."""
_BOOTS_TAKEN_OVER: Final = "INSERT INTO main.boots ({columns}) SELECT {columns} FROM damaged.boots"
_FORGET_LIFE: Final = "DELETE FROM main.meta WHERE name IN (SELECT value FROM json_each(?))"


def take_over(connection: sqlite3.Connection, damaged: Path, damage: str) -> tuple[str, ...]:
    """Bring into a new store, in one transaction, each table of a damaged one that is sound (their names), the life
    of its outbox where that is known, the order to save what waited in it, and what is to be told of it. Whoever
    calls opens the new store again. It leaves the damaged file as it is. Raises `sqlite3.Error` where the new one
    can't be written."""
    sound: tuple[str, ...] = ()
    outbox = Outbox(life=None, top=0, held=None)
    boots = gaps = False
    attached = _attach(connection, damaged)
    try:
        if attached:
            sound = tuple(table for table in _TAKEN_OVER if _is_sound(connection, table))
            boots, gaps = _is_sound(connection, "boots"), _is_sound(connection, "gaps")
            with suppress(sqlite3.Error, SkerryError):
                outbox = outbox_of(
                    connection, _OF_THE_OUTBOX, META_USAGE, meta="meta" in sound, commands="commands" in sound
                )
        found = _Found(sound=sound, boots=boots, gaps=gaps, outbox=outbox)
        try:
            _write(connection, damaged.name, damage, found)
        except sqlite3.DatabaseError as error:
            if isinstance(translated(error, ""), StorageFullError):
                raise
            # Something that looked sound can't be read after all: a start that fails over it would fail for ever.
            # The life ends with the commands that were begun (`outbox_of`).
            sound, outbox = (), replace(outbox, life=None)
            _write(connection, damaged.name, damage, _Found(sound=(), boots=False, gaps=False, outbox=outbox))
    finally:
        if attached:
            with suppress(sqlite3.Error):
                connection.execute("DETACH damaged")
    return sound


class _Found(Frozen):
    """What is sound of a damaged store."""

    sound: tuple[str, ...]
    """Of `_TAKEN_OVER`."""
    boots: bool
    gaps: bool
    outbox: Outbox


def _write(connection: sqlite3.Connection, name: str, damage: str, found: _Found) -> None:
    outbox = found.outbox
    note = DamageNote(damage=damage, file=name, taken_over=found.sound)
    shift = 0 if found.boots else LOST_BOOTS
    salvage = Salvage(file=name, through=outbox.top, held=outbox.held, boots_shift=shift)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table in found.sound:
            connection.execute(_TAKEN_OVER[table], {"left_behind": json.dumps(_LEFT_BEHIND)})
        connection.execute(_COUNT_PUSHES, (ROW_OVERHEAD_BYTES,))
        if found.boots:
            connection.execute("DELETE FROM main.boots")
            connection.execute(_BOOTS_TAKEN_OVER.format(columns=_columns_of_boots(connection)))
        if found.gaps:
            connection.execute("INSERT OR REPLACE INTO main.gaps (class, body) SELECT class, body FROM damaged.gaps")
        if outbox.life is not None:
            connection.execute(_FORGET_LIFE, (json.dumps(_OF_THE_OUTBOX),))
        said = {**(outbox.life or {}), "head": str(outbox.top), META_SALVAGE: salvage.text, META_DAMAGE: note.text}
        connection.executemany("INSERT OR REPLACE INTO main.meta (name, value) VALUES (?, ?)", said.items())
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _attach(connection: sqlite3.Connection, damaged: Path) -> bool:
    try:
        connection.execute("ATTACH ? AS damaged", (reading_uri(damaged),))
        connection.execute("SELECT count(*) FROM damaged.sqlite_schema").fetchone()
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.execute("DETACH damaged")
        return False
    return True


def _columns_of_boots(connection: sqlite3.Connection) -> str:
    """Those that the damaged store has: it may be of an older agent."""
    return ", ".join(str(row[1]) for row in connection.execute("PRAGMA damaged.table_info('boots')").fetchall())


def _is_sound(connection: sqlite3.Connection, table: str) -> bool:
    try:
        there = connection.execute("SELECT 1 FROM damaged.sqlite_schema WHERE name = ?", (table,)).fetchone()
        return there is not None and not first_fault(connection, f"damaged.integrity_check('{table}')")
    except sqlite3.DatabaseError:
        return False
