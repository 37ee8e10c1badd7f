"""The edge store in one SQLite file: what a gateway still knows after its power was cut.

Keeps everything of `EdgeStore` in `edge.db` (`database`): facts (`facts`), pushes (`pushes`) and here the outbox,
with what is counted of it and what is known of boots; and `edge.reserve`, to be given up on a full disk. One
transaction a batch: after a crash all of it is there, or nothing. `opening.open_store` makes one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Final, TextIO

from edgecore.store.claims import Claims
from edgecore.store.damage import (
    DROP_UNREADABLE,
    META_LEFT,
    META_STARTS,
    META_USAGE,
    Examined,
    count_usage,
    read_usage,
    translated,
    usage_text,
)
from edgecore.store.database import FILE_NAME, Database
from edgecore.store.expiry import EXPIRY_MS
from edgecore.store.facts import Facts, write_facts
from edgecore.store.outbox import BOOTS, CLASSES, OUTBOX_COLUMNS, OUTBOX_FROM, Writing, boot_of, bytes_of, report_of
from edgecore.store.packing import Tails, pack
from edgecore.store.port import (
    BOOTS_MAX,
    CLASSES_OF_LANE,
    LAST_STEP_MS,
    META_KNOWN_MS,
    META_LEAVING,
    META_THINNED,
    ClassWaits,
    EdgeBatch,
    Held,
    OutboxBudgets,
    OutboxReport,
    Push,
    PushQueue,
    ReportClass,
    StoreStats,
    TwinRow,
    floor_of,
)
from edgecore.store.pushes import QUEUES, WAITING, push_of, queue_of, write_pushes
from edgecore.store.schema import migrate
from edgecore.store.set_aside import META_SALVAGE, end_salvage
from edgecore.store.thinning import Thinned
from skerry.errors import StorageFullError
from skerry.frozen import Frozen, replace
from skerry.objects.json import decode_object
from skerry.objects.meta import Key, Stamp
from skerry.objects.reports import GapReport
from skerry.objects.spans import Span
from skerry.ports import Clock, Ids
from skerry.sync.ports import BootTimes, Taken
from skerry.sync.starts import Starts
from skerry.wire.frames import Start

if TYPE_CHECKING:
    from edgecore.store.salvage import Salvaging

RESERVE_BYTES: Final = 2 << 20
"""Enough for what SQLite writes beside the tables between two checkpoints."""
PRUNE_ROWS: Final = 64
"""In one transaction of a prune that lives on the reserve."""

_SET_META: Final = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"


class StoreSettings(Frozen):
    """How a store is opened. `max_pages` bounds the file (4 KiB each); 0 leaves it to the disk."""

    directory: Path
    boot_id: str
    """The kernel's random boot id: monotonic times are comparable within one."""
    budgets: OutboxBudgets
    max_pages: int = 0
    free_bytes: Callable[[Path], int] = lambda directory: disk_usage(directory).free
    """Room on the file system of the directory."""
    damaged: Callable[[str], None] = lambda what: None
    """Told once, from whatever thread, when the running store turns out to be damaged."""


