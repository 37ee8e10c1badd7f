"""Both session machines under a shell that keeps the shell's side of the contract, and nobody who keeps the peer's.

After every call: whatever came, no exception; what is asked for is well formed, in order, and ends with
`CloseLink`; while a session is open it has a deadline, and telling it the time at its deadline moves that on; and all
that it holds has a bound. A breach raises `FaultError`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import fields, is_dataclass
from typing import Final, Generic, TypeVar, cast

from skerry.errors import ProtocolError
from skerry.frozen import Frozen, as_dict
from skerry.objects.meta import Key, Revision, Stamp
from skerry.sync.cloud import Admission, CloudSession, CloudState
from skerry.sync.edge import UNWRITTEN_MAX, EdgeIdentity, EdgeSession, EdgeState
from skerry.sync.effects import Admit, CloseLink, Commit, Send, Write
from skerry.sync.intake import WAITING_REPORTS_MAX
from skerry.sync.ports import Instant, SyncSettings
from skerry.sync.received import Received
from skerry.wire.codec import decode, encode
from skerry.wire.frames import CloseCode, Frame
from tests.skerry.sync.conversation import FakeOutbox, FakeView, Item, at, key, state

SETTINGS: Final = SyncSettings(fetch_keys=8, window_batches=3, reports_max=4, report_frames=3)
ITEMS_MAX: Final = 40_000
"""Of everything that a machine holds: far above what any of these conversations makes lawful."""
BYTES_MAX: Final = 140_000_000


class FaultError(AssertionError):
    """A machine broke its contract."""


def broken(text: str) -> None:
    raise FaultError(text)


def weigh(root: object, shared: tuple[object, ...] = ()) -> tuple[int, int]:
    """(items, bytes) in all containers reachable from `root`, without what is shared with the shell."""
    seen = {id(one) for one in shared}
    items = size = 0
    line: list[object] = [root]
    while line:
        one = line.pop()
        if one is None or isinstance(one, bool | int | float | type) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, str | bytes):
            size += len(one)
        elif isinstance(one, dict):
            held = cast("dict[object, object]", one)
            items += len(held)
            line += [*held.keys(), *held.values()]
        elif isinstance(one, list | tuple | set | frozenset | deque):
            many = cast("list[object]", one)
            items += len(many)
            line += many
        elif isinstance(one, Frozen):
            line += as_dict(one).values()
        elif is_dataclass(one):
            line += [getattr(one, field.name) for field in fields(one)]
        elif type(one).__module__.startswith("skerry.sync"):
            line += vars(one).values() if hasattr(one, "__dict__") else ()
    return items, size


M = TypeVar("M", EdgeSession, CloudSession)


class _Shell(Generic[M]):
    """What both have in common: a clock, and what was asked."""

    machine: M
    shared: tuple[object, ...]

    def __init__(self) -> None:
        self.now_s = 0.0
        self.closed = False
        self.said: list[Frame] = []

    @property
    def now(self) -> Instant:
        return at(self.now_s)

    def receive(self, frame: Frame | None) -> None:
        self.machine.receive(frame, self.now)
        self.settle()

    def receive_bytes(self, data: bytes) -> None:
        """As the driver does."""
        try:
            frame = decode(data)
        except ProtocolError as error:
            self.machine.refuse(str(error), self.now)
            self.settle()
        else:
            self.receive(frame)

    def wait(self, seconds: float) -> None:
        """Time passes; early calls of `tick` are allowed."""
        self.now_s += seconds
        self.machine.tick(self.now)
        self.settle()

    def wait_until_due(self) -> None:
        deadline = self.machine.deadline()
        if deadline is not None:
            self.now_s = max(self.now_s, deadline)
            self.machine.tick(self.now)
            self.settle()
            after = self.machine.deadline()
            if after is not None and after <= self.now_s:
                broken(f"a deadline at {deadline} is followed by one at {after}: the shell would spin")

    def lose(self) -> None:
        self.machine.lost("cut")
        self.settle()

    def link_takes(self, most: int = 4) -> None:
        """The link has room for so many frames of the view and of streams."""
        for _ in range(most):
            frame = self.machine.idle_frame()
            if frame is None:
                return
            self._sendable(frame)

    def settle(self) -> None:
        """Drain the effects, and look at what is held."""
        for effect in self.machine.effects():
            if self.closed:
                broken(f"{effect} after the end")
            if isinstance(effect, Send):
                self._sendable(effect.frame)
                self.said.append(effect.frame)
            elif isinstance(effect, CloseLink):
                self.closed = True
            else:
                self.asked(effect)
        if self.machine.effects():
            broken("effects that nothing led to")
        deadline = self.machine.deadline()
        if self.closed != (deadline is None):
            broken(f"closed is {self.closed}, and the deadline {deadline}")
        if deadline is not None and not math.isfinite(deadline):
            broken(f"a deadline of {deadline}")
        items, size = weigh(self.machine, self.shared)
        if items > ITEMS_MAX or size > BYTES_MAX:
            broken(f"{items} items and {size} bytes are held")

    def asked(self, effect: object) -> None:
        raise NotImplementedError

    def _sendable(self, frame: Frame) -> None:
        if decode(encode(frame)) != frame:
            broken(f"what is read is not what was sent: {frame}")


class EdgeUnderTest(_Shell[EdgeSession]):
    """A gateway that holds a few objects and has a few reports; the cloud is the adversary."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = FakeOutbox()
        self.outbox.add(*(Item(seq=number, body=b"{}" * number) for number in range(1, 20)))
        self.writes: deque[Write] = deque()
        self.numbers = 0
        identity = EdgeIdentity(
            node="eu-1",
            agent_version="0",
            incarnation="i1",
            boot_id="boot",
            epoch="e1",
            revision=Revision(5),
        )
        held: dict[Key, Stamp] = {
            key(f"c-{number}"): Stamp(f"uid-c-{number}", Revision(number)) for number in range(6)
        }
        self.machine = EdgeSession(identity, held.items(), self.outbox, self.now, SETTINGS)
        self.shared = (self.outbox, SETTINGS, identity)
        self.settle()

    def asked(self, effect: object) -> None:
        if isinstance(effect, Write):
            self.numbers += 1
            if effect.number != self.numbers:
                broken(f"write {effect.number} after {self.numbers - 1}")
            if {put.key for put in effect.puts} & set(effect.deletes):
                broken("one write puts and deletes the same key")
            self.writes.append(effect)
            if len(self.writes) > 2 * UNWRITTEN_MAX + 2:
                broken(f"{len(self.writes)} writes are outstanding")

    def write_ends(self) -> None:
        if self.writes:
            self.machine.written(self.writes.popleft().number, self.now)
            self.settle()

    def append(self, count: int, size: int) -> None:
        head = self.outbox.head
        self.outbox.add(*(Item(seq=head + 1 + number, body=bytes(size)) for number in range(count)))
        self.machine.appended(self.now)
        self.settle()

    @property
    def is_open(self) -> bool:
        return self.machine.state is not EdgeState.CLOSED


