"""A gateway that reads a hundred points a second and has no cloud for a week, in virtual time; what became of each.

The stores are real files (the gateway's and the cloud's), and so are the session machines, the codec and what makes
history of reports; only clocks, the line and how long a commit of the cloud takes are made up. One event after the
other: a run is a function of its `Plan`. `account` says of every series what was made, what arrived and what the
gateway said that it had dropped.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import orjson

from cloudcore.hub.effects import Reporter
from cloudcore.hub.outcomes import kinds_in
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.store.port import Advance, Batch, Record
from cloudcore.store.sql import SqlStore, open_sql_store
from edgecore.link.session import batch_of
from edgecore.store.opening import open_store
from edgecore.store.port import META_EPOCH, META_KNOWN_MS, META_LEAVING, EdgeBatch, NewReading, OutboxBudgets
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import ManualClock, SystemIds
from skerry.objects.blocks import Reading, count_of
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import Key, Revision
from skerry.objects.reports import GAP, SERIES_GAP, GapReport, SeriesGapReport
from skerry.objects.twins import DeviceName, series_of
from skerry.sync.cloud import Admission, CloudSession
from skerry.sync.edge import EdgeIdentity, EdgeSession
from skerry.sync.effects import Admit, CloseLink, Commit, Prune, Send, Welcomed, Write
from skerry.sync.ports import Instant
from skerry.sync.priorities import Outgoing
from skerry.wire.codec import decode, encode
from skerry.wire.frames import Frame
from tests.skerry.sync.conversation import FakeView

NODE: Final = "eu-1"
START_MS: Final = 1_790_000_000_000
BEGIN_S: Final = 10.0
WAY_S: Final = 0.05
"""From end to end of the line."""
COMMIT_S: Final = 0.01
READING_S: Final = 1 / 10_000
"""What a commit of the cloud takes, and of each of its readings: a slow one."""
TRIM_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to happen."""

    directory: Path
    devices: int = 10
    properties: int = 10
    """Each is read once a second."""
    online_s: int = 60
    """Before the link goes, and after the backlog has arrived."""
    offline_s: int = 600
    bytes_s: int = 125_000
    """What the line takes towards the cloud."""
    budgets: OutboxBudgets = field(default_factory=OutboxBudgets)
    cuts_s: tuple[int, ...] = ()
    """After the return: the link goes for five seconds."""
    kept: int = 100_000
    """Rows of a series that the cloud keeps."""


@dataclass(slots=True, kw_only=True)
class Account:
    """Of one series."""

    made: int = 0
    arrived: int = 0
    twice: int = 0
    dropped: int = 0
    """As the gateway said."""


@dataclass(slots=True)
class Line:
    """One direction of the link: what waits goes in order of its class."""

    outgoing: Outgoing = field(default_factory=Outgoing)
    busy: bool = False


