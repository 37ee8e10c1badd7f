"""The simulated cloud: a revisioned store, the hub's real views, and one real session machine for each link.

A commit becomes durable some time after it is asked for, and is told of later: a crash lands in between. The
views follow the store with a delay, as a watcher does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cloudcore.hub.views import Views
from cloudcore.store.port import Advance, Change, Position, Stored
from cloudcore.store.positions import Life, advanced, entered, newest, position_of
from skerry.errors import FencedError
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Spans
from skerry.sync.cloud import Admission, CloudSession, CloudState
from skerry.sync.effects import Admit, CloseLink, Commit, DatedReport, Send
from skerry.sync.ports import Instant
from skerry.sync.received import Received
from skerry.wire.frames import PROMPT, CloseCode, Frame, Objects, Welcome
from tests.sim.network import Link

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
    """The cloud's side of one link."""

    def __init__(self, cloud: Cloud, edge: Edge) -> None:
        self.name = f"cloud<{edge.name}"
        self.cloud = cloud
        self.edge = edge
        self.world = cloud.world
        settings = cloud.world.settings
        if cloud.world.plant.no_window:
            settings = replace(settings, window_batches=1000)
        self.machine = CloudSession(cloud.now(), settings)
        self.link: Link | None = None
        self.node = ""
        self.number = 0
        self.committing = 0
        """Commits that are not durable yet (more than one only by a planted bug)."""
        self.durable_s = 0.0
        self.tick_s: float | None = None
        self.alive = True

    def arrived(self, link: Link, frame: Frame | None) -> None:
        if self.alive:
            self.machine.receive(frame, self.cloud.now())
            self.pump()

    def link_lost(self, link: Link) -> None:
        if self.alive:
            self.machine.lost("lost")
            self.pump()

    def pump(self) -> None:
        assert self.link is not None
        for effect in self.machine.effects():
            match effect:
                case Send():
                    self.link.send(self, self._planted(effect.frame))
                case Admit():
                    self.node = effect.hello.node
                    self._admit(effect)
                case Commit():
                    self._commit(effect)
                case CloseLink():
                    self.link.hang_up(self)
                    self.cloud.left(self)
                case _:
                    pass
        while (frame := self.machine.idle_frame()) is not None:
            self.link.send(self, self._planted(frame))
        deadline = self.machine.deadline()
        if deadline is not None and (
            self.tick_s is None or deadline < self.tick_s or self.tick_s <= self.world.now_s
        ):
            self.tick_s = max(deadline, self.world.now_s)
            self.world.at(self.tick_s + 0.0001, self._tick)

    def _tick(self) -> None:
        self.tick_s = None
        if self.alive:
            self.machine.tick(self.cloud.now())
            self.pump()

    def _planted(self, frame: Frame) -> Frame:
        if self.world.plant.drop_tombstones and isinstance(frame, Objects) and frame.deletes:
            return Objects(batch=frame.batch, revision=frame.revision, puts=frame.puts, deletes=(), more=frame.more)
        if self.world.plant.always_compare and isinstance(frame, Welcome):
            return replace(frame, in_step=False)
        return frame

    def _admit(self, admit: Admit) -> None:
        """As the hub's shell: the older session ends first, commits included."""
        older = self.cloud.sessions.get(self.node)
        if older is not None and older is not self and not self.world.plant.no_fencing:
            older.machine.close(CloseCode.FENCED, "a newer session")
            older.pump()
            if older.committing:
                self.world.after(0.05, lambda: self._admit(admit) if self.alive else None)
                return
        if not self.alive or self.machine.state is not CloudState.ADMITTING:
            return
        self.cloud.sessions[self.node] = self
        position = self.cloud.enter(self.node, admit.hello.incarnation)
        self.number = position.session
        self.world.checkers.admitted(self)
        admission = Admission(
            view=self.cloud.views.view(self.node),
            epoch=self.cloud.disk.epoch,
            session=self.number,
            received=position.received,
        )
        self.machine.admitted(admission, self.cloud.now())
        self.pump()

    def _commit(self, commit: Commit) -> None:
        self.committing += 1
        if self.world.plant.receipt_before_commit:
            self.machine.committed()
            self.durable_s = max(self.durable_s, self.world.now_s + self.world.disk_s())
            self.world.at(self.durable_s, lambda: self._durable(commit, told=False))
            self.world.after(0.0, lambda: self.pump() if self.alive else None)
            return
        self.world.after(self.world.disk_s(), lambda: self._durable(commit, told=True))

    def _durable(self, commit: Commit, *, told: bool) -> None:
        if not self.alive:
            return  # the process died before the transaction was committed
        fenced = not self.cloud.committed(self, commit)

        def tell() -> None:
            self.committing -= 1
            if not self.alive:
                return
            if fenced:
                self.machine.close(CloseCode.FENCED, "a newer session")
            else:
                self.machine.committed()
            self.pump()

        if told:
            self.world.after(self.world.disk_s() / 4, tell)
        else:
            self.committing -= 1


