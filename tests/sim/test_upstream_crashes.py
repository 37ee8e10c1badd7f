"""Every point at which an edge, a cloud or their link can fail while a backlog drains and readings go on.

A run is a fixed conversation of the real machines over the memory stores, in which everything that happens has a
number: before and after each commit of either store, before and after each frame arrives. One run without a fault
counts the points; then each of them is struck by each fault, one run each, and by pairs of faults that are close
together. After every run the cloud has each report once, in order, and what is missing was counted as dropped. Bugs
of the kind that lose or double are planted below, and do not pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, TypeVar

import pytest

from cloudcore.hub.effects import Reporter
from cloudcore.hub.outcomes import kinds_in
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Advance, Batch, Record
from edgecore.link.session import batch_of
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_EPOCH, META_LEAVING, EdgeBatch, NewReport, OutboxBudgets, report_cost_bytes
from skerry.clocks import ManualClock
from skerry.errors import FencedError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at
from skerry.objects.meta import Key, Revision
from skerry.objects.reports import GAP, SERIES_GAP
from skerry.objects.twins import DeviceName, Telemetry, encode_telemetry, series_of
from skerry.sync.cloud import Admission, CloudSession
from skerry.sync.edge import EdgeIdentity, EdgeSession
from skerry.sync.effects import Admit, CloseLink, Commit, Heard, Prune, Send, Settled, Welcomed, Write
from skerry.sync.ports import SyncSettings
from skerry.sync.received import Received
from skerry.transport.driver import now_of
from skerry.wire.frames import Frame
from tests.skerry.sync.conversation import FakeView

Who = Literal["edge", "cloud", "link"]
WHO: tuple[Who, ...] = ("edge", "cloud", "link")
T = TypeVar("T")

DEVICE = DeviceName(namespace="ns", name="plc", uid="u")
SERIES = series_of("ns", "plc", "level")
SETTINGS = SyncSettings(report_frames=2, reports_max=2, backlog_frames=1, backlog_bytes_s=1 << 20)
KINDS = kinds_in(builtin_scheme())
STEPS_MAX = 5_000


def _lookup(key: Key) -> JsonObject | None:
    """The device is the gateway's."""
    return {"metadata": {"uid": DEVICE.uid}, "spec": {"nodeName": "eu-1"}} if key.name == DEVICE.name else None


