"""What is wrong with the file of an edge store, asked of as much of it as somebody waits for.

A backlog of weeks makes the file hundreds of megabytes large, and to read them after a power cut takes a slow card
half a minute. So a start asks of what pods, devices and the link begin with, which is every table but the outbox
(`examine`), and the outbox is looked through while the agent runs (`look_through`). Damage that is seen then, by that
look or by any statement, leaves a mark beside the file and ends the agent: pods do not notice. The start that finds
the mark asks of everything, and a damaged file is set aside (`opening`).

Kept: `edge.suspect`, the mark. A crash before it is written leaves damage that the next look finds again; a crash
after it costs a start that reads everything.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from edgecore.store.schema import VERSION, version_of
from skerry.errors import DamagedError, StorageFullError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.json import decode_object, dig, encode_object, str_at

CACHE_KIB: Final = 512
"""Page cache of each connection; SQLite's default of 2 MB counts on a gateway, and its pages are the kernel's too."""
META_LEFT: Final = "outbox_left"
META_STARTS: Final = "outbox_starts"
META_USAGE: Final = "outbox_usage"
"""Name in `meta`: how many reports of each class wait, and their bytes, as `{"telemetry": [reports, bytes]}`. Written
in the transactions that change it: to count a million rows at a start takes as long as to check them."""
GONE: Final = "all that was in it is gone"
META_DAMAGE: Final = "damage_untold"
"""Name in `meta`: what befell the store before this one (`DamageNote`), until the cloud is told of it; "" then."""
META_DROPPED: Final = "objects_dropped"
"""Name in `meta`: "yes" where unreadable objects were dropped, until the copy gave what it has of them."""
_UNREADABLE: Final = "SELECT 1 FROM objects WHERE NOT json_valid(CAST(body AS TEXT)) LIMIT 1"
DROP_UNREADABLE: Final = (
    "DELETE FROM pods WHERE uid IN (SELECT uid FROM objects WHERE NOT json_valid(CAST(body AS TEXT)))",
    "DELETE FROM objects WHERE NOT json_valid(CAST(body AS TEXT))",
    "INSERT OR REPLACE INTO meta (name, value) VALUES ('objects_dropped', 'yes')",
)
"""What can't be read is fetched again: the cloud compares by what is held. Until then a pod goes on as one of which
nothing is known; a record of it would say that it was deleted."""


class DamageNote(Frozen):
    """What is to be told of a store that was damaged or lost. Written with what follows that store, so that no power
    cut in between keeps it from being told."""

    damage: str
    file: str = ""
    """To which it was moved; "" where nothing was left."""
    taken_over: tuple[str, ...] = ()
    copied: str = ""
    """What came from the copy beside it (`edgecore.store.held_copy`), in words."""

    @property
    def text(self) -> str:
        """For `META_DAMAGE`."""
        return encode_object(
            {"damage": self.damage, "file": self.file, "takenOver": [*self.taken_over], "copied": self.copied}
        ).decode()

    @classmethod
    def read(cls, text: str) -> DamageNote | None:
        """What `text` wrote; None where there is nothing to tell."""
        if not text:
            return None
        said = decode_object(text.encode())
        tables = dig(said, "takenOver")
        return cls(
            damage=str_at(said, "damage"),
            file=str_at(said, "file"),
            taken_over=tuple(str(name) for name in tables) if isinstance(tables, list) else (),
            copied=str_at(said, "copied"),
        )


class Examined(Frozen):
    """What a start knows of the file before it opens it."""

    damage: str = ""
    """In SQLite's words; "" for none."""
    unreadable: bool = False
    """Some object that is held can't be read (`DROP_UNREADABLE`)."""
    suspect: bool = False
    """An agent saw damage here, and nothing is wrong."""


