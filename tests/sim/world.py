"""The simulated world: one cloud, some edges, one heap of events, one seed.

No asyncio, no threads, no sockets: what happens follows from the seed alone, and a failure can be looked at as
often as it takes. `World.run` lets time pass; faults come from `tests.sim.faults` or from a scenario.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from edgecore.store.port import OutboxBudgets
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import Key
from skerry.objects.spans import Spans
from skerry.sync.ports import SyncSettings
from skerry.wire.frames import (
    Ack,
    Close,
    Compare,
    Fetch,
    Frame,
    Hello,
    Objects,
    Receipt,
    Reports,
    Stamps,
    Welcome,
)
from tests.sim.checkers import Checkers
from tests.sim.cloud import Cloud
from tests.sim.edge import Edge
from tests.sim.network import End, Link
from tests.sim.releases import NEWEST

T0_MS = 1_790_000_000_000
SETTINGS = SyncSettings(
    window_batches=3,
    part_bytes=600,
    batch_bytes=900,
    group_bytes_max=20_000,
    fetch_keys=4,
    report_frames=2,
    reports_max=5,
    heartbeat_s=10.0,
    greeting_s_max=10.0,
    behind_s_max=5.0,
    compare_s=60.0,
    compare_s_min=20.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """Bugs planted to see that the checkers catch them."""

    acknowledge_before_write: bool = False
    in_step_too_soon: bool = False
    """An edge says so while it catches up."""
    drop_tombstones: bool = False
    receipt_before_commit: bool = False
    give_up_dialling: bool = False
    """After the third session."""
    silent_about_epochs: bool = False
    """A restored cloud is not told again."""
    deaf_to_starts: bool = False
    """A cloud does not say where an older copy of an outbox and its own past part."""
    replay_first_state: bool = False
    """What is written to the edge's store now and then is the state in which the object came first."""
    always_compare: bool = False
    no_window: bool = False
    """The cloud sends batches without waiting for acknowledgements."""
    pods_wait_for_link: bool = False
    stop_when_lost: bool = False
    """Pods are stopped when the link is lost."""
    no_fencing: bool = False
    one_number_a_lane: bool = False
    """A cloud takes the highest number received for all of them."""
    forget_bulk: bool = False
    """A commit keeps what of the prompt lane took effect, and not what of the bulk lane."""
    fencing_in_memory: bool = False
    """A replica ends older sessions of a node that it knows of itself; the store lets any session commit."""
    number_from_memory: bool = False
    """Each replica gives session numbers by itself."""
    drop_silently: bool = False
    """An outbox says nothing of what it had no room for."""
    holes_unseen: bool = False
    """It counts that, and does not say in which series."""
    cling_to_taken: bool = False
    """It drops nothing that was ever taken to be sent, before a receipt comes, and what is new instead."""
    deaf_to_versions: bool = False
    """A cloud answers in its own version, whatever the edge offers."""
    trust_clocks: bool = False
    """Reports are dated by the gateway's clock."""
    trust_earlier_clocks: bool = False
    """The same, only where no clock that was known to be right counted the age."""
    begin_unwritten: bool = False
    """A command is carried out before it is written down that it is."""
    carry_out_unknown: bool = False
    """A command is carried out before the cloud knows that it is begun."""
    deaf_to_deadlines: bool = False
    """A gateway begins commands whose time is over."""
    obey_any_life: bool = False
    """A gateway whose store began anew carries out what was given to the store before."""
    uncounted_answers: bool = False
    """Who is answered does not count the answer."""
    one_reading: bool = False
    """What a boot heard of the cloud's clock is taken for the next boot's, whose monotonic clock began anew."""