def reading(number: int) -> NewReport:
    told = Telemetry(
        device=DEVICE,
        prop="level",
        seq=number,
        value=str(number),
        type="INT",
        quality="good",
        reason="",
        source_ms=0,
    )
    return NewReport(report_class="telemetry", kind="telemetry", key=SERIES, body=encode_telemetry(told))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What there is to tell."""

    backlog: int
    live: int
    events: int
    budget: int = 0
    """Readings that the outbox has room for; 0: all."""

    @property
    def readings(self) -> int:
        return self.backlog + self.live

    def budgets(self) -> OutboxBudgets:
        room = self.budget * report_cost_bytes(reading(10))
        return OutboxBudgets(telemetry=room) if self.budget else OutboxBudgets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """Bugs, planted on purpose."""

    forget_when_sent: bool = False
    """The edge prunes what it has sent."""
    receipt_before_commit: bool = False
    position_in_memory: bool = False
    """What took effect is not kept in the transaction of the effects, and begins anew with each cloud."""
    arrival_is_time: bool = False
    """Times are not moved to where the numbers belong."""


class _Struck(Exception):  # noqa: N818 - no error: a power cut
    def __init__(self, who: Who) -> None:
        self.who: Who = who


@dataclass(slots=True)
class Rig:
    load: Load
    plan: Mapping[int, Who]
    """What fails at which point."""
    plant: Plant = field(default_factory=Plant)
    points: int = 0
    boots: int = 0
    clock: ManualClock = field(default_factory=lambda: ManualClock(wall_ms=1_790_000_000_000))
    edge_clock: ManualClock = field(default_factory=lambda: ManualClock(wall_ms=0, monotonic_s=5.0))
    """Of a board without a battery."""
    up: list[Frame] = field(default_factory=list[Frame])
    down: list[Frame] = field(default_factory=list[Frame])
    prunes: list[Prune] = field(default_factory=list[Prune])
    edge: EdgeSession | None = None
    cloud: CloudSession | None = None
    number: int = 0
    """Of the cloud's session."""
    state: MemoryState = field(default_factory=lambda: MemoryState(epoch="e"))
    store: MemoryEdgeStore = field(init=False)
    cloud_store: MemoryStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = self._new_edge_store()
        self.cloud_store = MemoryStore(self.state)
        for number in range(1, self.load.backlog + 1):
            self._pass(0.1)
            self.store.apply(self._told("readings", reading(number)))

    # --- points ---

    def point(self) -> None:
        self.points += 1
        who = self.plan.get(self.points)
        if who is not None:
            raise _Struck(who)

    def apply(self, batch: EdgeBatch) -> None:
        self.point()
        self.store.apply(batch)
        self.point()

    # --- what happens ---

    def run(self) -> None:
        """Until everything is told and nothing more happens."""
        for step in range(STEPS_MAX):
            try:
                if not self._step(step):
                    return
            except _Struck as struck:
                self._strike(struck.who)
        raise AssertionError("it does not come to an end")

    def _step(self, step: int) -> bool:
        """One round: whether anything happened."""
        self._pass(0.010)
        self._connect()
        left = self._happen(step)
        busy = self._drain_edge()
        busy |= self._arrive_up()
        busy |= self._drain_cloud()
        busy |= self._arrive_down()
        busy |= self._prune()
        return busy or left

    def _prune(self) -> bool:
        if not self.prunes:
            return False
        prune = self.prunes[0]
        self.point()
        self.store.prune_outbox(lane=prune.lane, first=prune.first, through=prune.through)
        self.point()
        del self.prunes[0]
        return True

    def _happen(self, step: int) -> bool:
        """Things to tell, some of them in most rounds; whether any are left."""
        readings, events = self._counted("readings"), self._counted("events")
        if step % 3 == 0 and readings < self.load.readings:
            self.apply(self._told("readings", reading(readings + 1)))
            self._appended()
        if step % 5 == 0 and events < self.load.events:
            body = encode_object({"n": events + 1})
            self.apply(self._told("events", NewReport(report_class="event", kind="event", key="", body=body)))
            self._appended()
        return readings < self.load.readings or events < self.load.events

    def _told(self, counter: str, report: NewReport) -> EdgeBatch:
        """With its number in the same transaction, as a driver's twin keeps that of a reading."""
        return EdgeBatch(reports=(report,), meta=((counter, str(self._counted(counter) + 1)),))

    def _counted(self, counter: str) -> int:
        return int(self.store.meta(counter) or 0)

    def _appended(self) -> None:
        if self.edge is not None:
            self.edge.appended(now_of(self.edge_clock))

    def _connect(self) -> None:
        if self.edge is not None:
            return
        store = self.store
        identity = EdgeIdentity(
            node="eu-1",
            agent_version="0",
            incarnation=store.incarnation,
            boot_id=f"boot-{self.boots}",
            epoch=store.meta(META_EPOCH) or "",
            revision=Revision(0),
            leaving=store.meta(META_LEAVING) == "yes",
        )
        self.edge = EdgeSession(identity, store.stamps(), store, now_of(self.edge_clock), SETTINGS)
        self.cloud = CloudSession(now_of(self.clock), SETTINGS)

    def _drain_edge(self) -> bool:
        edge = self.edge
        assert edge is not None
        effects = edge.effects()
        for effect in effects:
            match effect:
                case Send():
                    self.up.append(effect.frame)
                    if self.plant.forget_when_sent:
                        self._forget(effect.frame)
                case Write():
                    self.apply(batch_of(effect, self.store))
                    edge.written(effect.number, now_of(self.edge_clock))
                case Prune():
                    self.prunes.append(effect)
                case Welcomed():
                    self.apply(EdgeBatch(reading=effect.reading))
                case CloseLink():
                    raise AssertionError(f"the edge gave up: {effect.reason}")
                case _:
                    raise AssertionError("no streams here")
        return bool(effects)

    def _forget(self, frame: Frame) -> None:
        for report in getattr(frame, "reports", ()):
            self.store.prune_outbox(first=report.seq, through=report.seq)

    def _arrive_up(self) -> bool:
        if not self.up:
            return False
        assert self.cloud is not None
        self.point()
        self._pass(0.1 * (self.points % 7))  # some are longer on their way
        self.cloud.receive(self.up.pop(0), now_of(self.clock))
        self.point()
        return True

    def _arrive_down(self) -> bool:
        if not self.down:
            return False
        assert self.edge is not None
        self.point()
        self.edge.receive(self.down.pop(0), now_of(self.edge_clock))
        self.point()
        return True

    def _drain_cloud(self) -> bool:
        cloud = self.cloud
        assert cloud is not None
        effects = cloud.effects()
        for effect in effects:
            match effect:
                case Send():
                    self.down.append(effect.frame)
                case Admit():
                    self._admit(cloud, effect)
                case Commit():
                    self._commit(cloud, effect)
                case Settled() | Heard():
                    pass
                case CloseLink():
                    raise AssertionError(f"the cloud gave up: {effect.reason}")
                case _:
                    raise AssertionError("no streams here")
        return bool(effects)

    def _admit(self, cloud: CloudSession, admit: Admit) -> None:
        self.point()
        hello = admit.hello
        position = done(self.cloud_store.enter(hello.node, hello.incarnation, starts=hello.starts))
        self.point()
        self.number = position.session
        received = Received() if self.plant.position_in_memory else position.received
        admission = Admission(
            view=FakeView(), epoch="e", session=position.session, received=received, common=position.common
        )
        cloud.admitted(admission, now_of(self.clock))

    def _commit(self, cloud: CloudSession, commit: Commit) -> None:
        reporter = Reporter(node="eu-1", kinds=KINDS, lookup=_lookup)
        records: list[Record] = []
        for dated in commit.reports:
            report = dated.report
            if report.kind in ("telemetry", SERIES_GAP):
                records += reporter.outcome(dated).records
            else:
                records.append(Record(series=report.kind, at_ms=dated.at_ms, body=report.body))
        if self.plant.arrival_is_time:
            records = [replace(record, seq=0) for record in records]
        covered = () if self.plant.position_in_memory else commit.covered
        advance = Advance(node="eu-1", incarnation=commit.incarnation, session=self.number, covered=covered)
        if self.plant.receipt_before_commit:
            cloud.committed()
            self.down += [effect.frame for effect in cloud.effects() if isinstance(effect, Send)]
            while self.down:
                self._arrive_down()
            self._drain_edge()
            while self.prunes:
                self._prune()
        self.point()
        done(self.cloud_store.commit(Batch(advance=advance, records=tuple(records))))
        self.point()
        if not self.plant.receipt_before_commit:
            cloud.committed()

    # --- what fails ---

    def _strike(self, who: Who) -> None:
        self.up.clear()
        self.down.clear()
        self.edge = self.cloud = None
        match who:
            case "edge":
                disk = self.store.snapshot()
                self.boots += 1
                self.prunes.clear()
                self.edge_clock = ManualClock(wall_ms=0, monotonic_s=5.0)
                self.store = self._new_edge_store()
                self.store.restore(disk)
                self._pass(2.0)
            case "cloud":
                self.cloud_store = MemoryStore(self.state)
                self._pass(2.0)
            case "link":
                self._pass(0.5)

    def _new_edge_store(self) -> MemoryEdgeStore:
        return MemoryEdgeStore(
            incarnation="i", clock=self.edge_clock, boot_id=f"boot-{self.boots}", budgets=self.load.budgets()
        )

    def _pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.edge_clock.advance(seconds)

    # --- what must be ---

    def check(self) -> None:
        rows = [decode_object(record.body) for record in done(self.cloud_store.records(SERIES, limit=9999))]
        told = [int_at(row, "seq") for row in rows if "gap" not in row]
        twice = [number for number, count in Counter(told).items() if count > 1]
        assert not twice, f"twice: {twice}"
        assert told == sorted(told), f"not in order: {told}"
        lost = set(range(1, self.load.readings + 1)) - set(told)
        if not self.load.budget:
            assert not lost, f"lost: {sorted(lost)}"
        self._check_gaps(lost, rows)
        events = [int_at(event, "n") for event in self._bodies("event")]
        assert events == list(range(1, len(events) + 1)), f"events: {events}"
        assert len(events) == self.load.events
        assert self.store.stats().waiting == (), "everything is told, and forgotten"

    def _check_gaps(self, lost: set[int], rows: list[JsonObject]) -> None:
        """Whatever is missing was counted: for the class in all, and for the series by episodes."""
        dropped = sum(gap.total for gap in self.store.stats().gaps)
        last = self._bodies(GAP)[-1:]
        assert [int_at(gap, "total") for gap in last] == [dropped] * bool(dropped)
        assert len(lost) <= dropped
        counts: dict[int, int] = {}
        for row in rows:
            if "gap" in row:
                at = int_at(row, "gap", "id")
                counts[at] = max(counts.get(at, 0), int_at(row, "gap", "count"))
        assert sum(counts.values()) == dropped, f"holes of the series: {counts}, dropped: {dropped}"

    def _bodies(self, series: str) -> list[JsonObject]:
        return [decode_object(record.body) for record in done(self.cloud_store.arrivals(series, limit=9999))]


