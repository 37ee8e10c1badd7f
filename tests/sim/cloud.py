"""The simulated cloud: one replicated store, and replicas that each have the hub's real views and real sessions.

A commit becomes durable some time after it is asked for, and is told of later: a crash lands in between, and what was
on its way to the database may land without the replica that sent it. Views follow the store's log with a delay of
their own, as watchers do. A paused replica (its process stands still, its sockets fill) wakes up in the belief that
nothing happened: only the store knows better.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudcore.hub.views import Views
from cloudcore.store.port import Advance, Change, Position, Stored
from cloudcore.store.positions import Life, advanced, entered, newest, position_of
from skerry.errors import FencedError
from skerry.frozen import replace
from skerry.objects.blocks import TELEMETRY_BLOCK
from skerry.objects.commands import REPORT as COMMAND_REPORT
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Span, Spans
from skerry.sync.cloud import CloudSession
from skerry.sync.effects import Admit, Commit, DatedReport
from skerry.sync.ports import Instant
from skerry.sync.received import Received
from skerry.wire.frames import LANES, PROMPT, CloseCode, Frame, Objects, Start, Welcome
from tests.sim.commands import CloudCommands
from tests.sim.network import Link
from tests.sim.releases import RELEASES, FirstView, Release

if TYPE_CHECKING:
    from tests.sim.edge import Edge
    from tests.sim.world import World


@dataclass(slots=True)
class Disk:
    """What the cloud's database holds."""

    epoch: str
    revision: int = 0
    objects: dict[Key, Stored] = field(default_factory=dict[Key, Stored])
    log: list[Change] = field(default_factory=list[Change])
    lives: dict[str, dict[str, Life]] = field(default_factory=dict[str, dict[str, Life]])
    """Of outboxes, by node and incarnation."""
    effects: list[tuple[str, str, DatedReport]] = field(default_factory=list[tuple[str, str, DatedReport]])
    """(node, incarnation, report), in the order committed."""

    def copy(self) -> Disk:
        return Disk(
            epoch=self.epoch,
            revision=self.revision,
            objects=dict(self.objects),
            log=list(self.log),
            lives=dict(self.lives),
            effects=list(self.effects),
        )