class CloudUnderTest(_Shell[CloudSession]):
    """A cloud with a view of a few objects; the edge is the adversary, the database may take its time."""

    def __init__(self) -> None:
        super().__init__()
        self.view = FakeView()
        self.view.put(*(state(f"c-{number}", number + 1, size=40 * number) for number in range(12)))
        self.view.put(state("web", 20, resource="pods"))
        self.view.closures[key("web", "pods")] = (key("c-1"), key("c-2"))
        self.machine = CloudSession(self.now, SETTINGS)
        self.shared = (self.view, SETTINGS)
        self.admits: deque[Admit] = deque()
        self.commits: deque[Commit] = deque()
        self.settle()

    def asked(self, effect: object) -> None:
        if isinstance(effect, Admit):
            self.admits.append(effect)
        elif isinstance(effect, Commit):
            if self.commits:
                broken("two commits at once")
            if not effect.covered or len(effect.reports) > WAITING_REPORTS_MAX:
                broken(f"a commit of {len(effect.reports)} reports, {len(effect.covered)} spans")
            self.commits.append(effect)

    def admit(self, *, behind: bool, epoch: str) -> None:
        if self.admits:
            self.admits.popleft()
            if behind:
                self.view.revision = Revision(1)
            self.machine.admitted(Admission(view=self.view, epoch=epoch, session=7, received=Received()), self.now)
            self.settle()

    def catch_up(self) -> None:
        """The view moves, as its watcher does."""
        self.change("c-1", gone=False)

    def change(self, name: str, *, gone: bool) -> None:
        revision = Revision(self.view.revision + 10)
        if gone:
            self.view.states.pop(key(name), None)
            self.view.revision = revision
        else:
            self.view.put(state(name, revision, size=100))
        self.machine.changed((key(name),), self.now)
        self.settle()

    def commit_ends(self, *, conflict: bool) -> None:
        if self.commits:
            self.commits.popleft()
            if conflict:
                self.machine.close(CloseCode.FENCED, "a newer session took over")
            else:
                self.machine.committed()
            self.settle()

    def close(self) -> None:
        self.machine.close(1, "stopping")
        self.settle()

    @property
    def is_open(self) -> bool:
        return self.machine.state is not CloudState.CLOSED
