"""What waited for the cloud in a store that is damaged, brought into the one that follows it.

The new store goes on with the life of the old outbox where that is known: same incarnation, same numbers, holes
where rows could not be read. So what the cloud has of it is settled as after any break of the link, and nothing comes
twice. A page that can't be read is stepped around. What was held and is not saved is told as a gap of its class.

Nothing of the outbox is told before this is done (`EdgeStore.salvage`): a receipt covers all numbers below it.

Kept: in `meta`, how far that went, written in the transactions that bring rows over. A crash at any point goes on
from there.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgecore.store.gaps import Lost
from edgecore.store.outbox import CLASSES, SavedRow, Writing
from edgecore.store.port import NewReport, report_cost_bytes
from edgecore.store.set_aside import META_SALVAGE
from skerry.frozen import Frozen, replace
from skerry.objects.json import Json, JsonObject, bool_at, decode_object, dig, encode_object, int_at, map_at, str_at

LOG: Final = logging.getLogger(__name__)

STEP_ROWS: Final = 1000
STEP_BYTES: Final = 256 << 10
"""Of one transaction: what waits behind it waits for a moment."""
PROBES: Final = 256
"""Numbers that are tried one by one behind the last row that can be read; then in steps of two, and so on. A page
holds fewer rows, and numbers reach to 2^63."""
UNCOUNTED: Final = ("alarm", "event", "message", "telemetry")
"""Classes of which something may be lost where nobody knows what there was. States are told again in any case."""
_SELECT: Final = (
    "SELECT seq, class, kind, key, body, wall_ms, boot, monotonic_ms, cost FROM outbox NOT INDEXED"
    " WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
)


class Salvage(Frozen):
    """How far it is. What is left of `held` when all was read is lost."""

    file: str
    """Name of the damaged file."""
    through: int
    """The newest number it gave out; 0 where nothing of it can be read."""
    after: int = 0
    """Everything up to this number is dealt with."""
    held: Mapping[str, tuple[int, int]] | None = None
    """Reports and bytes of each class that are still to be found; None where nobody knows."""
    saved: int = 0
    unreadable: Lost | None = None
    """From the first to the last number that could not be read."""
    boots_shift: int = 0
    """Added to the numbers of boots: of those nothing is known where their table broke."""
    done: bool = False

    @property
    def text(self) -> str:
        """For `META_SALVAGE`."""
        spot = self.unreadable
        obj: JsonObject = {
            "file": self.file,
            "through": self.through,
            "after": self.after,
            "saved": self.saved,
            "bootsShift": self.boots_shift,
            "done": self.done,
        }
        if self.held is not None:
            obj["held"] = {name: list(pair) for name, pair in self.held.items()}
        if spot is not None:
            obj["unreadable"] = [spot.first_seq, spot.last_seq, spot.first_wall_ms, spot.last_wall_ms]
        return encode_object(obj).decode()

    @classmethod
    def read(cls, text: str) -> Salvage:
        """What `text` wrote."""
        obj = decode_object(text.encode())
        spot = dig(obj, "unreadable")
        return cls(
            file=str_at(obj, "file"),
            through=int_at(obj, "through"),
            after=int_at(obj, "after"),
            held={name: _pair(pair) for name, pair in map_at(obj, "held").items()} if "held" in obj else None,
            saved=int_at(obj, "saved"),
            unreadable=Lost(*(int(str(each)) for each in spot)) if isinstance(spot, list) else None,
            boots_shift=int_at(obj, "bootsShift"),
            done=bool_at(obj, "done"),
        )

    def missing(self, first: int, last: int, before_ms: int, after_ms: int) -> Salvage:
        """After these numbers turned out to be unreadable, between rows of these times."""
        lost = self.unreadable
        spot = (
            Lost(first, last, before_ms or after_ms, after_ms)
            if lost is None
            else Lost(lost.first_seq, last, lost.first_wall_ms, after_ms)
        )
        return replace(self, unreadable=spot)

    def found(self, row: SavedRow) -> Salvage:
        """After this row is in the new store, or something newer of its key is."""
        held = self.held
        if held is not None:
            count, size = held.get(row.report_class, (0, 0))
            held = {**held, row.report_class: (max(0, count - row.count), max(0, size - row.cost))}
        return replace(self, held=held, saved=self.saved + 1)


class Stretch(Frozen):
    """A part of a damaged outbox."""

    rows: tuple[SavedRow, ...]
    after: int
    """All up to this number was looked at."""
    holes: tuple[tuple[int, int], ...] = ()
    """Numbers that can't be read, from and to; each before the rows that follow it in number."""