class Served:
    """A replica's side of one link."""

    def __init__(self, replica: Replica, edge: Edge) -> None:
        self.name = f"{replica.name}<{edge.name}"
        self.replica = replica
        self.store = replica.cloud
        self.edge = edge
        self.world = replica.world
        self.release: Release = RELEASES[replica.version]
        settings = self.world.settings
        if self.world.plant.no_window:
            settings = replace(settings, window_batches=1000)
        self.machine: CloudSession = self.release.cloud.CloudSession(replica.now(), settings)
        self.link: Link | None = None
        self.node = ""
        self.number = 0
        self.committing = 0
        """Commits that are not durable yet (more than one only by a planted bug)."""
        self.durable_s = 0.0
        self.tick_s: float | None = None
        self.alive = True
        self.lands_in: Disk | None = None
        """The replica died; what it had sent to this database is committed all the same."""

    @property
    def state(self) -> str:
        return self.machine.state.value

    def arrived(self, link: Link, frame: Frame | None) -> None:
        self.replica.awake(lambda: self._receive(frame))

    def _receive(self, frame: Frame | None) -> None:
        if self.alive:
            self.machine.receive(frame, self.replica.now())
            self.pump()

    def link_lost(self, link: Link) -> None:
        self.replica.awake(self._lose)

    def _lose(self) -> None:
        if self.alive:
            self.machine.lost("lost")
            self.pump()

    def pump(self) -> None:
        assert self.link is not None
        for effect in self.machine.effects():
            one: Any = effect
            match type(one).__name__:  # of either release
                case "Send":
                    self.link.send(self, self._planted(one.frame))
                case "Admit":
                    self.node = one.hello.node
                    self._admit(one)
                case "Commit":
                    self._commit(one)
                case "CloseLink":
                    self.link.hang_up(self)
                    self.replica.left(self)
                case _:
                    pass
        while (frame := self.machine.idle_frame()) is not None:
            self.link.send(self, self._planted(frame))
        deadline = self.machine.deadline()
        if deadline is not None and (
            self.tick_s is None or deadline < self.tick_s or self.tick_s <= self.world.now_s
        ):
            self.tick_s = max(deadline, self.world.now_s)
            self.world.at(self.tick_s + 0.0001, lambda: self.replica.awake(self._tick), f"{self.name}: a deadline")

    def _tick(self) -> None:
        self.tick_s = None
        if self.alive:
            self.machine.tick(self.replica.now())
            self.pump()

    def _planted(self, frame: Frame) -> Frame:
        plant = self.world.plant
        if plant.drop_tombstones and isinstance(frame, Objects) and frame.deletes:
            return Objects(batch=frame.batch, revision=frame.revision, puts=frame.puts, deletes=(), more=frame.more)
        if plant.always_compare and isinstance(frame, Welcome):
            return replace(frame, in_step=False)
        if plant.deaf_to_versions and isinstance(frame, Welcome):
            return replace(frame, version=2)
        return frame

    def _admit(self, admit: Admit) -> None:
        """As the hub's shell: the older session of this replica ends first, commits included; then the store."""
        older = self.replica.sessions.get(self.node)
        if older is not None and older is not self and not self.world.plant.no_fencing:
            older.machine.close(CloseCode.FENCED, "a newer session")
            older.pump()
            if older.committing:
                self.world.after(0.05, lambda: self.replica.awake(lambda: self._admit_again(admit)))
                return
        if not self.alive or self.state != "admitting":
            return
        self.replica.sessions[self.node] = self
        position = self.store.enter(self.node, admit.hello.incarnation, getattr(admit.hello, "starts", ()))
        self.number = position.session
        if self.world.plant.number_from_memory:
            self.replica.numbers += 1
            self.number = self.replica.numbers
        self.world.checkers.admitted(self, position.session)
        view: Any = self.replica.views.view(self.node)
        received: Any = position.received
        of_today: dict[str, Any] = {"common": position.common}
        if self.release.version == 1:
            view, received, of_today = FirstView(view), received.unbroken, {}
        admission = self.release.cloud.Admission(
            view=view, epoch=self.store.disk.epoch, session=self.number, received=received, **of_today
        )
        self.machine.admitted(admission, self.replica.now())
        self.pump()
        self.store.commands.look_at_all(self.node)

    def _admit_again(self, admit: Admit) -> None:
        if self.alive:
            self._admit(admit)

    def _commit(self, commit: Commit) -> None:
        self.committing += 1
        about = f"{self.name}: reports are durable"
        if self.world.plant.receipt_before_commit:
            self.machine.committed()
            self.durable_s = max(self.durable_s, self.world.now_s + self.world.disk_s())
            self.world.at(self.durable_s, lambda: self._durable(commit, told=False), about)
            self.world.after(0.0, lambda: self.pump() if self.alive else None)
            return
        self.world.after(self.world.disk_s(), lambda: self._durable(commit, told=True), about)

    def _durable(self, commit: Commit, *, told: bool) -> None:
        if not (self.alive or self.lands_in is self.store.disk):
            return  # the process died before the transaction was committed
        fenced = not self.store.committed(self, commit)
        if told:
            tell = lambda: self.replica.awake(lambda: self._committed(fenced=fenced))  # noqa: E731
            self.world.after(self.world.disk_s() / 4, tell, f"{self.name}: is told of its commit")
        else:
            self.committing -= 1

    def _committed(self, *, fenced: bool) -> None:
        self.committing -= 1
        if not self.alive:
            return
        if fenced:
            self.machine.close(CloseCode.FENCED, "a newer session")
        else:
            self.machine.committed()
        self.pump()


