"""The ten promises of the design of sync, as checkers. Each raises `BrokenPromiseError` with its name.

Some look at every step, some at the end, when faults have stopped and the world has become quiet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgecore.store.port import OutboxReport
from skerry.objects.meta import Key, Stamp
from skerry.sync.cloud import CloudState
from skerry.sync.effects import DatedReport, Write
from skerry.wire.frames import Frame, Hello, Objects, Reports, Stamps, Welcome

if TYPE_CHECKING:
    from tests.sim.cloud import Cloud, Served
    from tests.sim.edge import Edge
    from tests.sim.network import Link
    from tests.sim.world import World


class BrokenPromiseError(AssertionError):
    """A promise does not hold in this run."""


@dataclass(slots=True)
class Told:
    """What became of the reports of one life of one outbox."""

    appended: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """Every report ever durable, by seq."""
    excused: set[int] = field(default_factory=set[int])
    """Coalesced, dropped by budget, or lost with the cloud's backup."""
    effects: list[int] = field(default_factory=list[int])
    state: dict[str, int] = field(default_factory=dict[str, int])
    """Newest seq of each state key."""


class Checkers:
    """Watches one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[str, Told] = {}
        self._deleted: set[str] = set()
        self._gone: set[str] = set()
        self._values: dict[tuple[str, str], int] = {}
        self._newest: dict[str, int] = {}
        self._restored = False

    def _broken(self, promise: str, text: str) -> None:
        raise BrokenPromiseError(f"{promise}: {text} (at {self._world.now_s:.3f} s)")

    # --- what the world tells ---

    def appended(self, edge: Edge, before: dict[int, OutboxReport]) -> None:
        """A report was written; what vanished was coalesced or dropped."""
        told = self._told.setdefault(edge.store.incarnation, Told())
        after = {item.seq: item for item in edge.store.outbox(after=0, limit=100_000)}
        for seq in before.keys() - after.keys():
            told.excused.add(seq)
        for seq, item in after.items():
            told.appended[seq] = item.body
            if item.report_class == "state":
                told.state[item.key] = max(told.state.get(item.key, 0), seq)

    def forgot(self, edge: Edge) -> None:
        """The edge's disk is lost, and with it what it had not told."""
        told = self._told.setdefault(edge.store.incarnation, Told())
        told.excused.update(told.appended)

    def deleted(self, uid: str) -> None:
        self._deleted.add(uid)

    def restored(self, cloud: Cloud) -> None:
        """What took effect after the backup was taken is gone from the cloud, receipts or not."""
        for told in self._told.values():
            told.excused.update(told.appended)
            told.effects = []
        self._values = {}
        self._newest = {}
        by_incarnation: dict[str, list[int]] = {}
        for node, incarnation, dated in cloud.disk.effects:
            by_incarnation.setdefault(incarnation, []).append(dated.report.seq)
            self._value(node, dated)
        for incarnation, effects in by_incarnation.items():
            self._told.setdefault(incarnation, Told()).effects = effects
        self._restored = True
        held = {stored.uid for stored in cloud.disk.objects.values()}
        self._gone = set()  # what was gone may be back
        for edge in self._world.edges:
            edge.pods.starts = dict.fromkeys(edge.pods.running, 1)
        # Whatever was made after the backup is as good as deleted, also where it is still on its way to a disk.
        self._deleted |= {f"uid-{number}" for number in range(1, cloud.uids + 1)} - held

    def gone(self, uid: str) -> None:
        """The cloud let a pod go, because its node says that nothing of it is left."""
        self._gone.add(uid)
        for edge in self._world.edges:
            if uid in edge.pods.running:
                self._broken("8 acknowledged delete", f"{uid} runs after it was told to be gone")

    # --- promise 1 and 3, continuously: who is told to be in step is in step ---

    def step(self) -> None:
        """After every event."""
        cloud = self._world.cloud
        for served in cloud.open:
            edge = served.edge
            machine = served.machine
            if served.alive and machine.waiting > 0:
                self._bounded(machine.waiting, len(cloud.disk.objects) + len(self._deleted) + 200, "push queue")
            if machine.unacknowledged > self._world.settings.window_batches:
                self._broken("6 bounded", f"{machine.unacknowledged} batches unacknowledged")
            settled = machine.state is CloudState.IN_STEP and machine.unacknowledged == 0 and machine.waiting == 0
            if settled and edge.link is served.link and edge.session is not None and edge.agent_up:
                self._same(edge, "3 write, then acknowledge")

    def _same(self, edge: Edge, promise: str) -> None:
        view = dict(self._world.cloud.views.view(edge.name).stamps())
        held = dict(edge.store.stamps())
        if view != held:
            lacking = sorted(str(key) for key in view.keys() - held.keys())
            surplus = sorted(str(key) for key in held.keys() - view.keys())
            other = sorted(str(key) for key in view.keys() & held.keys() if view[key] != held[key])
            self._broken(
                promise, f"{edge.name} lacks {lacking}, has too much {surplus}, holds in another state {other}"
            )

    def _bounded(self, size: int, limit: int, what: str) -> None:
        if size > limit:
            self._broken("6 bounded", f"{size} in {what}")

    # --- promise 2 ---

    def applied(self, edge: Edge, before: dict[Key, Stamp], write: Write) -> None:
        """The edge's store committed a write."""
        if write.void:
            return
        for put in write.puts:
            held = before.get(put.key)
            if held is not None and held.revision >= put.stamp.revision:
                self._broken("2 no going back", f"{edge.name} {put.key} from {held} to {put.stamp}")

    # --- promise 4, 9, 10 ---

    def took_effect(self, served: Served, incarnation: str, dated: DatedReport) -> None:
        """The cloud committed a report."""
        told = self._told.setdefault(incarnation, Told())
        seq = dated.report.seq
        if told.effects and seq <= told.effects[-1]:
            self._broken("4 exactly once", f"{incarnation} report {seq} after {told.effects[-1]}")
        told.effects.append(seq)
        if served.number < self._newest.get(served.node, 0):
            self._broken("9 one voice", f"{served.node} session {served.number} after {self._newest[served.node]}")
        self._newest[served.node] = served.number
        self._value(served.node, dated)
        body = json.loads(dated.report.body)
        if not dated.report.estimated and dated.report.kind != "gap":
            error_s = abs(dated.at_ms - body["at"]) / 1000
            if error_s > 3.0:
                self._broken("10 wrong clock", f"{incarnation} report {seq} is dated {error_s:.1f} s off")

    def _value(self, node: str, dated: DatedReport) -> None:
        if dated.report.kind != "twin_reported":
            return
        value = json.loads(dated.report.body)["value"]
        known = self._values.get((node, dated.report.key), 0)
        if value < known:
            self._broken("4 exactly once", f"{node} twin went from {known} back to {value}")
        self._values[node, dated.report.key] = value

    # --- promise 7 and 8 ---

    def started(self, edge: Edge, uid: str) -> None:
        if edge.pods.starts[uid] > 1:
            self._broken("8 silence kills nothing", f"{uid} was started {edge.pods.starts[uid]} times in one boot")
        if uid in self._gone:
            self._broken("8 acknowledged delete", f"{uid} was started after it was told to be gone")

    def stopped(self, edge: Edge, uid: str) -> None:
        if uid not in self._deleted and uid not in self._world.leaving:
            self._broken("8 silence kills nothing", f"{edge.name} stopped {uid}, which nobody deleted")
        if self._restored:
            # A deletion that was still on its way to the disk when the backup took over: the pod may come back.
            edge.pods.starts.pop(uid, None)

    # --- promise 5 ---

    def frame(self, link: Link, frame: Frame, size: int) -> None:
        """Every frame that is sent."""
        limit = self._world.settings.part_bytes + 1200
        if isinstance(frame, Objects | Stamps | Reports) and size > limit:
            self._broken("6 bounded", f"a {type(frame).__name__} of {size} bytes")
        if isinstance(frame, Hello | Welcome) and size > 128:
            self._broken("5 cost follows difference", f"a {type(frame).__name__} of {size} bytes")

    # --- the end ---

    def final(self) -> None:
        """Faults have stopped, links have healed, nothing was written for a while."""
        for edge in self._world.edges:
            if not edge.in_step:
                state = edge.session.state if edge.session else "no session"
                self._broken("1 convergence", f"{edge.name} is {state}")
            self._same(edge, "1 convergence")
            waiting = edge.store.outbox(after=0, limit=100_000)
            if waiting:
                self._broken("4 exactly once", f"{edge.name} still has {len(waiting)} reports from {waiting[0].seq}")
            if edge.boots and edge.clock.wall_off_ms < -1_000_000_000 and edge.session is None:
                self._broken("10 wrong clock", f"{edge.name} did not connect from 1970")
        for incarnation, told in self._told.items():
            lost = told.appended.keys() - told.excused - set(told.effects)
            if lost:
                self._broken("4 exactly once", f"{incarnation} lost reports {sorted(lost)[:5]}")