class DamagedOutbox:
    """Reads what can be read, in order."""

    def __init__(self, path: Path) -> None:
        """Raises `sqlite3.Error` where nothing can be."""
        self._connection = sqlite3.connect(reading_uri(path), uri=True, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        self._connection.close()

    def some(self, after: int, through: int) -> Stretch:
        """The next part; `after` of the result is `through` when there is no more."""
        rows: list[SavedRow] = []
        holes: list[tuple[int, int]] = []
        size = looked = 0
        try:
            for row in self._connection.execute(_SELECT, (after + 1, through, STEP_ROWS)):
                saved = _saved_row(row, after, through)
                looked += 1
                if saved is not None:
                    rows.append(saved)
                    after, size = saved.seq, size + saved.cost
                elif isinstance(row[0], int) and after < row[0] <= through:
                    holes.append((row[0], row[0]))
                    after = row[0]
                if size >= STEP_BYTES:
                    break
            else:
                if looked < STEP_ROWS:
                    after = through
        except sqlite3.Error:
            if not looked:
                return self._beyond(after, through)
        return Stretch(rows=tuple(rows), after=after, holes=tuple(holes))

    def _beyond(self, after: int, through: int) -> Stretch:
        """Where the row after this number can't be read: the next one that can."""
        failing, step, tried = after, 1, 0
        while failing < through:
            at = min(failing + step, through)
            if self._can_read(at, through):
                while at - failing > 1:
                    middle = (failing + at) // 2
                    if self._can_read(middle, through):
                        at = middle
                    else:
                        failing = middle
                holes = ((after + 1, at - 1),) if at > after + 1 else ()
                # What fails here and not from the next number on is gone round at the next call.
                return self._one(at, through, holes)
            failing, tried = at, tried + 1
            if tried % PROBES == 0:
                step *= 2
        return Stretch(rows=(), after=through, holes=((after + 1, through),))

    def _one(self, at: int, through: int, holes: tuple[tuple[int, int], ...]) -> Stretch:
        """The first row from there on, which was just read."""
        row = self._connection.execute(_SELECT, (at, through, 1)).fetchone()
        if row is None:
            return Stretch(rows=(), after=through, holes=holes)
        saved = _saved_row(row, at - 1, through)
        if saved is None:
            return Stretch(rows=(), after=at, holes=(*holes, (at, at)))
        return Stretch(rows=(saved,), after=saved.seq, holes=holes)

    def _can_read(self, first: int, through: int) -> bool:
        try:
            self._connection.execute(_SELECT, (first, through, 1)).fetchone()
        except sqlite3.Error:
            return False
        return True


class Salvaging:
    """The salvage of one damaged store, part by part. Whoever calls writes each part in a transaction of its own."""

    def __init__(self, text: str, directory: Path) -> None:
        """`text`: what `META_SALVAGE` says; the damaged file is in the directory."""
        self._salvage = Salvage.read(text)
        self._directory = directory
        self._outbox: DamagedOutbox | None = None

    @property
    def file(self) -> str:
        """Name of the damaged file."""
        return self._salvage.file

    @property
    def done(self) -> bool:
        return self._salvage.done

    def stretch(self) -> Stretch:
        """The next part; of a file that can't be opened, that none of it can be read."""
        if self._outbox is None:
            with suppress(sqlite3.Error):
                self._outbox = DamagedOutbox(self._directory / self._salvage.file)
        return _read_on(self._outbox, self._salvage)

    def saved(self, writing: Writing, stretch: Stretch, *, has_room: bool) -> Salvage:
        """How far it is once this part is written, which it is here, in the caller's transaction."""
        salvage = _bring(writing, self._salvage, stretch, has_room=has_room)
        return _finish(writing, salvage) if salvage.after >= salvage.through else salvage

    def committed(self, salvage: Salvage) -> None:
        """That transaction is done."""
        self._salvage = salvage

    def end(self) -> None:
        """All is brought over."""
        _say(self._salvage)
        self.close()

    def close(self) -> None:
        if self._outbox is not None:
            self._outbox.close()
        self._outbox = None


def _read_on(outbox: DamagedOutbox | None, salvage: Salvage) -> Stretch:
    """The next part of it; all that is left is unreadable where the file can't be opened."""
    if salvage.after >= salvage.through:
        return Stretch(rows=(), after=salvage.through)
    if outbox is None:
        return Stretch(rows=(), after=salvage.through, holes=((salvage.after + 1, salvage.through),))
    return outbox.some(salvage.after, salvage.through)


def _bring(writing: Writing, salvage: Salvage, stretch: Stretch, *, has_room: bool) -> Salvage:
    """Write a part into the new store, in the caller's transaction. Without room readings are dropped, and told."""
    before_ms = 0
    holes = list(stretch.holes)
    for row in stretch.rows:
        while holes and holes[0][0] < row.seq:
            salvage = salvage.missing(*holes.pop(0), before_ms, row.wall_ms)
        before_ms = row.wall_ms
        salvage = salvage.found(row)
        if has_room or row.report_class != "telemetry":
            writing.bring(row, boot=row.boot + salvage.boots_shift)
    for first, last in holes:
        salvage = salvage.missing(first, last, before_ms, writing.wall_ms)
    if not has_room:
        dropped = [row.report for row in stretch.rows if row.report_class == "telemetry"]
        writing.tell_gap("telemetry", dropped, "room")
    return replace(salvage, after=stretch.after)


def _finish(writing: Writing, salvage: Salvage) -> Salvage:
    """Tell what is lost, in the caller's transaction."""
    at = salvage.unreadable or Lost(salvage.through, salvage.through, writing.wall_ms, writing.wall_ms)
    if salvage.held is not None:
        lost = {name: pair for name, pair in sorted(salvage.held.items()) if pair[0] > 0}
        if "state" in lost:
            writing.tell_gaps_again()
        for name, (count, size) in lost.items():
            writing.tell_damaged(CLASSES[name], at, count=count, size=size)
    elif salvage.unreadable is not None or not salvage.through:
        writing.tell_gaps_again()
        for name in UNCOUNTED:
            writing.tell_damaged(CLASSES[name], at, count=0, size=0)
    return replace(salvage, done=True)


def _say(salvage: Salvage) -> None:
    """For whoever reads the log."""
    if salvage.held is None:
        lost = "unknown"
    else:
        lost = ",".join(f"{name}:{count}" for name, (count, _) in sorted(salvage.held.items()) if count) or "none"
    LOG.warning(
        "what a damaged store had for the cloud was saved file=%s saved=%d lost=%s",
        *(salvage.file, salvage.saved, lost),
    )


# --- what the damaged file says of its outbox ---


class Outbox(Frozen):
    """Of a damaged store, attached as `damaged`."""

    life: Mapping[str, str] | None
    """What `meta` says of the life of the outbox; None where that can't be believed."""
    top: int
    held: Mapping[str, tuple[int, int]] | None


def outbox_of(
    connection: sqlite3.Connection, names: tuple[str, ...], usage: str, *, meta: bool, commands: bool
) -> Outbox:
    """What is known. `meta`, `commands`: these are sound; `names` are those of the life, `usage` that of the counts.

    Without the commands that were begun the life ends: by that the cloud knows that nobody can say what became of
    them."""
    life: dict[str, str] = {}
    if meta:
        said = "SELECT name, value FROM damaged.meta"
        life = {str(name): str(value) for name, value in connection.execute(said) if isinstance(value, str)}
    before = Salvage.read(life[META_SALVAGE]) if META_SALVAGE in life else None
    held = _usage(life[usage]) if usage in life else _counted(connection)
    if before is not None and not before.done:
        held = _sum(held, before.held)
    head = life.get("head", "")
    top = max(int(head) if head.isdigit() else 0, *_tops(connection))
    known = commands and bool(life.get("incarnation")) and head.isdigit()
    return Outbox(life={name: life[name] for name in names if name in life} if known else None, top=top, held=held)


def _usage(text: str) -> Mapping[str, tuple[int, int]]:
    return {name: _pair(pair) for name, pair in decode_object(text.encode()).items() if name in CLASSES}


def _sum(
    one: Mapping[str, tuple[int, int]] | None, other: Mapping[str, tuple[int, int]] | None
) -> Mapping[str, tuple[int, int]] | None:
    """What waited, and what a salvage that was not done had not found yet."""
    if one is None or other is None:
        return None
    pairs = {name: (one.get(name, (0, 0)), other.get(name, (0, 0))) for name in (*one, *other)}
    return {name: (a[0] + b[0], a[1] + b[1]) for name, (a, b) in pairs.items()}


def _counted(connection: sqlite3.Connection) -> Mapping[str, tuple[int, int]] | None:
    """By the index of the classes, which holds all of it; None where that broke."""
    by_class = "sum(cost) FROM damaged.outbox INDEXED BY outbox_class GROUP BY class"
    for count in (f"SELECT class, sum(readings), {by_class}", f"SELECT class, count(*), {by_class}"):  # older ones
        with suppress(sqlite3.Error, TypeError, ValueError):
            return {str(row[0]): (int(row[1]), int(row[2])) for row in connection.execute(count) if row[0] in CLASSES}
    return None


def _tops(connection: sqlite3.Connection) -> Iterator[int]:
    yield 0
    of_class = "SELECT max(seq) FROM damaged.outbox INDEXED BY outbox_class WHERE class = ?"
    asked = [("SELECT max(seq) FROM damaged.outbox NOT INDEXED", ()), *((of_class, (name,)) for name in CLASSES)]
    for select, values in asked:
        with suppress(sqlite3.Error):
            (top,) = connection.execute(select, values).fetchone()
            if isinstance(top, int):
                yield top


# --- small things ---


def reading_uri(path: Path) -> str:
    """To open a damaged file by, and leave it as it is."""
    log = path.with_name(path.name + "-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    return f"{path.absolute().as_uri()}?{how}"


def _pair(value: Json) -> tuple[int, int]:
    return (int(str(value[0])), int(str(value[1]))) if isinstance(value, list) and len(value) == 2 else (0, 0)


def _saved_row(row: tuple[object, ...], after: int, through: int) -> SavedRow | None:
    """None for what is no row of an outbox; a torn page may still look like one to SQLite."""
    seq, report_class, kind, key, body, wall_ms, boot, monotonic_ms, cost = row
    if not (isinstance(seq, int) and after < seq <= through and report_class in CLASSES and isinstance(body, bytes)):
        return None
    if not (isinstance(kind, str) and isinstance(key, str) and isinstance(cost, int)):
        return None
    if not (isinstance(wall_ms, int) and isinstance(boot, int) and isinstance(monotonic_ms, int)):
        return None
    known = CLASSES[str(report_class)]
    if cost != report_cost_bytes(NewReport(report_class=known, kind=kind, key=key, body=body)):
        return None
    return SavedRow(
        seq=seq,
        report_class=known,
        kind=kind,
        key=key,
        body=body,
        wall_ms=wall_ms,
        boot=boot,
        monotonic_ms=monotonic_ms,
        cost=cost,
    )