class Replica:
    """One process of the cloud: its hub, over the common store."""

    def __init__(self, cloud: Cloud, number: int, version: int) -> None:
        self.name = f"cloud-{number + 1}"
        self.cloud = cloud
        self.world = cloud.world
        self.version = version
        self.up = True
        self.paused = False
        self.paused_s = 0.0
        self.slept_s = 0.0
        """The longest that it stood still."""
        self.backlog: deque[Callable[[], None]] = deque()
        self.views = Views(json.loads)
        self.loads = 0
        self.applied = 0
        self.lag = 1.0
        """How much slower than others it follows the log."""
        self.numbers = 0
        """Of sessions, for a planted bug."""
        self.sessions: dict[str, Served] = {}
        self.open: dict[Served, None] = {}
        self.reload()

    def now(self) -> Instant:
        return Instant(monotonic_s=self.world.now_s, wall_ms=self.world.true_ms())

    def awake(self, act: Callable[[], None]) -> None:
        """Do this now, or, while the process stands still, when it goes on."""
        if self.paused:
            self.backlog.append(act)
        else:
            act()

    def accept(self, edge: Edge) -> Link:
        served = Served(self, edge)
        link = Link(self.world, edge, served)
        served.link = link
        self.open[served] = None
        self.world.links.append(link)
        self.awake(served.pump)  # its deadlines begin
        return link

    def left(self, served: Served) -> None:
        self.open.pop(served, None)
        if self.sessions.get(served.node) is served and not served.committing:
            del self.sessions[served.node]

    def follow(self) -> None:
        """The hub's watcher takes in what the log has."""
        if not self.up:
            return
        for change in self.cloud.disk.log[self.applied :]:
            self.applied += 1
            for node, keys in self.views.apply(change).items():
                served = self.sessions.get(node)
                if served is not None and served.alive:
                    served.machine.changed(keys, self.now())
                    served.pump()
        for served in list(self.open):
            if served.alive and served.state == "behind":
                served.machine.changed((), self.now())
                served.pump()

    def reload(self) -> None:
        """The views start anew from the store (at start, and when the watcher was compacted past)."""
        self.views = Views(json.loads)
        self.views.load(self.cloud.disk.objects.values(), Revision(self.cloud.disk.revision))
        self.applied = len(self.cloud.disk.log)
        self.loads += 1

    # --- faults ---

    def crash(self) -> None:
        """The process dies: sessions and views with it. What is on its way to the database may still land."""
        self.up = self.paused = False
        self.backlog.clear()
        for served in dict.fromkeys([*self.open, *self.sessions.values()]):
            served.alive = False
            served.lands_in = self.cloud.disk if self.world.random.random() < 0.5 else None
            assert served.link is not None
            served.link.cut()
        self.open.clear()
        self.sessions.clear()

    def start(self) -> None:
        if not self.up:
            self.up = True
            self.version = self.world.cloud_version
            self.reload()
            self.cloud.commands.look_at_all()

    def pause(self) -> None:
        """The process stands still, and does not know it."""
        if self.up and not self.paused:
            self.paused, self.paused_s = True, self.world.now_s

    def resume(self) -> None:
        """It goes on with all that came meanwhile."""
        if self.paused:
            self.slept_s = max(self.slept_s, self.world.now_s - self.paused_s)
        self.paused = False
        while self.backlog and not self.paused:
            self.backlog.popleft()()

    def restart_watch(self) -> None:
        """History went, and this watcher had fallen behind: sessions and views start anew."""
        for served in list(self.open):
            served.machine.close(CloseCode.BUSY, "the hub starts anew", retry_after_s=1.0)
            served.pump()
        self.reload()


