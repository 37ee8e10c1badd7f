"""The edge store in memory: for tests and simulation.

Keeps everything in dictionaries, of which readers take a copy, as the shell writes in a thread; a crash leaves
nothing, unless the caller takes a `snapshot` and makes the next life from it, which is how the simulation loses
writes that were not confirmed.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import get_args
from zlib import crc32

from edgecore.store.claims import Claims
from edgecore.store.expiry import EXPIRY_MS, expired
from edgecore.store.gaps import Reason, cost_of, series_gaps, widen_gap
from edgecore.store.packing import Tails, halves, pack
from edgecore.store.port import (
    BOOTS_MAX,
    CLASSES_OF_LANE,
    FLOOR_KEEPS_BYTES,
    LAST_STEP_MS,
    LOWEST_FIRST,
    META_KNOWN_MS,
    META_LEAVING,
    ClassWaits,
    EdgeBatch,
    Held,
    NewReport,
    OutboxBudgets,
    OutboxReport,
    Push,
    PushQueue,
    ReportClass,
    StoreStats,
    TwinRow,
    floor_of,
    report_cost_bytes,
)
from edgecore.store.pushes import HeldPushes
from edgecore.store.thinning import SPANS_MS, Thinned, thinned
from skerry.frozen import replace
from skerry.objects.blocks import TELEMETRY_BLOCK, count_of, part_of
from skerry.objects.json import decode_object
from skerry.objects.meta import Key, Stamp
from skerry.objects.reports import GAP, SERIES_GAP, GapReport, SeriesGapReport
from skerry.objects.spans import Span
from skerry.ports import Clock
from skerry.sync.ports import BootTimes, Taken
from skerry.sync.starts import Starts
from skerry.wire.frames import Start


@dataclass(slots=True)
class _Disk:
    """What would be on the disk."""

    incarnation: str
    head: int = 0
    left: int = 0
    """The newest seq that may have been sent before the store was opened."""
    starts: Starts = field(default_factory=Starts)
    objects: dict[Key, Held] = field(default_factory=dict[Key, Held])
    outbox: dict[int, OutboxReport] = field(default_factory=dict[int, OutboxReport])
    twins: dict[tuple[Key, str], TwinRow] = field(default_factory=dict[tuple[Key, str], TwinRow])
    pods: dict[str, bytes] = field(default_factory=dict[str, bytes])
    commands: dict[str, bytes] = field(default_factory=dict[str, bytes])
    pushes: HeldPushes = field(default_factory=HeldPushes)
    rules: dict[str, bytes] = field(default_factory=dict[str, bytes])
    meta: dict[str, str] = field(default_factory=dict[str, str])
    gaps: dict[ReportClass, GapReport] = field(default_factory=dict[ReportClass, GapReport])
    state_seqs: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """Which waiting report is the state of (kind, key)."""
    boots: list[BootTimes] = field(default_factory=list[BootTimes])
    """Oldest first; the present one is the last."""
    used: Counter[ReportClass] = field(default_factory=Counter[ReportClass])
    """Bytes of each class in the outbox."""
    thinned: Thinned = field(default_factory=Thinned)
    room: int = 0
    """Bytes that dropped reports left in the file; what is written next takes none of the disk."""


class MemoryEdgeStore:
    """See `EdgeStore`. `snapshot` and `restore` stand for the disk across a power cut."""

    def __init__(
        self,
        *,
        incarnation: str,
        clock: Clock,
        boot_id: str = "boot",
        budgets: OutboxBudgets | None = None,
        free_bytes: Callable[[], int] = lambda: 1 << 40,
    ) -> None:
        self._disk = _Disk(incarnation=incarnation)
        self._clock = clock
        self._boot_id = boot_id
        self._budgets = budgets or OutboxBudgets()
        self._free_bytes = free_bytes
        self._looked_ms: int | None = None
        """When expiry was last done with."""
        self._openings = 0
        self._open()

    def _open(self) -> None:
        disk = self._disk
        if disk.meta.get(META_LEAVING) != "no":
            disk.left, disk.starts = disk.head, Starts()
            disk.meta[META_LEAVING] = "no"
        disk.starts = disk.starts.begun(Start(mark=self._mark(), first=disk.head + 1))
        self._claims = Claims()
        self._begin_boot()

    def _mark(self) -> int:
        """Of this opening alone, also among those of copies: they are opened by one object, or in another boot."""
        self._openings += 1
        return crc32(f"{self._disk.incarnation} {self._boot_id} {self._openings}".encode())

    def _begin_boot(self) -> None:
        boots, now_ms = self._disk.boots, self._monotonic_ms()
        if not boots or boots[-1].boot_id != self._boot_id:
            floor_ms = floor_of(boots, self._disk.meta.get(META_KNOWN_MS))
            if len(boots) >= BOOTS_MAX:
                told = {report.boot_id for report in self._disk.outbox.values()}
                boots[:] = [boot for boot in boots if boot.reading is not None or boot.boot_id in told]
            boots.append(BootTimes(boot_id=self._boot_id, opened_ms=now_ms, last_ms=now_ms, floor_ms=floor_ms))

    def _monotonic_ms(self) -> int:
        return round(self._clock.monotonic_s() * 1000)

    def _note_time(self, batch: EdgeBatch) -> None:
        boot, now_ms = self._disk.boots[-1], self._monotonic_ms()
        if batch.reading is not None:
            boot = replace(boot, reading=batch.reading)
        if batch.reading is not None or now_ms >= boot.last_ms + LAST_STEP_MS:
            self._disk.boots[-1] = replace(boot, last_ms=now_ms)

    @property
    def incarnation(self) -> str:
        return self._disk.incarnation

    def snapshot(self) -> object:
        """All that a power cut now would leave; give it to `restore`."""
        return copy.deepcopy(self._disk)

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, _Disk)
        self._disk = copy.deepcopy(snapshot)
        self._open()

    def apply(self, batch: EdgeBatch) -> int:
        disk = self._disk
        for key in batch.deletes:
            disk.objects.pop(key, None)
        for held in batch.puts:
            disk.objects[held.key] = held
        for device in batch.twin_deletes:
            for row in [row for row in disk.twins if row[0] == device]:
                del disk.twins[row]
        for twin in batch.twins:
            disk.twins[twin.device, twin.prop] = twin
        for uid, body in batch.pods:
            if body is None:
                disk.pods.pop(uid, None)
            else:
                disk.pods[uid] = body
        for uid, body in batch.commands:
            if body is None:
                disk.commands.pop(uid, None)
            else:
                disk.commands[uid] = body
        disk.pushes.write(batch, self._budgets.push)
        for uid, body in batch.rules:
            if body is None:
                disk.rules.pop(uid, None)
            else:
                disk.rules[uid] = body
        disk.meta.update(batch.meta)
        self._note_time(batch)
        now_ms = self._monotonic_ms()
        tails = self._claims.begin(now_ms, packs=bool(batch.readings))
        tails = pack(batch.readings, self, tails, growing=self._claims.growing, now_ms=now_ms)
        for report in batch.reports:
            self._add(report)
        classes: set[ReportClass] = {report.report_class for report in batch.reports}
        if batch.readings:
            classes.add("telemetry")
        for report_class in sorted(classes):
            self._keep_within_budget(report_class)
        self._expire(self._monotonic_ms())
        self._keep_floor()
        self._claims.end(tails)
        return disk.head

    def _expire(self, now_ms: int) -> None:
        if self._looked_ms is not None and now_ms - self._looked_ms < EXPIRY_MS:
            return
        self._looked_ms = now_ms
        for report_class, ttl_ms in self._budgets.times().items():
            gone = expired(self._droppable(report_class), ttl_ms, self._disk.boots, now_ms)
            self._drop(report_class, gone, "expired")

    def _keep_floor(self) -> None:
        for report_class in LOWEST_FIRST:
            gone: list[OutboxReport] = []
            left, used = self._free_bytes() + self._disk.room, self._disk.used[report_class]
            for report in self._droppable(report_class):
                if left >= self._budgets.free_floor or used <= FLOOR_KEEPS_BYTES:
                    break
                left, used = left + cost_of(report), used - cost_of(report)
                gone.append(report)
            self._drop(report_class, gone, "room")

    def _of(self, report_class: ReportClass) -> Sequence[OutboxReport]:
        return [report for report in self._disk.outbox.values() if report.report_class == report_class]

    def _droppable(self, report_class: ReportClass) -> Sequence[OutboxReport]:
        spared = self._claims.spared(report_class)
        return [report for report in self._of(report_class) if report.seq not in spared]

    def _drop(self, report_class: ReportClass, gone: Sequence[OutboxReport], reason: Reason) -> None:
        for report in gone:
            self._take_out(report.seq)
        if gone:
            self._tell_gap(report_class, gone, reason)

    def _add(self, report: NewReport) -> None:
        disk = self._disk
        disk.head += count_of(report.kind, report.body)
        if report.report_class == "state":
            replaced = disk.state_seqs.get((report.kind, report.key))
            if replaced is not None:
                self._take_out(replaced)
            disk.state_seqs[report.kind, report.key] = disk.head
        cost = report_cost_bytes(report)
        disk.used[report.report_class] += cost
        disk.room = max(0, disk.room - cost)
        disk.outbox[disk.head] = OutboxReport(
            seq=disk.head,
            report_class=report.report_class,
            kind=report.kind,
            key=report.key,
            body=report.body,
            wall_ms=self._clock.wall_ms(),
            boot_id=self._boot_id,
            monotonic_ms=self._monotonic_ms(),
        )

    def put_block(self, body: bytes) -> int:
        """As `edgecore.store.packing.Rows`."""
        self._add(NewReport(report_class="telemetry", kind=TELEMETRY_BLOCK, key="", body=body))
        return self._disk.head

    def block_row(self, seq: int) -> OutboxReport | None:
        """As `edgecore.store.packing.Rows`."""
        return self._disk.outbox.get(seq)

    def drop_block(self, row: OutboxReport) -> None:
        """As `edgecore.store.packing.Rows`."""
        self._take_out(row.seq)

    def _take_out(self, seq: int) -> OutboxReport:
        report = self._disk.outbox.pop(seq)
        self._disk.used[report.report_class] -= cost_of(report)
        self._disk.room += cost_of(report)
        if report.report_class == "state":
            del self._disk.state_seqs[report.kind, report.key]
        return report

    def _keep_within_budget(self, report_class: ReportClass) -> None:
        budget = self._budgets.of(report_class)
        if budget is None or self._disk.used[report_class] <= budget:
            return
        if self._budgets.when_full(report_class) == "thin":
            self._thin(report_class, budget)
            if self._disk.used[report_class] <= budget:
                return
        dropped: list[OutboxReport] = []
        for report in self._droppable(report_class):
            while (over := self._disk.used[report_class] - budget) > 0:
                held = self._disk.outbox[report.seq]
                parts = halves(held) if 2 * over < cost_of(held) else None
                if parts is None:
                    dropped.append(self._take_out(report.seq))
                    break
                dropped.append(parts[0])
                self._shrink(held, parts[1])
            if over <= 0:
                break
        self._tell_gap(report_class, dropped, "budget")

    def _thin(self, report_class: ReportClass, budget: int) -> None:
        dropped: list[OutboxReport] = []
        for level in range(len(SPANS_MS)):
            for report in self._droppable(report_class):
                if self._disk.used[report_class] <= budget:
                    break
                if report.seq <= self._disk.thinned.through[level]:
                    continue
                self._disk.thinned = self._disk.thinned.after(level, report.seq)
                parts = thinned(report, level)
                if parts is not None:
                    self._shrink(report, parts[1])
                    dropped.append(parts[0])
        if dropped:
            self._tell_gap(report_class, dropped, "thinned")

    def _shrink(self, report: OutboxReport, left: OutboxReport) -> None:
        self._disk.used[report.report_class] += cost_of(left) - cost_of(report)
        self._disk.outbox[report.seq] = left

    def _tell_gap(self, report_class: ReportClass, dropped: Sequence[OutboxReport], reason: Reason) -> None:
        told = (GAP, report_class) in self._disk.state_seqs
        gap = widen_gap(self._disk.gaps.get(report_class), report_class, dropped, same_episode=told, reason=reason)
        self._disk.gaps[report_class] = gap
        self._add(NewReport(report_class="state", kind=GAP, key=report_class, body=gap.encode()))
        if report_class == "telemetry":
            self._tell_series(dropped, reason)

    def _tell_series(self, dropped: Sequence[OutboxReport], reason: Reason) -> None:
        waiting = {
            key: SeriesGapReport.decode(decode_object(self._disk.outbox[seq].body))
            for (kind, key), seq in self._disk.state_seqs.items()
            if kind == SERIES_GAP
        }
        for report in series_gaps(waiting, dropped, reason):
            self._add(report)

    def get(self, key: Key) -> Held | None:
        return self._disk.objects.get(key)

    def list(self, resource: str, *, namespace: str = "") -> Sequence[Held]:
        return [
            held
            for key, held in sorted(self._disk.objects.items())
            if key.resource == resource and namespace in ("", key.namespace)
        ]

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        return [(held.key, held.stamp) for held in [*self._disk.objects.values()]]

    def take(
        self, *, after: int, limit: int, lane: int | None = None, until: int | None = None
    ) -> Taken[OutboxReport]:
        read = partial(self.outbox, after=after, limit=limit, lane=lane)
        return self._claims.take(read, CLASSES_OF_LANE[lane], self._monotonic_ms(), until=until)

    def give_back(self, seqs: Sequence[int]) -> None:
        self._claims.give_back(seqs)

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        self._claims.welcomed([(CLASSES_OF_LANE[lane], span) for lane, span in settled])

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxReport]:
        found: list[OutboxReport] = []
        for seq, report in [*self._disk.outbox.items()]:
            if len(found) == limit:
                break
            if seq > after and _in_lane(report, lane):
                found.append(report)
        return found

    def outbox_head(self) -> int:
        return self._disk.head

    def outbox_left(self) -> int:
        return self._disk.left

    def outbox_starts(self) -> Sequence[Start]:
        return self._disk.starts.starts

    def note_sent(self, through: int) -> None:
        self._disk.left = max(self._disk.left, through)
        self._claims.sent(through)

    def begin_life(self, incarnation: str, settled: Sequence[tuple[int, Span]]) -> None:
        for lane, span in settled:
            self.prune_outbox(first=span.first, through=span.through, lane=lane)
            self._keep_part(lane, span.through)
        self._claims.reset(Tails(taken=self._disk.head))
        self._disk.incarnation, self._disk.left = incarnation, 0
        self._disk.starts = Starts((Start(mark=self._mark(), first=1),))
        self._disk.meta[META_LEAVING] = "no"

    def _keep_part(self, lane: int, after: int) -> None:
        """Of a block of which only the first numbers are settled."""
        for seq, report in [*self._disk.outbox.items()]:
            if _in_lane(report, lane) and seq - report.count < after < seq:
                self._shrink(report, replace(report, body=part_of(report.body, last=seq, after=after, until=seq)))

    def prune_outbox(self, *, through: int, first: int = 1, lane: int | None = None) -> None:
        settled = [seq for seq, report in [*self._disk.outbox.items()] if _in_lane(report, lane)]
        for seq in settled:
            if first <= seq <= through:
                self._take_out(seq)
        self._claims.arrived(first, through, CLASSES_OF_LANE[lane])
        if not self._disk.outbox:
            del self._disk.boots[:-1]

    def boots(self) -> Sequence[BootTimes]:
        return tuple(self._disk.boots)

    def salvage(self) -> bool:
        return False

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]:
        rows = sorted(self._disk.twins.items(), key=lambda item: item[0])
        return [row for key, row in rows if device is None or key[0] == device]

    def pods(self) -> Sequence[tuple[str, bytes]]:
        return sorted(self._disk.pods.items())

    def pod(self, uid: str) -> bytes | None:
        return self._disk.pods.get(uid)

    def commands(self) -> Sequence[tuple[str, bytes]]:
        return sorted(self._disk.commands.items())

    def pushes(self, queue: str, *, after: int = 0, limit: int) -> Sequence[Push]:
        return self._disk.pushes.of(queue, after=after, limit=limit)

    def push_queues(self) -> Sequence[PushQueue]:
        return [each for _, each in sorted(self._disk.pushes.queues.items())]

    def rules(self) -> Sequence[tuple[str, bytes]]:
        return sorted(self._disk.rules.items())

    def meta(self, name: str) -> str | None:
        return self._disk.meta.get(name)

    def stats(self) -> StoreStats:
        return StoreStats(
            outbox_reports=sum(report.count for report in [*self._disk.outbox.values()]),
            outbox_bytes=self._disk.used.total(),
            waiting=tuple(
                ClassWaits(
                    report_class=report_class,
                    reports=sum(report.count for report in waiting),
                    size_bytes=self._disk.used[report_class],
                    oldest=waiting[0],
                )
                for report_class in get_args(ReportClass)
                if (waiting := self._of(report_class))
            ),
            objects=len(self._disk.objects),
            gaps=tuple(gap for _, gap in sorted(self._disk.gaps.items())),
        )

    def damage(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing is held."""


def _in_lane(report: OutboxReport, lane: int | None) -> bool:
    return report.report_class in CLASSES_OF_LANE[lane]