class World:
    """See the module."""

    def __init__(
        self,
        seed: int,
        *,
        edges: int = 2,
        replicas: int = 1,
        versions: tuple[int, ...] = (),
        cloud_version: int = NEWEST,
        plant: Plant | None = None,
        budgets: OutboxBudgets | None = None,
        settings: SyncSettings = SETTINGS,
    ) -> None:
        self.random = Random(seed)
        self.plant = plant or Plant()
        self.budgets = budgets or OutboxBudgets()
        self.settings = settings
        self.now_s = 0.0
        self.replica_count = replicas
        self.cloud_version = cloud_version
        self.plain_telemetry = bool(versions)
        """Agents of the first release may find the stores: they know no blocks, and refuse stores that have them."""
        self._events: list[tuple[float, int, Callable[[], None], str]] = []
        self._number = 0
        self.links: list[Link] = []
        self.transcript: list[str] = []
        self.recording = False
        self.digest = blake2b(digest_size=8)
        """Of every frame and when it was sent: two runs of one seed have the same."""
        self.leaving: set[str] = set()
        """Uids of pods that somebody asked to be deleted."""
        self.slow = 1.0
        self.checkers = Checkers(self)
        self.cloud = Cloud(self)
        self.edges = [
            Edge(self, f"edge-{number + 1}", version=versions[number] if number < len(versions) else NEWEST)
            for number in range(edges)
        ]
        for edge in self.edges:
            edge.start()

    # --- time ---

    def true_ms(self) -> int:
        return T0_MS + round(self.now_s * 1000)

    def at(self, when_s: float, act: Callable[[], None], about: str = "") -> None:
        self._number += 1
        heapq.heappush(self._events, (when_s, self._number, act, about))

    def after(self, delay_s: float, act: Callable[[], None], about: str = "") -> None:
        self.at(self.now_s + delay_s, act, about)

    @property
    def next_s(self) -> float | None:
        """When the next event is due."""
        return self._events[0][0] if self._events else None

    @property
    def next_about(self) -> str:
        """What the next event is."""
        return self._events[0][3] if self._events else ""

    def step(self) -> str:
        """The next event alone, and the look at all promises after it; what it was."""
        when_s, _, act, about = heapq.heappop(self._events)
        self.now_s = max(self.now_s, when_s)
        act()
        self.checkers.step()
        return about

    def run(self, seconds: float) -> None:
        """Let time pass, checking after every event."""
        until_s = self.now_s + seconds
        while self._events and self._events[0][0] <= until_s:
            self.step()
        self.now_s = until_s

    def latency_s(self) -> float:
        return self.slow * self.random.uniform(0.005, 0.2)

    def disk_s(self) -> float:
        return self.random.uniform(0.001, 0.3)

    def watch_s(self) -> float:
        return self.random.uniform(0.0, 0.3)

    # --- what people do in the cloud ---

    def config(self, name: str, text: str) -> None:
        obj: JsonObject = {"metadata": {"namespace": "default", "name": name}, "data": {"text": text}}
        self.cloud.write(Key("configmaps", "default", name), obj)

    def pod(self, name: str, edge: str, *configs: str, text: str = "") -> None:
        volumes: list[JsonObject] = [{"name": config, "configMap": {"name": config}} for config in configs]
        obj: JsonObject = {
            "metadata": {"namespace": "default", "name": name, "annotations": {"text": text}},
            "spec": {"nodeName": edge, "volumes": [*volumes]},
        }
        self.cloud.write(Key("pods", "default", name), obj)

    def service(self, name: str) -> None:
        obj: JsonObject = {"metadata": {"namespace": "default", "name": name}, "spec": {}}
        self.cloud.write(Key("services", "default", name), obj)

    def command(self, name: str, edge: str, expires_s: int) -> None:
        self.cloud.commands.give(name, edge, expires_s)

    def delete(self, resource: str, name: str) -> None:
        """Pods leave gracefully: they are marked, and go when their node says so."""
        key = Key(resource, "default", name)
        held = self.cloud.disk.objects.get(key)
        if held is None:
            return
        if resource == "pods" and b"deletionTimestamp" not in held.body:
            self.leaving.add(held.uid)
            obj = self.cloud_object(key)
            metadata = obj["metadata"]
            assert isinstance(metadata, dict)
            metadata["deletionTimestamp"] = "2026-11-21T03:00:00Z"
            self.cloud.write(key, obj)
        elif resource != "pods":
            self.cloud.write(key, None)

    def force_delete(self, name: str) -> None:
        self.cloud.write(Key("pods", "default", name), None)

    def cloud_object(self, key: Key) -> JsonObject:
        return decode_object(self.cloud.disk.objects[key].body)

    def bodies_held(self, edge: Edge) -> dict[str, bytes]:
        return {str(key): held.body for key, _ in edge.store.stamps() if (held := edge.store.get(key))}

    # --- what is seen ---

    def note(self, link: Link, sender: End, frame: Frame, size: int) -> None:
        self.checkers.frame(link, frame, size)
        self.digest.update(f"{self.now_s} {link.edge.name} {sender is link.edge} {frame}".encode())
        if self.recording:
            arrow = "->" if sender is link.edge else "<-"
            self.transcript.append(f"{self.now_s:8.3f} {link.edge.name} {arrow} {told(frame)} ({size} bytes)")


def told(frame: Frame) -> str:
    """A frame in one line, for people."""
    match frame:
        case Hello():
            about = f"node={frame.node} epoch={frame.epoch or '-'} revision={frame.revision} head={frame.outbox_head}"
        case Welcome():
            about = (
                f"epoch={frame.epoch} revision={frame.revision} received={frame.received} "
                f"in_step={str(frame.in_step).lower()}{_lanes(frame)}"
            )
        case Compare():
            about = f"batch={frame.batch} buckets={len(frame.buckets)}"
        case Stamps():
            entries = " ".join(f"{entry.key.name}@{entry.stamp.revision}" for entry in frame.entries)
            about = f"revision={frame.revision} buckets={len(frame.buckets)} [{entries}]"
        case Fetch():
            about = "[" + " ".join(key.name for key in frame.keys) + "]"
        case Objects():
            puts = " ".join(f"{put.key.name}@{put.stamp.revision}" for put in frame.puts)
            deletes = " ".join(key.name for key in frame.deletes)
            about = f"batch={frame.batch} puts=[{puts}] deletes=[{deletes}]"
        case Ack():
            about = f"batch={frame.batch}"
        case Reports():
            items = " ".join(f"{report.seq}:{report.kind}" for report in frame.reports)
            late = " late" if frame.late else ""
            about = f"lane={frame.lane} {frame.span.first}-{frame.span.through} [{items}]{late}"
        case Receipt():
            about = f"lane={frame.lane} {frame.first}-{frame.through}"
        case Close():
            about = f"code={frame.code} {frame.reason}"
        case _:
            about = ""
    more = " more" if isinstance(frame, Stamps | Objects) and frame.more else ""
    return f"{type(frame).__name__} {about}".rstrip() + more


def _lanes(welcome: Welcome) -> str:
    return "".join(f" lane{lane.lane}={Spans(lane.spans).text}" for lane in welcome.lanes)