class Cloud:
    """The store that all replicas share, and the replicas."""

    def __init__(self, world: World) -> None:
        self.name = "cloud"
        self.world = world
        self.disk = Disk(epoch="epoch-1")
        self.epochs = 1
        self.uids = 0
        self.replicas = [Replica(self, number, world.cloud_version) for number in range(world.replica_count)]
        self.commands = CloudCommands(self)

    @property
    def sessions(self) -> dict[str, Served]:
        """The newest session of each node, wherever it is."""
        found: dict[str, Served] = {}
        for replica in self.replicas:
            for node, served in replica.sessions.items():
                if node not in found or found[node].number < served.number:
                    found[node] = served
        return found

    # --- objects ---

    def write(self, key: Key, obj: JsonObject | None) -> None:
        """Create, replace (the same life) or delete one object; committed at once."""
        disk = self.disk
        before = disk.objects.get(key)
        if obj is None and before is None:
            return
        disk.revision += 1
        revision = Revision(disk.revision)
        if obj is None:
            assert before is not None
            uid, after = before.uid, None
            del disk.objects[key]
            self.world.checkers.deleted(uid)
        else:
            if before is None:
                self.uids += 1
            uid = before.uid if before is not None else f"uid-{self.uids}"
            after = encode_object(obj)
            disk.objects[key] = Stored(key=key, uid=uid, revision=revision, body=after)
        change = Change(revision=revision, key=key, uid=uid, before=None, after=after)
        disk.log.append(change)
        for replica in self.replicas:
            about = f"{replica.name}: follows the log"
            self.world.after(replica.lag * self.world.watch_s(), lambda r=replica: r.awake(r.follow), about)

    def enter(self, node: str, incarnation: str, starts: Sequence[Start] = ()) -> Position:
        """Begin a session of the node, durably."""
        lives, common = entered(self.disk.lives.get(node, {}), incarnation, starts)
        self.disk.lives[node] = lives
        position = position_of(node, lives)
        assert position is not None
        position = replace(position, common=0 if self.world.plant.deaf_to_starts else common)
        if self.world.plant.one_number_a_lane:
            tops = tuple(Spans.upto(spans.top) for spans in position.received.lanes)
            return replace(position, received=Received(tops))
        return position

    def committed(self, served: Served, commit: Commit) -> bool:
        """Apply a commit whole, or, where a newer session has entered, nothing of it (False)."""
        lives = self.disk.lives.get(served.node, {})
        session = served.number
        if self.world.plant.no_fencing or self.world.plant.fencing_in_memory or self.world.plant.number_from_memory:
            session = newest(lives)
        told: tuple[tuple[int, Span], ...] = getattr(commit, "covered", ())
        if not told:  # the first release: one position for all lanes
            begun = position_of(served.node, lives)
            first = 1 if begun is None or begun.incarnation != commit.incarnation else begun.received.unbroken + 1
            told = tuple((lane, Span(first, commit.through)) for lane in LANES)  # type: ignore[attr-defined]
        covered = tuple(pair for pair in told if pair[0] == PROMPT or not self.world.plant.forget_bulk)
        advance = Advance(node=served.node, incarnation=commit.incarnation, session=session, covered=covered)
        try:
            self.disk.lives[served.node], _ = advanced(lives, advance, ())
        except FencedError:
            if not (self.world.plant.no_fencing or self.world.plant.fencing_in_memory):
                return False
        for dated in commit.reports:
            earlier = dated.report.estimated and self.world.plant.trust_earlier_clocks
            if self.world.plant.trust_clocks or earlier:
                dated = replace(dated, at_ms=dated.report.wall_ms)
            self.disk.effects.append((served.node, commit.incarnation, dated))
            self.world.checkers.took_effect(served, commit.incarnation, dated)
            if dated.report.kind == COMMAND_REPORT:
                self.commands.told(dated)
                continue
            if dated.report.kind == TELEMETRY_BLOCK:
                continue
            body = json.loads(dated.report.body)
            if "gone" in body:
                self._pod_gone(body["pod"], body["gone"])
        return True

    def _pod_gone(self, name: str, uid: str) -> None:
        key = Key("pods", "default", name)
        held = self.disk.objects.get(key)
        if held is not None and held.uid == uid and b"deletionTimestamp" in held.body:
            self.world.checkers.gone(held.uid)
            self.write(key, None)

    # --- faults ---

    def crash(self) -> None:
        """All processes die."""
        for replica in self.replicas:
            replica.crash()

    def start(self) -> None:
        for replica in self.replicas:
            replica.start()

    def compact(self) -> None:
        """History goes; every watcher had fallen behind and must start anew."""
        self.disk.log.clear()
        for replica in self.replicas:
            replica.applied = 0
            if replica.up:
                replica.awake(replica.restart_watch)

    def restore(self, backup: Disk) -> None:
        """Somebody restored a backup: an older state, in a new epoch."""
        self.crash()
        self.epochs += 1
        self.disk = backup.copy()
        self.disk.epoch = f"epoch-{self.epochs}"
        self.world.checkers.restored(self)
