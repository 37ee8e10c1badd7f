"""Both session machines, hand in hand, with frames that the test may hold back or forge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from skerry.objects.blocks import count_of
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span
from skerry.sync.cloud import Admission, CloudSession
from skerry.sync.edge import EdgeIdentity, EdgeSession
from skerry.sync.effects import CloudEffect, EdgeEffect, Send
from skerry.sync.ports import BootTimes, Instant, SyncSettings, Taken
from skerry.sync.received import Received
from skerry.wire.frames import BULK, PROMPT, Frame, Hello, ObjectState, Start, Welcome


def at(seconds: float) -> Instant:
    return Instant(monotonic_s=seconds, wall_ms=1_790_000_000_000 + round(seconds * 1000))


def key(name: str, resource: str = "configmaps") -> Key:
    return Key(resource, "ns", name)


def state(name: str, revision: int, *, size: int = 10, resource: str = "configmaps") -> ObjectState:
    return ObjectState(key=key(name, resource), stamp=Stamp(f"uid-{name}", Revision(revision)), body=b"x" * size)


@dataclass(slots=True)
class FakeView:
    """A view in a dictionary."""

    revision: Revision = field(default=Revision(10))
    states: dict[Key, ObjectState] = field(default_factory=dict[Key, ObjectState])
    closures: dict[Key, tuple[Key, ...]] = field(default_factory=dict[Key, tuple[Key, ...]])

    def put(self, *states: ObjectState) -> tuple[Key, ...]:
        for one in states:
            self.states[one.key] = one
            self.revision = Revision(max(self.revision, one.stamp.revision))
        return tuple(one.key for one in states)

    def stamps(self) -> Iterator[tuple[Key, Stamp]]:
        yield from ((one.key, one.stamp) for one in self.states.values())

    def state(self, key: Key) -> ObjectState | None:
        return self.states.get(key)

    def closure(self, key: Key) -> Sequence[Key]:
        return self.closures.get(key, ())

    def secret(self, key: Key) -> bool:
        return key.resource == "secrets"

    def prompt(self, key: Key) -> bool:
        return key.resource == "devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A report in a fake outbox."""

    seq: int
    body: bytes = b"{}"
    kind: str = "telemetry"
    key: str = "series"
    wall_ms: int = 1_790_000_000_000
    boot_id: str = "boot"
    monotonic_ms: int = 0

    @property
    def lane(self) -> int:
        return BULK if self.kind.startswith("telemetry") else PROMPT


@dataclass(slots=True)
class FakeOutbox:
    items: list[Item] = field(default_factory=list[Item])
    head: int = 0
    left: int | None = None
    """None: everything was sent before."""
    starts: list[Start] = field(default_factory=list[Start])
    known_boots: list[BootTimes] = field(default_factory=list[BootTimes])
    held_from: int | None = None
    """A write under way has hold of the items from this number on."""
    out: set[int] = field(default_factory=set[int])
    """Taken in this session and not given back."""
    settled: list[tuple[int | None, Span]] = field(default_factory=list[tuple[int | None, Span]])

    def add(self, *items: Item) -> None:
        self.items += items
        self.head = max(self.head, *(item.seq for item in items))

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> list[Item]:
        return [item for item in self.items if item.seq > after and lane in (None, item.lane)][:limit]

    def take(self, *, after: int, limit: int, lane: int | None = None, until: int | None = None) -> Taken[Item]:
        found = self.outbox(after=after, limit=limit, lane=lane)
        if until is not None:
            found = [item for item in found if item.seq - count_of(item.kind, item.body) < until]
        free = [item for item in found if self.held_from is None or item.seq < self.held_from]
        self.out |= {item.seq for item in free}
        return Taken(items=free, complete=len(free) == len(found))

    def give_back(self, seqs: Sequence[int]) -> None:
        self.out -= set(seqs)

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        self.settled = list(settled)
        self.out.clear()

    def outbox_head(self) -> int:
        return self.head

    def outbox_left(self) -> int:
        return self.head if self.left is None else self.left

    def outbox_starts(self) -> tuple[Start, ...]:
        return tuple(self.starts)

    def note_sent(self, through: int) -> None:
        if self.left is not None:
            self.left = max(self.left, through)

    def boots(self) -> tuple[BootTimes, ...]:
        return tuple(self.known_boots)


def an_edge(
    held: dict[Key, Stamp] | None = None,
    outbox: FakeOutbox | None = None,
    *,
    epoch: str = "e1",
    revision: int = 5,
    settings: SyncSettings | None = None,
    leaving: bool = True,
) -> EdgeSession:
    identity = EdgeIdentity(
        node="eu-1",
        agent_version="0",
        incarnation="i1",
        boot_id="boot",
        epoch=epoch,
        revision=Revision(revision),
        leaving=leaving,
    )
    return EdgeSession(identity, (held or {}).items(), outbox or FakeOutbox(), at(0), settings)


def welcome(**fields: object) -> Welcome:
    given: dict[str, object] = {
        "version": 1,
        "session": 1,
        "server_ms": 1_790_000_000_000,
        "heartbeat_ms": 30_000,
        "epoch": "e1",
        "revision": Revision(10),
        "received": 0,
        "in_step": True,
    }
    return Welcome(**{**given, **fields})  # type: ignore[arg-type]


def hello(**fields: object) -> Hello:
    given: dict[str, object] = {
        "versions": (1,),
        "node": "eu-1",
        "agent_version": "0",
        "incarnation": "i1",
        "epoch": "e1",
        "revision": Revision(5),
        "root": 0,
        "outbox_head": 0,
    }
    return Hello(**{**given, **fields})  # type: ignore[arg-type]


def a_cloud(
    view: FakeView, *, settings: SyncSettings | None = None, received: Received | None = None, **fields: object
) -> CloudSession:
    """A session that has admitted its edge."""
    session = CloudSession(at(0), settings)
    session.receive(hello(**fields), at(0))
    session.effects()
    session.admitted(Admission(view=view, epoch="e1", session=1, received=received or Received()), at(0))
    return session


def said(session: CloudSession | EdgeSession) -> list[Frame]:
    """All that a session says to a link that has room for everything."""
    told = frames(session.effects())
    while (frame := session.idle_frame()) is not None:
        told.append(frame)
    return told


def frames(effects: Sequence[EdgeEffect] | Sequence[CloudEffect]) -> list[Frame]:
    return [effect.frame for effect in effects if isinstance(effect, Send)]


def only(effects: Sequence[EdgeEffect] | Sequence[CloudEffect], kind: type) -> list[object]:
    """What was asked of one kind: an effect, or a frame in a Send."""
    found: list[object] = [effect for effect in effects if isinstance(effect, kind)]
    return found + [frame for frame in frames(effects) if isinstance(frame, kind)]
