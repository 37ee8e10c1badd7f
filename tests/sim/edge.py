"""A simulated gateway: the real session machine, dial policy and edge store (in memory), with a power cord.

Writes become durable some time after they are asked for, in order, and are told of some time later: a crash
lands in between. The runtime model starts a pod when the store has it, stops it when the store does not.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from edgecore.link.session import batch_of
from edgecore.store.gaps import Reason
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import (
    META_EPOCH,
    META_KNOWN_MS,
    META_LEAVING,
    META_REVISION,
    EdgeBatch,
    NewReading,
    NewReport,
    OutboxBudgets,
    OutboxReport,
    ReportClass,
)
from skerry.frozen import replace
from skerry.objects.blocks import Reading as BlockReading
from skerry.objects.commands import COMMANDS
from skerry.objects.json import str_at
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Span
from skerry.objects.twins import DeviceName
from skerry.sync.dial import DialPolicy, Ended
from skerry.sync.edge import EdgeSession
from skerry.sync.effects import BeginLife, CloseLink, Prune, Write
from skerry.sync.ports import Instant
from skerry.wire.frames import CloseCode, Frame, ObjectState
from tests.sim.commands import EdgeCommands
from tests.sim.network import Link
from tests.sim.releases import NEWEST, RELEASES, Release

if TYPE_CHECKING:
    from tests.sim.world import World


@dataclass(slots=True)
class EdgeClock:
    """A gateway's clocks: the wall may be wrong and step, the monotonic starts at boot."""

    world: World
    boot_s: float = 0.0
    wall_off_ms: int = 0

    def wall_ms(self) -> int:
        return self.world.true_ms() + self.wall_off_ms

    def monotonic_s(self) -> float:
        return self.world.now_s - self.boot_s + 5.0

    def now(self) -> Instant:
        return Instant(monotonic_s=self.monotonic_s(), wall_ms=self.wall_ms())


@dataclass(slots=True)
class Pods:
    """What the runtime has: survives a crash of the agent, not a power cut."""

    running: set[str] = field(default_factory=set[str])
    starts: dict[str, int] = field(default_factory=dict[str, int])
    """Per uid within this boot."""


