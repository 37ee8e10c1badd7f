"""The ten promises of the design of sync, as checkers. Each raises `BrokenPromiseError` with its number and name.

Some look at every step, some at the end, when faults have stopped and the world has become quiet. That each of them
can fail is shown by `test_planted_bugs.py`, with a bug for each promise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgecore.store.port import META_EPOCH, OutboxReport
from skerry.objects.blocks import TELEMETRY_BLOCK, decode_block
from skerry.objects.commands import FINAL, SILENT, phase_of
from skerry.objects.commands import REPORT as COMMAND_REPORT
from skerry.objects.json import str_at
from skerry.objects.meta import Key, Stamp
from skerry.objects.spans import Span
from skerry.objects.twins import encode_telemetry
from skerry.sync.effects import DatedReport, Write
from skerry.sync.intake import lane_of_report
from skerry.sync.received import Received
from skerry.wire.frames import BULK, PROMPT, Frame, Hello, Objects, Report, Reports, Stamps, Welcome

if TYPE_CHECKING:
    from tests.sim.cloud import Cloud, Replica, Served
    from tests.sim.edge import Edge
    from tests.sim.network import Link
    from tests.sim.world import World


TELEMETRY: Final = "telemetry"
"""A reading alone, as a cloud that knows no blocks is told it."""
PROMISES: Final = {
    1: "convergence",
    2: "no going back",
    3: "write, then acknowledge",
    4: "exactly once upstream",
    5: "cost follows difference",
    6: "bounded",
    7: "autonomy",
    8: "silence kills nothing",
    9: "one voice",
    10: "wrong clock",
    11: "commands at most once",
    12: "metered",
}


class BrokenPromiseError(AssertionError):
    """A promise does not hold in this run."""

    def __init__(self, promise: int, text: str, at_s: float) -> None:
        super().__init__(f"{promise} {PROMISES[promise]}: {text} (at {at_s:.3f} s)")
        self.promise = promise
        self.at_s = at_s


def parts_of(item: OutboxReport | Report) -> list[tuple[int, bytes, str]]:
    """Numbers, what each tells, and of which series: several of a block of readings."""
    if item.kind != TELEMETRY_BLOCK:
        return [(item.seq, item.body, item.key)]
    block = decode_block(item.body)
    first = item.seq - len(block) + 1
    return [(seq, encode_telemetry(each.telemetry()), each.series) for seq, each in enumerate(block, first)]


@dataclass(slots=True)
class Told:
    """What became of the reports of one life of one outbox."""

    appended: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """Every report ever durable, by seq."""
    excused: set[int] = field(default_factory=set[int])
    """Coalesced, dropped by budget, or lost with the cloud's backup."""
    dropped: int = 0
    """For want of room."""
    effects: set[int] = field(default_factory=set[int])
    prompt: int = 0
    """The newest of the prompt lane that took effect."""
    state: dict[str, int] = field(default_factory=dict[str, int])
    """Newest seq of each state key."""
    readings: set[bytes] = field(default_factory=set[bytes])
    """Those that took effect, by what they tell: under whatever number it happened, it happens once."""
    common: int | None = None
    """Up to which the older copy of the store that the edge was set back to is the same; None before it was."""


def times_of(dated: DatedReport) -> list[tuple[int, int]]:
    """When what a report tells took place: as it is dated, and truly."""
    if dated.report.kind == TELEMETRY_BLOCK:
        return [(dated.at_ms - each.ago_ms, each.source_ms) for each in decode_block(dated.report.body)]
    body = json.loads(dated.report.body)
    return [(dated.at_ms, body["at"] if "at" in body else body["ts_src"])]