class Week:
    """See the module. `run` does it all; then ask."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.clock = ManualClock(wall_ms=START_MS, monotonic_s=BEGIN_S)
        self._events: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
        self._numbers = count()
        self.edge = open_store(
            StoreSettings(directory=plan.directory / "edge", boot_id="b", budgets=plan.budgets),
            self.clock,
            SystemIds(),
        ).store
        self.cloud: SqlStore | None = None
        self._reporter = Reporter(node=NODE, kinds=kinds_in(builtin_scheme()), lookup=_device)
        self._link = 0
        """Counts links: what belongs to an older one comes to nothing."""
        self._edge: EdgeSession | None = None
        self._hub: CloudSession | None = None
        self._up, self._down = Line(), Line()
        self._fence: Advance | None = None
        self._tick_s = float("inf")
        self._names = [
            (DeviceName(namespace="default", name=f"d{device}", uid=f"uid-d{device}"), f"p{prop}")
            for device in range(plan.devices)
            for prop in range(plan.properties)
        ]
        self.ticks = 0
        self._marks: dict[str, bytearray] = {
            series_of("default", of.name, prop): bytearray() for of, prop in self._names
        }
        self._linked_tick = 0
        """The last one before the present link."""
        self.is_behind = False
        """What was read without a link has not arrived yet."""
        self.live_s_max = 0.0
        """The longest that a reading of now took to the cloud's history while the backlog went up."""
        self.backlog_s = 0.0
        """How long that took."""
        self.total_dropped = 0
        """As the report of the class counts."""
        self._holes: dict[str, dict[int, int]] = {}

    # --- time ---

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    def _now(self) -> Instant:
        return Instant(monotonic_s=self.now_s, wall_ms=self.clock.wall_ms())

    def _at(self, at_s: float, act: Callable[[], Awaitable[None]]) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), act))

    async def _until(self, end_s: float) -> None:
        while self._events and self._events[0][0] <= end_s:
            at_s, _, act = heapq.heappop(self._events)
            if at_s > self.now_s:
                self.clock.advance(at_s - self.now_s)
            await act()
        if end_s > self.now_s:
            self.clock.advance(end_s - self.now_s)

    # --- what happens ---

    async def run(self) -> None:
        plan = self._plan
        self.cloud = await open_sql_store(plan.directory / "cloud.db", ids=SystemIds())
        try:
            await self._connect()
            await self._seconds(plan.online_s)
            self._cut()
            await self._seconds(plan.offline_s)
            returned_s, returned_ms = self.now_s, self.clock.wall_ms()
            await self._connect()
            self.is_behind, second = True, 0
            while self._backlog_waits(returned_ms):
                second += 1
                if second in plan.cuts_s:
                    self._cut()
                    await self._seconds(5)
                    await self._connect()
                await self._seconds(1)
                if self.now_s % TRIM_S < 1:
                    await self.cloud.trim_records(before_ms=0, keep_per_series=plan.kept)
            self.backlog_s = self.now_s - returned_s
            self.is_behind = False
            await self._seconds(plan.online_s)
            await self._until(self.now_s + 5)
        finally:
            self.edge.close()

    async def close(self) -> None:
        if self.cloud is not None:
            await self.cloud.close()

    def _backlog_waits(self, returned_ms: int) -> bool:
        """Something of before the return."""
        oldest = self.edge.outbox(after=0, limit=1, lane=1)
        return bool(oldest) and oldest[0].wall_ms < returned_ms - 1000

    async def _seconds(self, seconds: int) -> None:
        """Each with a reading of every point."""
        for _ in range(seconds):
            await self._until(self.now_s + 1.0)
            await self._read()

    async def _read(self) -> None:
        self.ticks += 1
        now_ms, wall_ms = round(self.now_s * 1000), self.clock.wall_ms()
        readings = tuple(
            NewReading(
                reading=Reading(
                    device=device,
                    prop=prop,
                    seq=self.ticks,
                    value=f"{(self.ticks * (at + 7)) % 1000 / 8}",
                    type="FLOAT",
                    quality="good",
                    reason="",
                    source_ms=wall_ms,
                    source_seq=None,
                    ago_ms=0,
                ),
                taken_ms=now_ms,
            )
            for at, (device, prop) in enumerate(self._names)
        )
        self.edge.apply(EdgeBatch(readings=readings))
        for marks in self._marks.values():
            marks.append(0)
        if self._edge is not None:
            self._edge.appended(self._now())
            await self._pump()

    # --- the link ---

    async def _connect(self) -> None:
        self._link += 1
        self._linked_tick = self.ticks
        self._up, self._down = Line(), Line()
        self._hub = CloudSession(self._now())
        identity = EdgeIdentity(
            node=NODE,
            agent_version="sim",
            incarnation=self.edge.incarnation,
            boot_id="b",
            epoch=self.edge.meta(META_EPOCH) or "",
            revision=Revision(0),
            leaving=self.edge.meta(META_LEAVING) == "yes",
        )
        self._edge = EdgeSession(identity, self.edge.stamps(), self.edge, self._now())
        self._tick_s = float("inf")
        await self._pump()

    def _cut(self) -> None:
        """What is on its way is lost; what the cloud is committing lands."""
        self._link += 1
        self._edge = self._hub = None

    async def _pump(self) -> None:
        await self._pump_edge()
        await self._pump_hub()

    async def _pump_edge(self) -> None:
        edge = self._edge
        while edge is not None and (effects := edge.effects()):
            for effect in effects:
                match effect:
                    case Send():
                        self._up.outgoing.add(effect.frame, effect.priority, now_s=self.now_s)
                    case Write():
                        self.edge.apply(batch_of(effect, self.edge))
                        edge.written(effect.number, self._now())
                    case Prune():
                        self.edge.prune_outbox(through=effect.through, first=effect.first, lane=effect.lane)
                    case Welcomed():
                        known = ((META_KNOWN_MS, str(effect.server_ms)),)
                        self.edge.apply(EdgeBatch(reading=effect.reading, meta=known))
                    case _:
                        raise AssertionError(effect)
        if edge is not None:
            self._send(self._up, up=True)
            deadline = edge.deadline()
            if deadline is not None and deadline < self._tick_s:
                self._tick_s = max(deadline, self.now_s + 0.001)
                self._at(self._tick_s, self._guarded(self._tick))

    async def _tick(self) -> None:
        self._tick_s = float("inf")
        if self._edge is not None:
            self._edge.tick(self._now())
            await self._pump()

    async def _pump_hub(self) -> None:
        hub = self._hub
        while hub is not None and (effects := hub.effects()):
            for effect in effects:
                match effect:
                    case Send():
                        self._down.outgoing.add(effect.frame, effect.priority, now_s=self.now_s)
                    case Admit():
                        await self._admit(hub, effect)
                    case Commit():
                        readings = sum(count_of(each.report.kind, each.report.body) for each in effect.reports)
                        self._at(self.now_s + COMMIT_S + readings * READING_S, self._commit(hub, effect))
                    case CloseLink():
                        raise AssertionError(effect.reason)
                    case _:
                        pass
        if hub is not None:
            while (frame := hub.idle_frame()) is not None:
                self._down.outgoing.add(frame, now_s=self.now_s)
            self._send(self._down, up=False)

    def _send(self, line: Line, *, up: bool) -> None:
        if line.busy or line.outgoing.first() is None:
            return
        data = encode(line.outgoing.take(now_s=self.now_s))
        line.busy = True
        took_s = len(data) / self._plan.bytes_s

        async def gone() -> None:
            line.busy = False
            if up and self._edge is not None:
                self._edge.sent(len(data), took_s)
            self._send(line, up=up)

        async def arrived() -> None:
            frame = decode(data)
            await self._arrived(frame, up=up)

        self._at(self.now_s + took_s, self._guarded(gone))
        self._at(self.now_s + took_s + WAY_S, self._guarded(arrived))

    async def _arrived(self, frame: Frame | None, *, up: bool) -> None:
        end = self._hub if up else self._edge
        if end is not None:
            end.receive(frame, self._now())
            await self._pump()

    def _guarded(self, act: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        link = self._link

        async def guarded() -> None:
            if link == self._link:
                await act()

        return guarded

    # --- the cloud ---

    async def _admit(self, hub: CloudSession, admit: Admit) -> None:
        assert self.cloud is not None
        hello = admit.hello
        position = await self.cloud.enter(hello.node, hello.incarnation, starts=hello.starts)
        self._fence = Advance(node=NODE, incarnation=hello.incarnation, session=position.session, covered=())
        admission = Admission(
            view=FakeView(revision=Revision(0)),
            epoch="e1",
            session=position.session,
            received=position.received,
            common=position.common,
        )
        hub.admitted(admission, self._now())

    def _commit(self, hub: CloudSession, commit: Commit) -> Callable[[], Awaitable[None]]:
        fence = self._fence
        assert fence is not None

        async def done() -> None:
            assert self.cloud is not None
            if fence != self._fence:
                return  # another session has entered meanwhile
            records: list[Record] = []
            for dated in commit.reports:
                records += self._reporter.outcome(dated).records
                self._note_gap(dated.report.kind, dated.report.key, dated.report.body)
            advance = Advance(
                node=NODE, incarnation=commit.incarnation, session=fence.session, covered=commit.covered
            )
            await self.cloud.commit(Batch(advance=advance, records=tuple(records)))
            for record in records:
                self._note_record(record)
            if hub is self._hub:
                hub.committed()
                await self._pump()

        return done

    def _note_gap(self, kind: str, key: str, body: bytes) -> None:
        if kind == GAP:
            self.total_dropped = GapReport.decode(decode_object(body)).total
        elif kind == SERIES_GAP:
            gap = SeriesGapReport.decode(decode_object(body))
            self._holes.setdefault(key, {})[gap.first_seq] = gap.dropped

    def _note_record(self, record: Record) -> None:
        if record.hole:
            return
        seq: int = orjson.loads(record.body)["seq"]
        self._marks[record.series][seq - 1] += 1
        if self.is_behind and seq > self._linked_tick:
            self.live_s_max = max(self.live_s_max, self.now_s - BEGIN_S - seq)

    # --- what became of it ---

    def account(self) -> dict[str, Account]:
        """By series."""
        found: dict[str, Account] = {}
        for series, marks in self._marks.items():
            counts = Counter(marks)
            found[series] = Account(
                made=len(marks),
                arrived=len(marks) - counts[0],
                twice=sum(times for mark, times in counts.items() if mark > 1),
                dropped=sum(self._holes.get(series, {}).values()),
            )
        return found


def _device(key: Key) -> JsonObject | None:
    if not key.resource.startswith("devices."):
        return None
    return {
        "metadata": {"namespace": "default", "name": key.name, "uid": f"uid-{key.name}"},
        "spec": {"nodeName": NODE},
    }