class Cloud:
    """One cloud, one hub."""

    def __init__(self, world: World) -> None:
        self.name = "cloud"
        self.world = world
        self.disk = Disk(epoch="epoch-1")
        self.epochs = 1
        self.up = True
        self.views = Views(json.loads)
        self.views.load((), Revision(0))
        self.loads = 0
        self.applied = 0
        self.sessions: dict[str, Served] = {}
        self.open: dict[Served, None] = {}
        self.uids = 0

    def now(self) -> Instant:
        return Instant(monotonic_s=self.world.now_s, wall_ms=self.world.true_ms())

    def accept(self, edge: Edge) -> Link:
        served = Served(self, edge)
        link = Link(self.world, edge, served)
        served.link = link
        self.open[served] = None
        self.world.links.append(link)
        return link

    def left(self, served: Served) -> None:
        self.open.pop(served, None)
        if self.sessions.get(served.node) is served and not served.committing:
            del self.sessions[served.node]

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
        self.world.after(self.world.watch_s(), self.follow)

    def follow(self) -> None:
        """The hub's watcher takes in what the log has."""
        if not self.up:
            return
        for change in self.disk.log[self.applied :]:
            self.applied += 1
            for node, keys in self.views.apply(change).items():
                served = self.sessions.get(node)
                if served is not None and served.alive:
                    served.machine.changed(keys, self.now())
                    served.pump()
        for served in list(self.open):
            if served.alive and served.machine.state is CloudState.BEHIND:
                served.machine.changed((), self.now())
                served.pump()

    def enter(self, node: str, incarnation: str) -> Position:
        """Begin a session of the node, durably."""
        lives = self.disk.lives[node] = entered(self.disk.lives.get(node, {}), incarnation)
        position = position_of(node, lives)
        assert position is not None
        if self.world.plant.one_number_a_lane:
            tops = tuple(Spans.upto(spans.top) for spans in position.received.lanes)
            return replace(position, received=Received(tops))
        return position

    def committed(self, served: Served, commit: Commit) -> bool:
        """Apply a commit whole, or, where a newer session has entered, nothing of it (False)."""
        lives = self.disk.lives.get(served.node, {})
        session = served.number
        if self.world.plant.no_fencing:
            session = newest(lives)
        covered = tuple(pair for pair in commit.covered if pair[0] == PROMPT or not self.world.plant.forget_bulk)
        advance = Advance(node=served.node, incarnation=commit.incarnation, session=session, covered=covered)
        try:
            self.disk.lives[served.node] = advanced(lives, advance)
        except FencedError:
            if not self.world.plant.no_fencing:
                return False
        for dated in commit.reports:
            if self.world.plant.trust_clocks:
                dated = replace(dated, at_ms=dated.report.wall_ms)
            self.disk.effects.append((served.node, commit.incarnation, dated))
            self.world.checkers.took_effect(served, commit.incarnation, dated)
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
        """The process dies: sessions, views and unfinished commits with it."""
        self.up = False
        for served in dict.fromkeys([*self.open, *self.sessions.values()]):
            served.alive = False
            assert served.link is not None
            served.link.cut()
        self.open.clear()
        self.sessions.clear()

    def start(self) -> None:
        if not self.up:
            self.up = True
            self.reload()

    def reload(self) -> None:
        """The views start anew from the store (at start, and when the watcher was compacted past)."""
        self.views = Views(json.loads)
        self.views.load(self.disk.objects.values(), Revision(self.disk.revision))
        self.applied = len(self.disk.log)
        self.loads += 1

    def compact(self) -> None:
        """History goes; the hub's watcher had fallen behind and must start anew."""
        self.disk.log.clear()
        for served in list(self.open):
            served.machine.close(CloseCode.BUSY, "the hub starts anew", retry_after_s=1.0)
            served.pump()
        self.reload()

    def restore(self, backup: Disk) -> None:
        """Somebody restored a backup: an older state, in a new epoch."""
        self.crash()
        self.epochs += 1
        self.disk = backup.copy()
        self.disk.epoch = f"epoch-{self.epochs}"
        self.world.checkers.restored(self)