def examine(path: Path, *, suspect: bool) -> Examined:
    """Whether the file can be begun with; nothing is wrong with one that isn't there. `suspect`: all of it is read,
    and indexes are compared with their tables. Raises `UnavailableError` where it can't be read at all."""
    if not path.exists():
        return Examined()
    try:
        with closing(_connected(path)) as connection:
            damage = first_fault(connection, "integrity_check(1)") if suspect else _of_small_tables(connection)
            if damage or not 0 < version_of(connection) <= VERSION:
                return Examined(damage=damage)
            if not connection.execute("SELECT 1 FROM meta WHERE name = 'head'").fetchone():
                return Examined(damage="no head")
            unreadable = connection.execute(_UNREADABLE).fetchone() is not None
            return Examined(unreadable=unreadable, suspect=suspect)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL):
            raise translated(error, "checking the edge store") from error
        return Examined(damage=str(error))
    except sqlite3.DatabaseError as error:
        return Examined(damage=str(error))


def look_through(path: Path) -> str:
    """What is wrong with any of it, "" for nothing, beside whoever writes: of one moment, and all of it is read.
    Raises `UnavailableError` where it can't be."""
    try:
        with closing(_connected(path)) as connection:
            connection.execute("BEGIN")
            return first_fault(connection, "quick_check(1)") or _miscounted(connection)
    except sqlite3.Error as error:
        failure = translated(error, "checking the edge store")
        if isinstance(failure, DamagedError):
            return str(error)
        raise failure from error


def count_usage(connection: sqlite3.Connection) -> tuple[Counter[str], Counter[str]]:
    """Bytes and reports of each class that waits, counted; of telemetry, readings."""
    used, waiting = Counter[str](), Counter[str]()
    for report_class, count, cost in connection.execute(
        "SELECT class, sum(readings), sum(cost) FROM outbox GROUP BY class"
    ):
        used[report_class], waiting[report_class] = cost, count
    return used, waiting


def read_usage(text: str) -> tuple[Counter[str], Counter[str]]:
    """The same from `META_USAGE`."""
    counted = {name: pair for name, pair in decode_object(text.encode()).items() if isinstance(pair, list)}
    return (
        Counter({name: int(str(pair[1])) for name, pair in counted.items()}),
        Counter({name: int(str(pair[0])) for name, pair in counted.items()}),
    )


def usage_text(used: Mapping[str, int], waiting: Mapping[str, int]) -> str:
    """For `META_USAGE`."""
    return encode_object({name: [waiting[name], used[name]] for name in sorted(waiting)}).decode()


# --- the mark ---


def is_suspect(directory: Path) -> bool:
    """An agent that ran here saw damage."""
    return _mark(directory).exists()


def suspect(directory: Path, what: str) -> None:
    """Have the next start ask of everything. Where there is no room to say so, the next look finds it again."""
    with suppress(UnavailableError):
        write_private(_mark(directory), f"{what}\n".encode())


def trust(directory: Path) -> None:
    """Nothing is suspected any more."""
    _mark(directory).unlink(missing_ok=True)


def _mark(directory: Path) -> Path:
    return directory / "edge.suspect"


# --- small things ---


def translated(error: sqlite3.Error, doing: str) -> UnavailableError:
    """What SQLite says, as one of our errors."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFullError(f"{doing}: no room left on the disk")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedError(f"{doing}: {error}")
    return UnavailableError(f"{doing}: {error}")


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _of_small_tables(connection: sqlite3.Connection) -> str:
    """The first damage in any table but the outbox. SQLite before 3.33 knows no such check, and checks everything."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name != 'outbox'").fetchall()
    names = ("sqlite_schema", *(str(name) for (name,) in tables))
    return next((damage for name in names if (damage := first_fault(connection, f"quick_check('{name}')"))), "")


def first_fault(connection: sqlite3.Connection, check: str) -> str:
    found = str(connection.execute(f"PRAGMA {check}").fetchone()[0])
    return "" if found == "ok" else found


def _miscounted(connection: sqlite3.Connection) -> str:
    kept = connection.execute("SELECT value FROM meta WHERE name = ?", (META_USAGE,)).fetchone()
    counted = count_usage(connection)
    if kept is not None and read_usage(kept[0]) == counted:
        return ""
    return f"the outbox holds {usage_text(*counted)}, and is said to hold {kept[0] if kept else 'nothing'}"