class Checkers:
    """Watches one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[str, Told] = {}
        self._deleted: set[str] = set()
        self._gone: set[str] = set()
        self._revived: dict[str, set[str]] = {}
        """Pods that a store which was set back holds, until it is in step: what it told of their end is forgotten,
        even where that is still on its way."""
        self._values: dict[tuple[str, str], int] = {}
        self._newest: dict[str, int] = {}
        self._order: dict[Served, int] = {}
        """The number that the store gave each session as it entered."""
        self._sent: dict[tuple[Link, int, bool], int] = {}
        """By link, lane and whether of the backlog: up to where reports were sent."""
        self._named: dict[Link, dict[Key, Stamp]] = {}
        """What the cloud said that the edge should hold of the buckets that differed, until the edge says it does."""
        self._going: dict[Link, list[tuple[int | None, Span]]] = {}
        """By link, the spans of lanes that were sent over it, and those that the cloud had when it welcomed."""
        self._hands: dict[str, Link] = {}
        """The link on which each edge was welcomed last, by incarnation: what its outbox may have to spare."""
        self._carried_out: set[str] = set()
        """Uids of commands."""
        self._agreed: dict[str, tuple[str, int, int, int]] = {}
        """When each edge was last seen to hold its view: it does until one of the two changes."""

    def _broken(self, promise: int, text: str) -> None:
        raise BrokenPromiseError(promise, text, self._world.now_s)

    # --- what the world tells ---

    def appended(self, edge: Edge, before: dict[int, OutboxReport]) -> None:
        """A report was written; what vanished was coalesced or dropped."""
        told = self._told.setdefault(edge.store.incarnation, Told())
        after = {item.seq: item for item in edge.store.outbox(after=0, limit=100_000)}
        vanished = [before[seq] for seq in before.keys() - after.keys()]
        for item in vanished:
            told.excused.update(seq for seq, _, _ in parts_of(item))
        self._counted(edge, told, vanished, before, after)
        for seq, item in after.items():
            if seq not in before:
                told.appended.update((number, body) for number, body, _ in parts_of(item))
            if item.report_class == "state":
                told.state[item.key] = max(told.state.get(item.key, 0), seq)

    def _counted(
        self,
        edge: Edge,
        told: Told,
        vanished: list[OutboxReport],
        before: dict[int, OutboxReport],
        after: dict[int, OutboxReport],
    ) -> None:
        """Nothing is dropped silently: all of it is counted, and of telemetry the series is told."""
        grown = {
            body
            for seq, item in after.items()
            if vanished and seq not in before and item.kind == TELEMETRY_BLOCK
            for _, body, _ in parts_of(item)
        }
        dropped = [
            (item.report_class, series)
            for item in vanished
            for _, body, series in parts_of(item)
            if item.report_class != "state" and body not in grown
        ]
        told.dropped += len(dropped)
        self._oldest_first(edge, [item for item in vanished if parts_of(item)[-1][1] not in grown], after)
        counted = sum(gap.total for gap in edge.store.stats().gaps)
        if counted != told.dropped:
            self._broken(4, f"{edge.name} dropped {told.dropped} reports, and tells of {counted}")
        holes = {item.key for item in after.values() if item.kind == "series_gap"}
        if unseen := {series for report_class, series in dropped if report_class == "telemetry"} - holes:
            self._broken(4, f"{edge.name} dropped readings of {sorted(unseen)}, and does not say so")

    def _oldest_first(self, edge: Edge, gone: list[OutboxReport], after: dict[int, OutboxReport]) -> None:
        """A full outbox drops the oldest, but for what is on its way or there: whatever else stays of the same class
        is younger."""
        newest = {item.report_class: item.seq for item in sorted(gone, key=lambda item: item.seq)}
        spared = (
            self._going.get(self._hands[edge.store.incarnation], []) if edge.store.incarnation in self._hands else []
        )
        for seq, item in after.items():
            if item.report_class == "state" or seq > newest.get(item.report_class, 0):
                continue
            lane = BULK if item.report_class == "telemetry" else PROMPT
            if not any(
                each in (lane, None) and span.first <= seq and seq - item.count < span.through
                for each, span in spared
            ):
                self._broken(
                    6, f"{edge.name} keeps {seq} of {item.report_class} and dropped {newest[item.report_class]}"
                )

    def welcomed(self, edge: Edge, link: Link) -> None:
        """A session of this edge begins."""
        self._hands[edge.store.incarnation] = link

    def forgot(self, edge: Edge) -> None:
        """The edge's disk is lost, and with it what it had not told."""
        told = self._told.setdefault(edge.store.incarnation, Told())
        told.excused.update(told.appended)

    def set_back(self, edge: Edge) -> None:
        """Its disk is an older copy: what it wrote since and the cloud has not is gone, and so is what it dropped."""
        told = self._told.setdefault(edge.store.incarnation, Told())
        waiting = {seq for item in edge.store.outbox(after=0, limit=100_000) for seq, _, _ in parts_of(item)}
        told.excused.update(told.appended.keys() - told.effects - waiting)
        told.appended = {seq: body for seq, body in told.appended.items() if seq <= edge.store.outbox_head()}
        told.dropped = sum(gap.total for gap in edge.store.stats().gaps)
        told.state = {key: seq for key, seq in told.state.items() if seq <= edge.store.outbox_head()}
        self._revived[edge.name] = {held.stamp.uid for held in edge.store.list("pods")}
        self._gone -= self._revived[edge.name]
        own = edge.store.outbox_left() if edge.version == 1 else edge.store.outbox_head()
        told.common = own if told.common is None else min(told.common, own)
        self._values = {shown: value for shown, value in self._values.items() if shown[0] != edge.name}

    def new_life(self, edge: Edge, before: str) -> None:
        """What waits was given another incarnation. What was written before the copy was made must not come twice."""
        old = self._told.setdefault(before, Told())
        new = self._told[edge.store.incarnation] = Told(dropped=old.dropped)
        new.readings = old.readings
        for item in edge.store.outbox(after=0, limit=100_000):
            for seq, body, _ in parts_of(item):
                if seq <= (old.common or 0) and seq in old.effects:
                    self._broken(4, f"{edge.name} tells report {seq} again in another life")
                new.appended[seq] = body
            if item.report_class == "state":
                new.state[item.key] = max(new.state.get(item.key, 0), item.seq)
        old.excused.update(old.appended.keys())

    def deleted(self, uid: str) -> None:
        self._deleted.add(uid)

    def restored(self, cloud: Cloud) -> None:
        """What took effect after the backup was taken is gone from the cloud, receipts or not."""
        for told in self._told.values():
            told.excused.update(told.appended)
            told.effects, told.prompt, told.readings = set(), 0, set()
            told.common = 0  # nor does it know of their starts
        self._values = {}
        self._newest = {}
        self._named = {}  # by the epoch before; what it named later stands for nothing, and older may stand again
        for node, incarnation, dated in cloud.disk.effects:
            told = self._told.setdefault(incarnation, Told())
            for seq, body, _ in parts_of(dated.report):
                told.effects.add(seq)
                if dated.report.kind in (TELEMETRY, TELEMETRY_BLOCK):
                    told.readings.add(body)
            if lane_of_report(dated.report) == PROMPT:
                told.prompt = dated.report.seq
            self._value(node, dated)
        held = {stored.uid for stored in cloud.disk.objects.values()}
        self._gone = set()  # what was gone may be back
        # Whatever was made after the backup is as good as deleted, also where it is still on its way to a disk.
        self._deleted |= {f"uid-{number}" for number in range(1, cloud.uids + 1)} - held

    def gone(self, uid: str) -> None:
        """The cloud let a pod go, because its node says that nothing of it is left."""
        if not any(uid in revived for revived in self._revived.values()):
            self._gone.add(uid)
        for edge in self._world.edges:
            if uid in edge.pods.running:
                self._broken(8, f"{uid} runs after it was told to be gone")

    # --- promise 1 and 3, continuously: who is told to be in step is in step ---

    def step(self) -> None:
        """After every event."""
        for replica in self._world.cloud.replicas:
            for served in replica.open:
                self._look(replica, served)
        for edge in self._world.edges:
            if edge.link in self._named and edge.in_step:
                self._says_so(edge, edge.link)

    def _says_so(self, edge: Edge, link: Link) -> None:
        """A gateway that calls itself in step has on its disk what was named, but for what has changed since."""
        named, held = self._named.pop(link), dict(edge.store.stamps())
        newest = max(self._world.cloud.replicas, key=lambda replica: replica.views.revision)
        view = dict(newest.views.view(edge.name).stamps())
        lacking = [str(key) for key, stamp in named.items() if view.get(key) == stamp and held.get(key) != stamp]
        if lacking and edge.version > 1:  # the first release says so when it has arrived
            self._broken(3, f"{edge.name} calls itself in step and has not written {sorted(lacking)}")

    def _look(self, replica: Replica, served: Served) -> None:
        edge, machine = served.edge, served.machine
        if served.alive and machine.waiting > 0:
            objects = len(self._world.cloud.disk.objects)
            self._bounded(machine.waiting, objects + len(self._deleted) + 200, "push queue")
        if machine.unacknowledged > self._world.settings.window_batches:
            self._broken(6, f"{machine.unacknowledged} batches unacknowledged")
        settled = served.state == "in_step" and machine.unacknowledged == 0 and machine.waiting == 0
        if settled and not replica.paused and edge.link is served.link and edge.session is not None and edge.agent_up:
            moment = (replica.name, replica.loads, replica.views.revision, edge.writes)
            if self._agreed.get(edge.name) != moment:
                self._same(edge, replica, 3)
                self._revived.pop(edge.name, None)
                self._agreed[edge.name] = moment

    def _same(self, edge: Edge, replica: Replica, promise: int) -> None:
        view = dict(replica.views.view(edge.name).stamps())
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
            self._broken(6, f"{size} in {what}")

    # --- promise 2 ---

    def applied(self, edge: Edge, before: dict[Key, Stamp], write: Write) -> None:
        """The edge's store committed a write."""
        if write.void:
            # A restored cloud may want again what was stopped in the epoch before.
            edge.pods.starts = dict.fromkeys(edge.pods.running, 1)
            return
        for put in write.puts:
            held = before.get(put.key)
            if held is not None and held.revision >= put.stamp.revision:
                self._broken(2, f"{edge.name} {put.key} from {held} to {put.stamp}")

    # --- promise 4, 9, 10 ---

    def took_effect(self, served: Served, incarnation: str, dated: DatedReport) -> None:
        """The cloud committed a report."""
        told = self._told.setdefault(incarnation, Told())
        seq = dated.report.seq
        for number, body, _ in parts_of(dated.report):
            if number in told.effects:
                self._broken(4, f"{incarnation} report {number} took effect twice")
            told.effects.add(number)
            if dated.report.kind in (TELEMETRY, TELEMETRY_BLOCK):
                if body in told.readings:
                    self._broken(4, f"{incarnation} tells a reading twice, at last as {number}")
                told.readings.add(body)
        if lane_of_report(dated.report) == PROMPT:
            if seq <= told.prompt:
                self._broken(4, f"{incarnation} report {seq} after {told.prompt}")
            told.prompt = seq
        if self._order[served] < self._newest.get(served.node, 0):
            self._broken(9, f"{served.node} session {self._order[served]} after {self._newest[served.node]}")
        self._value(served.node, dated)
        if dated.report.kind == COMMAND_REPORT:
            return
        bound_ms: int = getattr(dated.report, "error_ms", 0)
        if dated.report.kind not in {"gap", "series_gap"} and (bound_ms or not dated.report.estimated):
            for at_ms, true_ms in times_of(dated):
                error_s = abs(at_ms - true_ms) / 1000
                # What waits at a process that stands still is older than it says.
                if error_s > 3.0 + served.replica.slept_s + bound_ms / 1000:
                    self._broken(10, f"{incarnation} report {seq} is dated {error_s:.1f} s off")

    def _value(self, node: str, dated: DatedReport) -> None:
        if dated.report.kind != "twin_reported":
            return
        value = json.loads(dated.report.body)["value"]
        known = self._values.get((node, dated.report.key), 0)
        if value < known:
            self._broken(4, f"{node} twin went from {known} back to {value}")
        self._values[node, dated.report.key] = value

    def admitted(self, served: Served, number: int) -> None:
        """A session of this node begins: from now on no older one has a say."""
        self._order[served] = number
        self._newest[served.node] = max(number, self._newest.get(served.node, 0))

    # --- promise 7 and 8 ---

    def agent_started(self, edge: Edge, wanted: set[str]) -> None:
        """The agent is up, and has not dialled: what its store wants must run already."""
        if idle := wanted - edge.pods.running:
            self._broken(7, f"{edge.name} waits for the link with {sorted(idle)}")

    def started(self, edge: Edge, uid: str) -> None:
        if edge.pods.starts[uid] > 1:
            self._broken(8, f"{uid} was started {edge.pods.starts[uid]} times in one boot")
        if uid in self._gone:
            self._broken(8, f"{uid} was started after it was told to be gone")

    def stopped(self, edge: Edge, uid: str) -> None:
        if uid not in self._deleted and uid not in self._world.leaving:
            self._broken(8, f"{edge.name} stopped {uid}, which nobody deleted")

    # --- promise 11 ---

    def carried_out(self, edge: Edge, uid: str, expires_ms: int) -> None:
        """A gateway began a command, and it took effect."""
        if uid in self._carried_out:
            self._broken(11, f"{edge.name} carried {uid} out twice")
        self._carried_out.add(uid)
        if self._world.true_ms() >= expires_ms:
            late_s = (self._world.true_ms() - expires_ms) / 1000
            self._broken(11, f"{edge.name} began {uid} {late_s:.1f} s after its deadline")

    def _ends(self) -> None:
        """The cloud knows how every command ended, as far as anybody does."""
        for key in self._world.cloud.commands.keys:
            uid = self._world.cloud.disk.objects[key].uid
            obj = self._world.cloud_object(key)
            phase, reason = phase_of(obj), str_at(obj, "status", "reason")
            if phase not in FINAL or reason == SILENT:
                self._broken(11, f"{key.name} ({uid}) is {phase} {reason}".rstrip())
            done = uid in self._carried_out
            if phase != "Unknown" and done != (phase == "Succeeded"):
                self._broken(11, f"{key.name} ({uid}) is {phase}, and was {'' if done else 'not '}carried out")

    # --- promise 12 ---

    def _metered(self, link: Link) -> None:
        """What both books say of a link agrees with what it carried, and the two with each other as far as it did."""
        edge, cloud = (book.take(link, sent_is_up=up) for book, up in zip(link.books, (True, False), strict=True))
        counted = (sum(edge.up.values()), sum(edge.down.values()), sum(cloud.up.values()), sum(cloud.down.values()))
        carried = (link.up.sent_bytes, link.down.given_bytes, link.up.given_bytes, link.down.sent_bytes)
        if counted != carried:
            self._broken(12, f"of a link of {link.edge.name} {counted} bytes were counted, and {carried} went")
        for name in edge.up.keys() | cloud.down.keys():
            beyond = cloud.up.get(name, 0) > edge.up.get(name, 0) or edge.down.get(name, 0) > cloud.down.get(name, 0)
            if beyond:
                self._broken(12, f"of {name} more came to {link.edge.name} or from it than was sent")

    # --- promise 5 ---

    def frame(self, link: Link, frame: Frame, size: int) -> None:
        """Every frame that is sent."""
        limit = self._world.settings.part_bytes + 1200
        if isinstance(frame, Objects | Stamps | Reports) and size > limit:
            self._broken(6, f"a {type(frame).__name__} of {size} bytes")
        if isinstance(frame, Hello | Welcome) and size > 128:
            self._broken(5, f"a {type(frame).__name__} of {size} bytes")
        if isinstance(frame, Stamps):
            self._named.setdefault(link, {}).update({entry.key: entry.stamp for entry in frame.entries})
        if isinstance(frame, Objects) and link in self._named:
            for key in frame.deletes:  # and what is wanted once more, after that, was not named
                self._named[link].pop(key, None)
        if isinstance(frame, Welcome) and not frame.in_step:
            self._needed(link, frame)
        if isinstance(frame, Welcome):
            received = Received.told(frame.received, frame.lanes)
            self._going[link] = [(lane, span) for lane, spans in enumerate(received.lanes) for span in spans.spans]
        if isinstance(frame, Reports) and frame.reports:
            sent = Span(frame.reports[0].seq, frame.reports[-1].seq)
            self._going.setdefault(link, []).append((frame.lane if frame.first else None, sent))
        if isinstance(frame, Reports) and frame.first:  # else it is one of the first release, without spans
            self._in_order(link, frame)

    def _in_order(self, link: Link, frame: Reports) -> None:
        """What is live of a lane is sent in order, and so is its backlog."""
        about = (link, frame.lane, frame.late)
        if frame.span.first <= self._sent.get(about, 0):
            self._broken(4, f"{link.edge.name} sends {frame.span} of lane {frame.lane} after {self._sent[about]}")
        self._sent[about] = frame.span.through

    def _needed(self, link: Link, welcome: Welcome) -> None:
        """A comparison costs more than a greeting: there must be something to compare."""
        edge = next(edge for edge in self._world.edges if edge.name == link.edge.name)
        if edge.session is None or edge.link is not link or edge.store.meta(META_EPOCH) != welcome.epoch:
            return
        served = link.cloud
        replica = next(replica for replica in self._world.cloud.replicas if served in replica.open)
        if dict(replica.views.view(edge.name).stamps()) == dict(edge.store.stamps()):
            self._broken(5, f"{edge.name} is compared though nothing differs")

    # --- the end ---

    def final(self) -> None:
        """Faults have stopped, links have healed, nothing was written for a while."""
        for edge in self._world.edges:
            if not edge.in_step:
                state = edge.session.state if edge.session else "no session"
                self._broken(1, f"{edge.name} is {state}")
            for replica in self._world.cloud.replicas:
                if replica.views.revision != self._world.cloud.disk.revision:
                    self._broken(1, f"{replica.name} has read up to {replica.views.revision}")
                self._same(edge, replica, 1)
            waiting = edge.store.outbox(after=0, limit=100_000)
            if waiting:
                self._broken(4, f"{edge.name} still has {len(waiting)} reports from {waiting[0].seq}")
            if edge.boots and edge.clock.wall_off_ms < -1_000_000_000 and edge.session is None:
                self._broken(10, f"{edge.name} did not connect from 1970")
        for incarnation, told in self._told.items():
            lost = told.appended.keys() - told.excused - told.effects
            if lost:
                self._broken(4, f"{incarnation} lost reports {sorted(lost)[:5]}")
        for edge in self._world.edges:
            self._shown(edge)
        self._ends()
        for link in self._world.links:
            self._metered(link)

    def _shown(self, edge: Edge) -> None:
        """What the cloud shows of a gateway is what the gateway said last, also to a cloud that was restored."""
        told = self._told.get(edge.store.incarnation, Told()).state.get("twin")
        effects = self._world.cloud.disk.effects
        seqs = [dated.report.seq for node, _, dated in effects if node == edge.name and dated.report.key == "twin"]
        if told is not None and (not seqs or seqs[-1] != told):
            self._broken(1, f"{edge.name}'s twin was told as report {told}, the cloud shows {seqs[-1:]}")