class Edge:
    """One gateway."""

    def __init__(self, world: World, name: str, *, version: int = NEWEST) -> None:
        self.name = name
        self.version = version
        """Of the agent that runs, or starts next."""
        self.world = world
        self.clock = EdgeClock(world)
        self.boots = 0
        self.lives = 0
        self.store = self._new_store()
        self.pods = Pods()
        self.policy = DialPolicy(self.policy_addresses())
        self.session: EdgeSession | None = None
        self.link: Link | None = None
        self.opened_s = 0.0
        self.agent_up = True
        self.life = 0
        """Grows with each crash: events of an older life come to nothing."""
        self.writing: deque[Callable[[], None]] = deque()
        self.lines: deque[Callable[[], None]] = deque()
        self.landing: Callable[[], None] | None = None
        """The transaction that the disk is at work on; None once it is durable."""
        self.tick_s: float | None = None
        self.blocked = False
        """No dial gets through."""
        self.value = 0
        self.dials = 0
        self.writes = 0
        """Changes whenever what the store holds may have changed."""
        self.first: dict[Key, ObjectState] = {}
        """The state in which each object came first, for a planted bug."""
        self.commands = EdgeCommands(self)

    # --- life ---

    def _new_store(self) -> MemoryEdgeStore:
        self.lives += 1
        return self._store(f"{self.name}.{self.lives}")

    def _store(self, incarnation: str) -> MemoryEdgeStore:
        plant = self.world.plant
        form = MemoryEdgeStore
        if plant.drop_silently:
            form = Silent
        elif plant.holes_unseen:
            form = Vague
        elif plant.cling_to_taken:
            form = Clinging
        return form(
            incarnation=incarnation,
            clock=self.clock,
            boot_id=f"boot-{self.boots}",
            budgets=self.world.budgets,
        )

    def start(self) -> None:
        """The agent starts: it brings up what it knew, then dials."""
        self.agent_up = True
        self.writes += 1
        if not self.world.plant.pods_wait_for_link:
            self.reconcile()
        self.world.checkers.agent_started(self, set(self._pods()[0]))
        self.tell_anew()
        self.commands.poke()
        self.policy = DialPolicy(self.policy_addresses())
        self.dial_later(0.0)

    def policy_addresses(self) -> tuple[str, ...]:
        """One for each replica, beginning with another for each edge; two at least, as people write them down."""
        count = max(2, self.world.replica_count)
        first = int(self.name.rpartition("-")[2])
        return tuple(f"replica-{(first + number) % self.world.replica_count}" for number in range(count))

    @property
    def release(self) -> Release:
        return RELEASES[self.version]

    def crash_agent(self) -> None:
        """The agent dies: its memory is gone, its pods are not."""
        self.life += 1
        self.agent_up = False
        self.writing.clear()
        self.lines.clear()
        self.landing = None
        if self.link is not None:
            self.link.vanish(self)
        self.session = self.link = self.tick_s = None
        self.commands.forget()
        self.store.restore(self.store.snapshot())  # opened anew when it starts

    def restore_copy(self, copy: object) -> None:
        """The agent is dead, and its disk is an older copy of what it was; what was written since is gone."""
        self.store.restore(copy)
        self.world.checkers.set_back(self)

    def cut_power(self, *, battery: bool, lands: bool = False) -> None:
        """Everything stops; what was durable is there at boot, where the clock may say 1970.

        Of the transactions that were not durable none is there, or, with `lands`, the first, whole, and nobody was
        told of it: a torn one is rolled back when the store is opened.
        """
        if lands and self.writing and self.landing is not None:
            self.landing()
        self.crash_agent()
        self.pods = Pods()
        self.boots += 1
        disk = self.store.snapshot()
        self.clock.boot_s = self.world.now_s
        if not battery:
            self.clock.wall_off_ms = -self.world.true_ms()
        self.store = self._store("from disk")
        self.store.restore(disk)
        before = self.store.boots()[-2].reading if len(self.store.boots()) > 1 else None
        if self.world.plant.one_reading and before is not None:
            self.store.apply(EdgeBatch(reading=before))

    def reset_disk(self) -> None:
        """The card was replaced: nothing is remembered."""
        self.cut_power(battery=True)
        self.world.checkers.forgot(self)
        self.store = self._new_store()
        self.first = {}

    def guarded(self, act: Callable[[], None]) -> Callable[[], None]:
        life = self.life
        return lambda: act() if life == self.life and self.agent_up else None

    # --- the link ---

    def dial_later(self, delay_s: float) -> None:
        self.world.after(delay_s, self.guarded(self.dial), f"{self.name}: dials")

    def dial(self) -> None:
        if self.session is not None or (self.world.plant.give_up_dialling and self.dials > 2):
            return
        if self.writing:
            self.dial_later(0.05)
            return
        self.opened_s = self.clock.monotonic_s()
        replica = self.world.cloud.replicas[int(self.policy.address.rpartition("-")[2])]
        if self.blocked or not replica.up:
            self.redial(CloseLink(code=CloseCode.FAILED, reason="no route"), welcomed=False)
            return
        identity = self.release.edge.EdgeIdentity(
            node=self.name,
            agent_version="sim",
            incarnation=self.store.incarnation,
            boot_id=f"boot-{self.boots}",
            epoch=self.store.meta(META_EPOCH) or "",
            revision=Revision(int(self.store.meta(META_REVISION) or "0")),
            **self._leaving(),
        )
        session: EdgeSession = self.release.edge.EdgeSession(
            identity, self.store.stamps(), self.store, self.clock.now(), self.world.settings
        )
        self.session = session
        self.dials += 1
        self.link = replica.accept(self)
        self.pump()

    def _leaving(self) -> dict[str, bool]:
        """The first release knew nothing of older copies, and its stores have no such note."""
        if self.version == 1:
            self.store.apply(EdgeBatch(meta=((META_LEAVING, "yes"),)))
            return {}
        return {"leaving": self.store.meta(META_LEAVING) == "yes"}

    def redial(self, how: CloseLink, *, welcomed: bool) -> None:
        now_s = self.clock.monotonic_s()
        ended = Ended(
            at_s=now_s,
            welcomed=welcomed,
            lived_s=now_s - self.opened_s,
            clean=how.by_peer and how.code == CloseCode.DONE,
            retry_after_s=how.retry_after_s,
        )
        self.policy.ended(ended, self.world.random.random())
        self.dial_later(max(0.01, self.policy.due_s - now_s))

    def arrived(self, link: Link, frame: Frame | None) -> None:
        if link is self.link and self.session is not None:
            self.session.receive(frame, self.clock.now())
            self.pump()

    def link_lost(self, link: Link) -> None:
        if link is self.link and self.session is not None:
            self.session.lost("lost")
            self.pump()
            if self.world.plant.stop_when_lost:
                for uid in sorted(self.pods.running):
                    self.pods.running.discard(uid)
                    self.world.checkers.stopped(self, uid)

    def pump(self) -> None:
        session, link = self.session, self.link
        if session is None or link is None:
            return
        for effect in session.effects():
            one: Any = effect
            match type(one).__name__:  # of either release
                case "Send":
                    if self.version == 1:
                        self.store.note_sent(self.store.outbox_head())
                    link.send(self, one.frame)
                case "Write":
                    self._write(session, one)
                case "Prune":
                    self._prune(one)
                case "BeginLife":
                    self.queue(partial(self._begin_life, one), self.commands.receipted)
                case "Welcomed" if hasattr(one, "reading"):  # the first release keeps no times of boots
                    self.world.checkers.welcomed(self, link)
                    heard = EdgeBatch(reading=one.reading, meta=((META_KNOWN_MS, str(one.server_ms)),))
                    self.store.apply(heard)  # at once: a brownout is a boot whose reading was never durable
                    self.commands.hear(one.server_ms, self.opened_s)
                case "CloseLink":
                    link.hang_up(self)
                    self.session = self.link = None
                    self.redial(one, welcomed=session.session > 0)
                case _:
                    pass
        while (frame := session.idle_frame()) is not None:
            link.send(self, frame)
        self._arm(session)

    def _arm(self, session: EdgeSession) -> None:
        deadline = session.deadline()
        if deadline is None:
            return
        at_s = deadline + self.clock.boot_s - 5.0
        if self.tick_s is None or at_s < self.tick_s or self.tick_s <= self.world.now_s:
            self.tick_s = max(at_s, self.world.now_s)
            self.world.at(self.tick_s + 0.0001, self.guarded(self._tick), f"{self.name}: a deadline")

    def _tick(self) -> None:
        self.tick_s = None
        if self.session is not None:
            self.session.tick(self.clock.now())
            self.pump()

    # --- the disk ---

    def _prune(self, prune: Prune) -> None:
        first, lane = getattr(prune, "first", 1), getattr(prune, "lane", None)
        forget = partial(self.store.prune_outbox, through=prune.through, first=first, lane=lane)
        self.queue(forget, self.commands.receipted)

    def _begin_life(self, effect: BeginLife) -> None:
        self.lives += 1
        before = self.store.incarnation
        self.store.begin_life(f"{self.name}.{self.lives}", effect.settled)
        self.world.checkers.new_life(self, before)

    def _write(self, session: EdgeSession, write: Write) -> None:
        def told() -> None:
            session.written(write.number, self.clock.now())
            if session is self.session:
                self.pump()

        if self.world.plant.acknowledge_before_write:
            session.written(write.number, self.clock.now())
            self.queue(lambda: self._apply(write), None)
            return
        self.queue((lambda: self._apply(write)) if not write.empty else lambda: None, told)

    def _apply(self, write: Write) -> None:
        before = dict(self.store.stamps())
        if self.world.plant.replay_first_state:
            write = self._replayed(write)
        if not hasattr(write, "leaving"):  # of the first release
            write = Write(**{each.name: getattr(write, each.name) for each in fields(write)})
        self.store.apply(batch_of(write, self.store))
        self.writes += 1
        self.world.checkers.applied(self, before, write)
        self.reconcile()
        touched = (*(put.key for put in write.puts), *write.deletes)
        if write.epoch or any(key.resource == COMMANDS for key in touched):
            self.world.after(0.0, self.guarded(self.commands.poke))
        if write.epoch:
            self.world.after(0.01, self.guarded(self.tell_anew))

    def _replayed(self, write: Write) -> Write:
        """A planted bug: every third write is of the objects' first states."""
        for put in write.puts:
            self.first.setdefault(put.key, put)
        puts = tuple(self.first[put.key] for put in write.puts)
        return replace(write, puts=puts) if write.number % 3 == 0 else write

    def queue(self, durable: Callable[[], None], told: Callable[[], None] | None) -> None:
        """One disk, one line."""
        self.writing.append(lambda: self._sync(durable, told))
        self.lines.append(durable)
        if len(self.writing) == 1:
            self.landing = durable
            self.world.after(self.world.disk_s(), self.guarded(self.writing[0]), f"{self.name}: a write is durable")

    def _sync(self, durable: Callable[[], None], told: Callable[[], None] | None) -> None:
        durable()
        self.landing = None
        self.world.after(
            self.world.disk_s() / 4, self.guarded(lambda: self._synced(told)), f"{self.name}: a write is told of"
        )

    def _synced(self, told: Callable[[], None] | None) -> None:
        self.writing.popleft()
        self.lines.popleft()
        if self.writing:
            self.landing = self.lines[0]
            self.world.after(self.world.disk_s(), self.guarded(self.writing[0]), f"{self.name}: a write is durable")
        if told is not None:
            told()

    # --- what happens on the gateway ---

    def report(
        self, report_class: ReportClass, kind: str, key: str, body: bytes, meta: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Append durably, then tell the session, as the agent's rooms do."""
        report = NewReport(report_class=report_class, kind=kind, key=key, body=body)
        self.append(EdgeBatch(reports=(report,), meta=meta))

    def append(self, batch: EdgeBatch) -> None:
        """The same of several."""
        waiting = {item.seq: item for item in self.store.outbox(after=0, limit=100_000)}
        self.store.apply(batch)
        self.world.checkers.appended(self, waiting)
        if self.session is not None and self.agent_up:
            self.session.appended(self.clock.now())
            self.pump()

    def note(self, batch: EdgeBatch, told: Callable[[], None]) -> None:
        """Write reports with something else, durable some time later as everything on this disk; then `told`."""

        def durable() -> None:
            waiting = {item.seq: item for item in self.store.outbox(after=0, limit=100_000)}
            self.store.apply(batch)
            self.world.checkers.appended(self, waiting)

        def after() -> None:
            if self.session is not None:
                self.session.appended(self.clock.now())
                self.pump()
            told()

        self.queue(durable, after)

    def sense(self) -> None:
        """A device moved: its twin and its history go on."""
        if not self.agent_up:
            return
        self.value += 1
        at = self.world.true_ms()
        body = json.dumps({"edge": self.name, "value": self.value, "at": at}).encode()
        if self.world.plain_telemetry:
            self.report("telemetry", "telemetry", "series", body)
        else:
            self.append(EdgeBatch(readings=(self._reading(at),)))
        if self.value % 3 == 0:
            self.report("state", "twin_reported", "twin", body, meta=(("twin", str(self.value)), self._epoch()))

    def _reading(self, at_ms: int) -> NewReading:
        """Its `source_ms` is the true time, by which the checkers judge what it is dated."""
        reading = BlockReading(
            device=DeviceName(namespace="default", name=f"plc-{self.value % 3}", uid="uid"),
            prop=f"p{self.value % 2}",
            seq=self.value,
            value=str(self.value),
            type="INT",
            quality="good",
            reason="",
            source_ms=at_ms,
            source_seq=None,
            ago_ms=0,
        )
        return NewReading(reading=reading, taken_ms=round(self.clock.monotonic_s() * 1000))

    def _epoch(self) -> tuple[str, str]:
        return "told_epoch", self.store.meta(META_EPOCH) or ""

    def tell_anew(self) -> None:
        """What the agent's rooms do in a new epoch of the cloud: tell the state again, once."""
        value = self.store.meta("twin")
        if value is None or self.store.meta("told_epoch") == self._epoch()[1] or self.world.plant.silent_about_epochs:
            return
        body = json.dumps({"edge": self.name, "value": int(value), "at": self.world.true_ms()}).encode()
        self.report("state", "twin_reported", "twin", body, meta=(self._epoch(),))

    def _pods(self) -> tuple[dict[str, Key], dict[str, Key]]:
        """Pods of the store by uid: those that nobody deleted, and the others."""
        wanted: dict[str, Key] = {}
        leaving: dict[str, Key] = {}
        for held in self.store.list("pods"):
            deleted = str_at(json.loads(held.body), "metadata", "deletionTimestamp")
            (leaving if deleted else wanted)[held.stamp.uid] = held.key
        return wanted, leaving

    def reconcile(self) -> None:
        """What `plan` would do: run what the store has, stop what it has not, say when a pod is gone."""
        wanted, leaving = self._pods()
        for uid in sorted(self.pods.running - wanted.keys()):
            self.pods.running.discard(uid)
            self.world.checkers.stopped(self, uid)
        for uid in sorted(wanted.keys() - self.pods.running):
            self.pods.running.add(uid)
            self.pods.starts[uid] = self.pods.starts.get(uid, 0) + 1
            self.world.checkers.started(self, uid)
        said = {item.key for item in self.store.outbox(after=0, limit=100_000) if item.kind == "pod_status"}
        for uid, key in leaving.items():
            if uid not in said:
                body = json.dumps({"edge": self.name, "gone": uid, "pod": key.name, "at": self.world.true_ms()})
                self.world.after(0.01, self.guarded(lambda uid=uid, body=body: self._gone(uid, body.encode())))

    def _gone(self, uid: str, body: bytes) -> None:
        said = {item.key for item in self.store.outbox(after=0, limit=100_000) if item.kind == "pod_status"}
        if uid not in said and any(held.stamp.uid == uid for held in self.store.list("pods")):
            self.report("state", "pod_status", uid, body)

    @property
    def in_step(self) -> bool:
        """What it says of itself."""
        states = {"in_step", "catching_up"} if self.world.plant.in_step_too_soon else {"in_step"}
        return self.session is not None and self.session.state.value in states


class Silent(MemoryEdgeStore):
    """A planted bug: what was dropped is not told."""

    def _tell_gap(self, report_class: ReportClass, dropped: Sequence[OutboxReport], reason: Reason) -> None:
        """Nothing."""


class Vague(MemoryEdgeStore):
    """A planted bug: it is not told of which series."""

    def _tell_series(self, dropped: Sequence[OutboxReport], reason: Reason) -> None:
        """Nothing."""


class Clinging(MemoryEdgeStore):
    """A planted bug: what was taken is kept until a receipt comes, in whatever session."""

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        """Nothing."""


SMALL_BUDGETS = OutboxBudgets(event=2000, alarm=2000, telemetry=4000)