def done(work: Coroutine[Any, Any, T]) -> T:
    """What a store in memory answers: it waits for nobody."""
    try:
        work.send(None)
    except StopIteration as stopped:
        return stopped.value
    raise AssertionError("a store in memory waited")


def conducted(load: Load, plan: Mapping[int, Who], plant: Plant | None = None) -> Rig:
    rig = Rig(load, plan, plant or Plant())
    rig.run()
    rig.check()
    return rig


def points_of(load: Load) -> int:
    return conducted(load, {}).points


def single(load: Load) -> Iterator[dict[int, Who]]:
    for at, who in product(range(1, points_of(load) + 1), WHO):
        yield {at: who}


LOADS = {
    "a backlog and two lanes": Load(backlog=14, live=10, events=4),
    "more than the outbox has room for": Load(backlog=20, live=12, events=3, budget=9),
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS.keys())
def test_one_fault_at_any_point_loses_nothing_and_doubles_nothing(load: Load) -> None:
    plans = list(single(load))
    assert len(plans) > 3 * 100, "the conversation has become too short to be worth it"
    for plan in plans:
        try:
            conducted(load, plan)
        except (AssertionError, FencedError) as error:
            raise AssertionError(f"{plan}: {error}") from error


def test_two_faults_close_together_lose_nothing_either() -> None:
    """The second strikes while the first is still being made up for."""
    load = Load(backlog=6, live=4, events=2)
    points = points_of(load)
    count = 0
    stores: tuple[Who, ...] = ("edge", "cloud")
    for first, one, other in product(range(1, points + 1), stores, stores):
        for second in range(first + 1, first + 7):
            plan: dict[int, Who] = {first: one, second: other}
            try:
                conducted(load, plan)
            except (AssertionError, FencedError) as error:
                raise AssertionError(f"{plan}: {error}") from error
            count += 1
    assert count > 1_500


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (Plant(forget_when_sent=True), "lost"),
        (Plant(receipt_before_commit=True), "lost"),
        (Plant(position_in_memory=True), "twice"),
        (Plant(arrival_is_time=True), "not in order"),
    ],
    ids=["forgets what it sent", "says what is not done", "forgets what it has", "believes every clock"],
)
def test_a_bug_that_is_planted_is_found(plant: Plant, told: str) -> None:
    load = LOADS["a backlog and two lanes"]
    for plan in single(load):
        try:
            conducted(load, plan, plant)
        except AssertionError as error:
            if str(error).startswith(told):
                return
    raise AssertionError("no fault shows it")
