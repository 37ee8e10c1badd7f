"""The outbox's tables in the edge store's SQLite file: rows read, and everything that one transaction does to them.

Counts go along in memory and become the store's when the transaction has committed, so a crash or a full disk
leaves neither rows that nobody counted nor counts of rows that aren't there.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgecore.store.expiry import expired
from edgecore.store.gaps import Lost, Reason, cost_of, damaged_gap, series_gaps, widen_gap
from edgecore.store.packing import halves
from edgecore.store.port import (
    FLOOR_KEEPS_BYTES,
    LOWEST_FIRST,
    NewReport,
    OutboxReport,
    ReportClass,
    WhenFull,
    report_cost_bytes,
)
from edgecore.store.thinning import SPANS_MS, Thinned, thinned
from skerry.frozen import Frozen, replace
from skerry.objects.blocks import TELEMETRY_BLOCK, count_of, part_of
from skerry.objects.json import decode_object
from skerry.objects.reports import GAP, SERIES_GAP, GapReport, SeriesGapReport
from skerry.sync.ports import BootTimes, Reading

CLASSES: Final[dict[str, ReportClass]] = {
    "state": "state",
    "event": "event",
    "alarm": "alarm",
    "message": "message",
    "telemetry": "telemetry",
}

DROP_ROWS: Final = 1000
"""Dropped of a class by one transaction for one reason, or a few more; the next one goes on. A nearly full disk has
no room for the log of a transaction that drops everything, after a budget was made smaller, say."""
DROP_READINGS: Final = 16_384
"""The same in readings: each is read, so that its series can be told."""
_LOOKED_AT: Final = {"telemetry": 8}
"""Rows that are read at once to be dropped; 100 of a class whose rows are small."""
OUTBOX_COLUMNS: Final = "seq, class, kind, key, body, wall_ms, boots.boot_id, monotonic_ms, cost"
OUTBOX_FROM: Final = "FROM outbox JOIN boots ON boots.number = outbox.boot"
BOOTS: Final = "SELECT boot_id, opened_ms, last_ms, floor_ms, said_ms, heard_ms, server_ms FROM boots ORDER BY number"


class SavedRow(Frozen):
    """A row as another store had it."""

    seq: int
    report_class: ReportClass
    kind: str
    key: str
    body: bytes
    wall_ms: int
    boot: int
    """Number of its boot there."""
    monotonic_ms: int
    cost: int

    @property
    def count(self) -> int:
        """As `OutboxReport.count`."""
        return count_of(self.kind, self.body)

    @property
    def report(self) -> OutboxReport:
        """Without its boot."""
        return OutboxReport(
            seq=self.seq,
            report_class=self.report_class,
            kind=self.kind,
            key=self.key,
            body=self.body,
            wall_ms=self.wall_ms,
            boot_id="",
            monotonic_ms=self.monotonic_ms,
        )


@dataclass(slots=True)
class Dropped:
    """By one transaction, for one reason."""

    reports: list[OutboxReport] = field(default_factory=list[OutboxReport])
    readings: int = 0

    def add(self, reports: Iterable[OutboxReport]) -> None:
        for report in reports:
            self.reports.append(report)
            self.readings += report.count

    @property
    def full(self) -> bool:
        return len(self.reports) >= DROP_ROWS or self.readings >= DROP_READINGS


@dataclass(slots=True, kw_only=True)
class Writing:
    """The outbox in one transaction: counts that become the store's when it has committed."""

    connection: sqlite3.Connection
    head: int
    used: Counter[str]
    waiting: Counter[str]
    wall_ms: int
    monotonic_ms: int
    boot: int
    spared: Callable[[ReportClass], frozenset[int]]
    """Asked before some of a class are dropped: rows that stay (`edgecore.store.claims`)."""
    thinned: Thinned = field(default_factory=Thinned)

    def add(self, report: NewReport) -> None:
        if report.report_class == "state":
            replaced = self.connection.execute(
                "DELETE FROM outbox WHERE class = 'state' AND kind = ? AND key = ? RETURNING cost",
                (report.kind, report.key),
            ).fetchall()
            self.used["state"] -= sum(cost for (cost,) in replaced)
            self.waiting["state"] -= len(replaced)
        count = count_of(report.kind, report.body)
        self.head += count
        cost = report_cost_bytes(report)
        self.connection.execute(
            "INSERT INTO outbox (seq, class, kind, key, body, wall_ms, boot, monotonic_ms, cost, readings)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.head,
                report.report_class,
                report.kind,
                report.key,
                report.body,
                self.wall_ms,
                self.boot,
                self.monotonic_ms,
                cost,
                count,
            ),
        )
        self.used[report.report_class] += cost
        self.waiting[report.report_class] += count

    def put_block(self, body: bytes) -> int:
        self.add(NewReport(report_class="telemetry", kind=TELEMETRY_BLOCK, key="", body=body))
        return self.head

    def block_row(self, seq: int) -> OutboxReport | None:
        row = self.connection.execute(
            f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE seq = ? AND kind = ?", (seq, TELEMETRY_BLOCK)
        ).fetchone()
        return None if row is None else report_of(row)

    def drop_block(self, row: OutboxReport) -> None:
        self._take_out(row)

    def keep_within(self, report_class: ReportClass, budget: int | None, when_full: WhenFull = "drop") -> None:
        if budget is None or self.used[report_class] <= budget:
            return
        if when_full == "thin" and self._thin(report_class, budget):
            return
        self._drop(report_class, "budget", wanted=lambda: self.used[report_class] - budget)

    def _thin(self, report_class: ReportClass, budget: int) -> bool:
        """The oldest that were not thinned yet, and when there is none, those that can be thinned more. Whether that
        is enough, or the next transaction goes on."""
        stay = self.spared(report_class)
        dropped = Dropped()
        looked = 0
        for level in range(len(SPANS_MS)):
            while self.used[report_class] > budget and looked < DROP_READINGS:
                report = next(
                    iter(self._oldest(report_class, stay, after=self.thinned.through[level], limit=1)), None
                )
                if report is None:
                    break
                looked += report.count
                self.thinned = self.thinned.after(level, report.seq)
                parts = thinned(report, level)
                if parts is not None:
                    self._shrink(report, parts[1])
                    dropped.add((parts[0],))
        self.tell_gap(report_class, dropped.reports, "thinned")
        return self.used[report_class] <= budget or looked >= DROP_READINGS

    def expire(self, report_class: ReportClass, ttl_ms: int, boots: Sequence[BootTimes]) -> bool:
        """At most `DROP_ROWS` of a class; whether that was all. Ages grow with the distance from the end, so it looks
        no further than the first that stays."""
        if not expired(self._oldest(report_class, frozenset()), ttl_ms, boots, self.monotonic_ms):
            return True
        stay = self.spared(report_class)
        dropped = Dropped()
        done = False
        while not done and not dropped.full:
            oldest = self._oldest(report_class, stay)
            gone = expired(oldest, ttl_ms, boots, self.monotonic_ms)
            dropped.add(self._take_out(report) for report in gone)
            done = not oldest or len(gone) < len(oldest)
        self.tell_gap(report_class, dropped.reports, "expired")
        return done

    def make_room(self, free_bytes: int, floor: int) -> None:
        """At most `DROP_ROWS` of each of the lowest classes. Pages that deleting leaves in the file are room, too."""
        for report_class in LOWEST_FIRST:
            self._drop(
                report_class,
                "room",
                wanted=lambda report_class=report_class: min(
                    floor - free_bytes - self._free_in_file(), self.used[report_class] - FLOOR_KEEPS_BYTES
                ),
            )

    def _drop(self, report_class: ReportClass, reason: Reason, *, wanted: Callable[[], int]) -> None:
        """The oldest of a class, for as long as bytes are wanted, or as many as one transaction may."""
        if wanted() <= 0:
            return
        stay = self.spared(report_class)
        dropped = Dropped()
        while not dropped.full and wanted() > 0 and (oldest := self._oldest(report_class, stay)):
            for report in oldest:
                if (over := wanted()) <= 0 or dropped.full:
                    break
                gone = self._take_some(report, over)
                dropped.add((gone,))
                if gone.seq != report.seq:
                    break  # what is left of it is the oldest now
        self.tell_gap(report_class, dropped.reports, reason)

    def _take_some(self, report: OutboxReport, over: int) -> OutboxReport:
        """What goes of a report that is dropped for so many bytes."""
        parts = halves(report) if 2 * over < cost_of(report) else None
        if parts is None:
            return self._take_out(report)
        first, second = parts
        self._shrink(report, second)
        return first

    def _free_in_file(self) -> int:
        (pages,) = self.connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = self.connection.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(size)

    def _oldest(
        self, report_class: ReportClass, stay: frozenset[int], *, after: int = 0, limit: int = 0
    ) -> list[OutboxReport]:
        where = "class = ? AND seq > ? AND seq NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
        rows = self.connection.execute(
            f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE {where}",
            (report_class, after, json.dumps(sorted(stay)), limit or _LOOKED_AT.get(report_class, 100)),
        )
        return [report_of(row) for row in rows]

    def _take_out(self, report: OutboxReport) -> OutboxReport:
        self.connection.execute("DELETE FROM outbox WHERE seq = ?", (report.seq,))
        self.used[report.report_class] -= cost_of(report)
        self.waiting[report.report_class] -= report.count
        return report

    def keep_part(self, after: int) -> None:
        """Forget what of a block has numbers up to this one. A cloud that took its readings one by one may have the
        first of them only."""
        row = self.connection.execute(
            f"SELECT {OUTBOX_COLUMNS} {OUTBOX_FROM} WHERE seq > ? AND seq - readings < ? AND readings > 1",
            (after, after),
        ).fetchone()
        if row is None:
            return
        report = report_of(row)
        body = part_of(report.body, last=report.seq, after=after, until=report.seq)
        self._shrink(report, replace(report, body=body))

    def _shrink(self, report: OutboxReport, left: OutboxReport) -> None:
        self.connection.execute(
            "UPDATE outbox SET body = ?, cost = ?, readings = ? WHERE seq = ?",
            (left.body, cost_of(left), left.count, report.seq),
        )
        self.used[report.report_class] += cost_of(left) - cost_of(report)
        self.waiting[report.report_class] += left.count - report.count

    def tell_gap(self, report_class: ReportClass, dropped: list[OutboxReport], reason: Reason) -> None:
        if not dropped:
            return
        before, told = self._gap_before(report_class)
        self._put_gap(widen_gap(before, report_class, dropped, same_episode=told, reason=reason))
        if report_class == "telemetry":
            self._tell_series(dropped, reason)

    def bring(self, row: SavedRow, *, boot: int) -> None:
        """What another store had, under its number; not a state of which there is something newer. Of a boot that is
        not among those that are known nothing is known."""
        self.connection.execute("INSERT OR IGNORE INTO boots (number, boot_id) VALUES (?, ?)", (boot, f"lost-{boot}"))
        brought = self.connection.execute(
            "INSERT OR IGNORE INTO outbox (seq, class, kind, key, body, wall_ms, boot, monotonic_ms, cost, readings)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.seq,
                row.report_class,
                row.kind,
                row.key,
                row.body,
                row.wall_ms,
                boot,
                row.monotonic_ms,
                row.cost,
                row.count,
            ),
        )
        self.used[row.report_class] += row.cost * brought.rowcount
        self.waiting[row.report_class] += row.count * brought.rowcount

    def tell_damaged(self, report_class: ReportClass, lost: Lost, *, count: int, size: int) -> None:
        """Reports of a class that can't be read any more; a count of 0 is an unknown number."""
        before, told = self._gap_before(report_class)
        self._put_gap(damaged_gap(before, report_class, lost, count=count, size=size, same_episode=told))

    def tell_gaps_again(self) -> None:
        """Those that don't wait to be told: what waited of them may be lost. Twice said is one Event."""
        rows = self.connection.execute(
            "SELECT class, body FROM gaps"
            " WHERE class NOT IN (SELECT key FROM outbox WHERE class = 'state' AND kind = ?) ORDER BY class",
            (GAP,),
        ).fetchall()
        for report_class, body in rows:
            self.add(NewReport(report_class="state", kind=GAP, key=report_class, body=body))

    def _gap_before(self, report_class: ReportClass) -> tuple[GapReport | None, bool]:
        """The newest one of the class, and whether it waits to be told."""
        before = self.connection.execute("SELECT body FROM gaps WHERE class = ?", (report_class,)).fetchone()
        told = self.connection.execute(
            "SELECT 1 FROM outbox WHERE class = 'state' AND kind = ? AND key = ?", (GAP, report_class)
        ).fetchone()
        return GapReport.decode(decode_object(before[0])) if before else None, told is not None

    def _put_gap(self, gap: GapReport) -> None:
        body = gap.encode()
        self.connection.execute("INSERT OR REPLACE INTO gaps (class, body) VALUES (?, ?)", (gap.report_class, body))
        self.add(NewReport(report_class="state", kind=GAP, key=gap.report_class, body=body))

    def _tell_series(self, dropped: list[OutboxReport], reason: Reason) -> None:
        rows = self.connection.execute(
            "SELECT key, body FROM outbox WHERE class = 'state' AND kind = ?", (SERIES_GAP,)
        ).fetchall()
        waiting = {str(key): SeriesGapReport.decode(decode_object(body)) for key, body in rows}
        for report in series_gaps(waiting, dropped, reason):
            self.add(report)


def bytes_of(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def boot_of(row: tuple[object, ...]) -> BootTimes:
    said, heard, server = row[4:7]
    return BootTimes(
        boot_id=str(row[0]),
        opened_ms=int(str(row[1])),
        last_ms=int(str(row[2])),
        floor_ms=int(str(row[3])),
        reading=None
        if server is None
        else Reading(said_ms=int(str(said)), heard_ms=int(str(heard)), server_ms=int(str(server))),
    )


def report_of(row: tuple[object, ...]) -> OutboxReport:
    return OutboxReport(
        seq=int(str(row[0])),
        report_class=CLASSES[str(row[1])],
        kind=str(row[2]),
        key=str(row[3]),
        body=bytes_of(row[4]),
        wall_ms=int(str(row[5])),
        boot_id=str(row[6]),
        monotonic_ms=int(str(row[7])),
    )