class SqliteEdgeStore:
    """See `EdgeStore`. Made by `open_store`."""

    def __init__(self, lock: TextIO, settings: StoreSettings, clock: Clock, ids: Ids, examined: Examined) -> None:
        """`lock` is held until `close`. Raises `DamagedError` for a file that can't be opened though it was
        examined."""
        self._lock = lock
        self._directory = settings.directory
        self._clock = clock
        self._ids = ids
        self._budgets = settings.budgets
        self._boot_id = settings.boot_id
        self._free_bytes = settings.free_bytes
        self._looked_ms: int | None = None
        """When expiry was last done with."""
        self._claims = Claims()
        self._reserve = _Reserve(settings.directory)
        self._salvaging: Salvaging | None = None
        """What the store before this one had for the cloud; None where it was not damaged."""
        self._database = Database(settings.directory / FILE_NAME, pages_max=settings.max_pages)
        self._writer = self._database.writer
        self._facts = Facts(self._database.read)
        try:
            self._open(examined)
        except BaseException:
            self.disconnect()
            raise
        self._database.tell_damage(settings.damaged)

    def _open(self, examined: Examined) -> None:
        with self._database.transaction("making the edge store"):
            migrate(self._writer)
            made = (("incarnation", self._ids.token_hex(8)), ("head", "0"))
            self._writer.executemany("INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)", made)
            self._boot, self._last_ms = self._present_boot()
        self._database.begin_reading()
        self._reserve.keep()
        self._incarnation = self.meta("incarnation") or ""
        assert self._incarnation, "a store is made with its incarnation"
        self._head = int(self.meta("head") or 0)
        self._thinned = Thinned.read(self.meta(META_THINNED) or "")
        self._left, self._starts = self._note_opening(self._mark())
        if examined.unreadable:
            with suppress(StorageFullError), self._database.transaction("dropping what can't be read"):
                for statement in DROP_UNREADABLE:
                    self._writer.execute(statement)
        salvage = self.meta(META_SALVAGE)
        if salvage:
            from edgecore.store.salvage import Salvaging  # only who lost a store pays

            self._salvaging = Salvaging(salvage, self._directory)
        self._used: Counter[str]
        self._waiting: Counter[str]
        self._used, self._waiting = read_usage(self.meta(META_USAGE) or "{}")
        if examined.suspect:
            self._count_again()

    def _note_opening(self, mark: int) -> tuple[int, Starts]:
        """Up to which reports may have been sent, and the starts since. A full disk is no reason not to start: it is
        noted next time."""
        before = (int(self.meta(META_LEFT) or 0), Starts.read(self.meta(META_STARTS) or ""))
        left, starts = before if self.meta(META_LEAVING) == "no" else (self._head, Starts())
        starts = starts.begun(Start(mark=mark, first=self._head + 1))
        noted = ((META_LEFT, str(left)), (META_STARTS, starts.text), (META_LEAVING, "no"))
        with suppress(StorageFullError), self._database.transaction("noting what may have been sent"):
            self._writer.executemany(_SET_META, noted)
        return left, starts

    def _mark(self) -> int:
        return int(self._ids.token_hex(4), 16)

    def _count_again(self) -> None:
        """Where something was wrong, the counts may be."""
        with suppress(StorageFullError), self._database.transaction("counting what waits"):
            self._used, self._waiting = count_usage(self._writer)
            self._writer.execute(_SET_META, (META_USAGE, usage_text(self._used, self._waiting)))

    def _present_boot(self) -> tuple[int, int]:
        """Its number and `last_ms`, in the caller's transaction."""
        boots = [boot_of(row) for row in self._writer.execute(BOOTS).fetchall()]
        if all(boot.boot_id != self._boot_id for boot in boots):
            self._begin_boot(boots)
        row = self._writer.execute("SELECT number, last_ms FROM boots WHERE boot_id = ?", (self._boot_id,)).fetchone()
        return row[0], row[1]

    def _begin_boot(self, boots: Sequence[BootTimes]) -> None:
        if len(boots) >= BOOTS_MAX:
            self._writer.execute(
                "DELETE FROM boots WHERE server_ms IS NULL AND number NOT IN (SELECT boot FROM outbox)"
            )
        known = self._writer.execute("SELECT value FROM meta WHERE name = ?", (META_KNOWN_MS,)).fetchone()
        now_ms = self._now_ms()
        self._writer.execute(
            "INSERT INTO boots (boot_id, opened_ms, last_ms, floor_ms) VALUES (?, ?, ?, ?)",
            (self._boot_id, now_ms, now_ms, floor_of(boots, known[0] if known else None)),
        )

    @property
    def incarnation(self) -> str:
        return self._incarnation

    def apply(self, batch: EdgeBatch) -> int:
        writing = self._writing()
        tails = self._claims.begin(writing.monotonic_ms, packs=bool(batch.readings))
        grown: Tails | None = None
        try:
            grown = self._apply(batch, writing, tails)
        finally:
            self._claims.end(grown)
        return self._head

    def _apply(self, batch: EdgeBatch, writing: Writing, tails: Tails) -> Tails:
        with self._database.transaction("writing to the edge store"):
            write_facts(self._writer, batch)
            write_pushes(self._writer, batch, self._budgets.push)
            tails = pack(batch.readings, writing, tails, growing=self._claims.growing, now_ms=writing.monotonic_ms)
            for report in batch.reports:
                writing.add(report)
            classes: set[ReportClass] = {report.report_class for report in batch.reports}
            if batch.readings:
                classes.add("telemetry")
            for report_class in sorted(classes):
                writing.keep_within(
                    report_class, self._budgets.of(report_class), self._budgets.when_full(report_class)
                )
            looked_ms = self._expire(writing)
            if (free := self._free()) < self._budgets.free_floor:
                writing.make_room(free, self._budgets.free_floor)
            self._keep_head(writing.head)
            self._keep_usage(writing.used, writing.waiting)
            if writing.thinned != self._thinned:
                self._writer.execute(_SET_META, (META_THINNED, writing.thinned.text))
            last_ms = self._note_time(batch, writing.monotonic_ms)
        self._last_ms = last_ms
        self._head, self._used, self._waiting = writing.head, writing.used, writing.waiting
        self._thinned, self._looked_ms = writing.thinned, looked_ms
        return tails

    def _writing(self) -> Writing:
        return Writing(
            connection=self._writer,
            head=self._head,
            used=Counter(self._used),
            waiting=Counter(self._waiting),
            wall_ms=self._clock.wall_ms(),
            monotonic_ms=self._now_ms(),
            boot=self._boot,
            spared=self._claims.spared,
            thinned=self._thinned,
        )

    def _keep_head(self, head: int) -> None:
        if head != self._head:
            self._writer.execute("UPDATE meta SET value = ? WHERE name = 'head'", (str(head),))

    def _keep_usage(self, used: Counter[str], waiting: Counter[str]) -> None:
        if waiting != self._waiting or used != self._used:
            self._writer.execute(_SET_META, (META_USAGE, usage_text(used, waiting)))

    def _note_time(self, batch: EdgeBatch, now_ms: int) -> int:
        """The boot's `last_ms` after this batch."""
        heard = batch.reading
        if heard is not None:
            self._writer.execute(
                "UPDATE boots SET said_ms = ?, heard_ms = ?, server_ms = ? WHERE number = ?",
                (heard.said_ms, heard.heard_ms, heard.server_ms, self._boot),
            )
        elif now_ms < self._last_ms + LAST_STEP_MS:
            return self._last_ms
        self._writer.execute("UPDATE boots SET last_ms = ? WHERE number = ?", (now_ms, self._boot))
        return now_ms

    def _now_ms(self) -> int:
        return round(self._clock.monotonic_s() * 1000)

    def _free(self) -> int:
        try:
            return self._free_bytes(self._directory)
        except OSError:  # a disk that does not even say how full it is: nothing is dropped for that
            return self._budgets.free_floor

    def _expire(self, writing: Writing) -> int | None:
        """Once in a while, and again at once while there is more to drop; when it was last done with."""
        now_ms = writing.monotonic_ms
        if self._looked_ms is not None and now_ms - self._looked_ms < EXPIRY_MS:
            return self._looked_ms
        boots = [boot_of(row) for row in self._writer.execute(BOOTS).fetchall()]
        done = [writing.expire(report_class, ttl, boots) for report_class, ttl in self._budgets.times().items()]
        return now_ms if all(done) else None

    def take_over(self, damaged: Path, damage: str) -> tuple[str, ...]:
        """What is sound of a damaged store, into this new one: the names of those tables. Open it again then."""
        from edgecore.store.taking_over import take_over  # only who lost a store pays

        try:
            return take_over(self._writer, damaged, damage)
        except sqlite3.Error as error:
            raise translated(error, "taking over a damaged edge store") from error

    def follows(self, damaged: Path) -> bool:
        """Whether it has taken over that one."""
        return self._salvaging is not None and self._salvaging.file == damaged.name

    def salvage(self) -> bool:
        salvaging = self._salvaging
        if salvaging is not None and not salvaging.done:
            try:
                self._save(salvaging, has_room=self._free() >= self._budgets.free_floor)
            except StorageFullError:
                self._reserve.give_up()  # what follows needs little, and makes room for nothing
                self._save(salvaging, has_room=False)
            if not salvaging.done:
                return True
            salvaging.end()
            self._reserve.keep()
        end_salvage(self._directory)
        return False

    def _save(self, salvaging: Salvaging, *, has_room: bool) -> None:
        stretch = salvaging.stretch()
        writing = self._writing()
        with self._database.transaction("saving what a damaged store had for the cloud"):
            salvage = salvaging.saved(writing, stretch, has_room=has_room)
            self._writer.execute(_SET_META, (META_SALVAGE, salvage.text))
            self._keep_head(writing.head)
            self._keep_usage(writing.used, writing.waiting)
        salvaging.committed(salvage)
        self._head, self._used, self._waiting = writing.head, writing.used, writing.waiting

    def outbox_left(self) -> int:
        return self._left

    def outbox_starts(self) -> Sequence[Start]:
        return self._starts.starts

    def note_sent(self, through: int) -> None:
        self._left = max(self._left, through)

    def begin_life(self, incarnation: str, settled: Sequence[tuple[int, Span]]) -> None:
        with self._database.transaction("beginning a new life of the outbox"):
            used, waiting = Counter(self._used), Counter(self._waiting)
            for lane, span in settled:
                self._forget(CLASSES_OF_LANE[lane], span, used, waiting)
            used, waiting = self._keep_parts(settled, used, waiting)
            self._keep_usage(used, waiting)
            starts = Starts((Start(mark=self._mark(), first=1),))
            told = (("incarnation", incarnation), (META_LEFT, "0"), (META_STARTS, starts.text), (META_LEAVING, "no"))
            self._writer.executemany(_SET_META, told)
        self._incarnation, self._left, self._starts = incarnation, 0, starts
        self._used, self._waiting = used, waiting
        self._claims.reset(Tails(taken=self._head))

    def _keep_parts(
        self, settled: Sequence[tuple[int, Span]], used: Counter[str], waiting: Counter[str]
    ) -> tuple[Counter[str], Counter[str]]:
        """Of blocks of which only the first numbers are settled."""
        writing = replace(self._writing(), used=used, waiting=waiting)
        for lane, span in settled:
            if "telemetry" in CLASSES_OF_LANE[lane]:
                writing.keep_part(span.through)
        return writing.used, writing.waiting

    def prune_outbox(self, *, through: int, first: int = 1, lane: int | None = None) -> None:
        classes = CLASSES_OF_LANE[lane]
        try:
            self._prune(classes, first, through)
        except StorageFullError:
            self._prune_on_reserve(classes, first, through)
        self._claims.arrived(first, through, classes)
        self._reserve.keep()

    def _prune_on_reserve(self, classes: Sequence[ReportClass], first: int, through: int) -> None:
        """In slices, each written into the tables before the next: the log beside them never grows."""
        self._reserve.give_up()
        select = "SELECT seq FROM outbox WHERE class = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
        for report_class in classes:
            while rows := self._database.read(select, (report_class, first, through, PRUNE_ROWS)):
                self._database.checkpoint("pruning the outbox")
                self._prune((report_class,), first, int(str(rows[-1][0])))

    def _prune(self, classes: Sequence[ReportClass], first: int, through: int) -> None:
        used, waiting = Counter(self._used), Counter(self._waiting)
        with self._database.transaction("pruning the outbox"):
            self._forget(classes, Span(first, through), used, waiting)
            self._keep_usage(used, waiting)
            if not waiting.total():
                self._writer.execute("DELETE FROM boots WHERE number != ?", (self._boot,))
        self._used, self._waiting = used, waiting

    def _forget(self, classes: Sequence[ReportClass], span: Span, used: Counter[str], waiting: Counter[str]) -> None:
        which = (json.dumps(classes), *span)
        freed = self._writer.execute(
            "SELECT class, sum(readings), sum(cost) FROM outbox"
            " WHERE class IN (SELECT value FROM json_each(?)) AND seq BETWEEN ? AND ? GROUP BY class",
            which,
        ).fetchall()
        self._writer.execute(
            "DELETE FROM outbox WHERE class IN (SELECT value FROM json_each(?)) AND seq BETWEEN ? AND ?", which
        )
        for report_class, count, cost in freed:
            used[report_class] -= cost
            waiting[report_class] -= count

    def take(
        self, *, after: int, limit: int, lane: int | None = None, until: int | None = None
    ) -> Taken[OutboxReport]:
        read = partial(self.outbox, after=after, limit=limit, lane=lane)
        return self._claims.take(read, CLASSES_OF_LANE[lane], self._now_ms(), until=until)

    def give_back(self, seqs: Sequence[int]) -> None:
        self._claims.give_back(seqs)

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        self._claims.welcomed([(CLASSES_OF_LANE[lane], span) for lane, span in settled])

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxReport]:
        if lane is None:
            rows = self._database.read(
                f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
            return [report_of(row) for row in rows]
        # Class by class, each along its index: one may have millions of rows, the next few and far between. In one
        # statement: between two a commit could show its events and not its state, and what is missing in a run of
        # numbers is taken for nothing, by us and by the cloud.
        classes = CLASSES_OF_LANE[lane]
        next_ones = f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE class = ? AND seq > ? ORDER BY seq LIMIT ?"
        part = f"SELECT * FROM ({next_ones})"  # noqa: S608 - names of ours
        rows = self._database.read(
            f"{' UNION ALL '.join([part] * len(classes))} ORDER BY 1 LIMIT ?",
            (*(value for report_class in classes for value in (report_class, after, limit)), limit),
        )
        return [report_of(row) for row in rows]

    def outbox_head(self) -> int:
        return self._head

    def boots(self) -> Sequence[BootTimes]:
        return [boot_of(row) for row in self._database.read(BOOTS)]

    def get(self, key: Key) -> Held | None:
        return self._facts.get(key)

    def list(self, resource: str, *, namespace: str = "") -> Sequence[Held]:
        return self._facts.list(resource, namespace=namespace)

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        return self._facts.stamps()

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]:
        return self._facts.twins(device)

    def pods(self) -> Sequence[tuple[str, bytes]]:
        return self._facts.pods()

    def pod(self, uid: str) -> bytes | None:
        return self._facts.pod(uid)

    def commands(self) -> Sequence[tuple[str, bytes]]:
        return self._facts.commands()

    def rules(self) -> Sequence[tuple[str, bytes]]:
        return self._facts.rules()

    def meta(self, name: str) -> str | None:
        return self._facts.meta(name)

    def pushes(self, queue: str, *, after: int = 0, limit: int) -> Sequence[Push]:
        return [push_of(row) for row in self._database.read(WAITING, (queue, after, limit))]

    def push_queues(self) -> Sequence[PushQueue]:
        return [queue_of(row) for row in self._database.read(QUEUES)]

    def stats(self) -> StoreStats:
        gaps = self._database.read("SELECT body FROM gaps ORDER BY class")
        return StoreStats(
            outbox_reports=self._waiting.total(),
            outbox_bytes=self._used.total(),
            waiting=tuple(self._waits()),
            objects=self._facts.count(),
            gaps=tuple(GapReport.decode(decode_object(bytes_of(body))) for (body,) in gaps),
        )

    def _waits(self) -> Iterator[ClassWaits]:
        for report_class in CLASSES.values():
            select = f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE class = ? ORDER BY seq LIMIT 1"
            for row in self._database.read(select, (report_class,)):
                yield ClassWaits(
                    report_class=report_class,
                    reports=self._waiting[report_class],
                    size_bytes=self._used[report_class],
                    oldest=report_of(row),
                )

    def damage(self) -> str:
        return self._database.damage()

    def close(self) -> None:
        self.disconnect()
        self._lock.close()

    def disconnect(self) -> None:
        """As `close`, and nobody else may open it yet."""
        self._database.close()
        if self._salvaging is not None:
            self._salvaging.close()


class _Reserve:
    """A file that is given up on a full disk: deleting needs room first, and receipts must be able to make some."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "edge.reserve"

    def keep(self) -> None:
        """Made when there is room for it and as much again; else tried at the next prune."""
        try:
            if self._path.exists() or disk_usage(self._path.parent).free < 2 * RESERVE_BYTES:
                return
            self._path.write_bytes(bytes(RESERVE_BYTES))
        except OSError:
            self._path.unlink(missing_ok=True)

    def give_up(self) -> None:
        self._path.unlink(missing_ok=True)
