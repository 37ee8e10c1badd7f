"""Links of the simulated world: ordered, slow, and cut in every way that links are cut.

Frames travel as bytes, so the codec is in every run. Within one link nothing is reordered or lost before the
cut: TCP does not do that. Across two links of one edge, anything may interleave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from skerry.sync.traffic import Meter
from skerry.wire.codec import decode
from skerry.wire.frames import Frame, Pong
from tests.sim.releases import Release

if TYPE_CHECKING:
    from tests.sim.world import World


class End(Protocol):
    """Whoever is at one end."""

    name: str

    @property
    def release(self) -> Release: ...

    def arrived(self, link: Link, frame: Frame | None) -> None: ...
    def link_lost(self, link: Link) -> None: ...


@dataclass(slots=True)
class _Way:
    """One direction."""

    silent: bool = False
    last_s: float = 0.0
    sent_bytes: int = 0
    """By the sender, whatever became of it."""
    given_bytes: int = 0
    """To the receiver."""


@dataclass(eq=False, slots=True)
class Link:
    """One connection between an edge and the cloud."""

    world: World
    edge: End
    cloud: End
    up: _Way = field(default_factory=_Way)
    down: _Way = field(default_factory=_Way)
    ended: bool = False
    edge_gone: bool = False
    cloud_gone: bool = False
    frames: int = 0
    bytes_sent: int = 0
    books: tuple[Meter, Meter] = field(default_factory=lambda: (Meter(), Meter()))
    """What the edge and the cloud count, as their shells do."""
    cut_at_frame: int | None = None

    def send(self, sender: End, frame: Frame) -> None:
        data: bytes = sender.release.codec.encode(frame)
        self.frames += 1
        self.bytes_sent += len(data)
        noted = decode(data)
        assert noted is not None, "every release's frames are known to this one"
        self.world.note(self, sender, noted, len(data))
        self._book(sender).sent(noted, len(data))
        way, receiver = (self.up, self.cloud) if sender is self.edge else (self.down, self.edge)
        way.sent_bytes += len(data)
        if self.cut_at_frame is not None and self.frames >= self.cut_at_frame:
            self.cut()
            return
        if self.ended or way.silent:
            return
        way.last_s = max(way.last_s + 0.0001, self.world.now_s + self.world.latency_s())
        about = f"{sender.name} -> {receiver.name}: {type(frame).__name__}"
        self.world.at(way.last_s, lambda: self._deliver(receiver, data, noted, way), about)

    def _deliver(self, receiver: End, data: bytes, noted: Frame, way: _Way) -> None:
        gone = self.edge_gone if receiver is self.edge else self.cloud_gone
        if not (self.ended or way.silent or gone):
            way.given_bytes += len(data)
            if not (self.world.plant.uncounted_answers and isinstance(noted, Pong)):
                self._book(receiver).received(noted, len(data))
            receiver.arrived(self, receiver.release.codec.decode(data))

    def _book(self, end: End) -> Meter:
        return self.books[0] if end is self.edge else self.books[1]

    def cut(self) -> None:
        """Both ends hear of it, each in its own time."""
        if not self.ended:
            self.ended = True
            self._tell(self.edge)
            self._tell(self.cloud)

    def half_open(self, *, up: bool, down: bool) -> None:
        """From now on nothing arrives in these directions, and nobody is told."""
        self.up.silent |= up
        self.down.silent |= down

    def hang_up(self, who: End) -> None:
        """One end closes; the other hears of it after what is on its way, unless the line is dead."""
        if who is self.edge:
            self.edge_gone = True
            way, other = self.up, self.cloud
        else:
            self.cloud_gone = True
            way, other = self.down, self.edge
        if not (self.ended or way.silent):
            way.last_s = max(way.last_s + 0.0001, self.world.now_s + self.world.latency_s())
            self.world.at(way.last_s, lambda: self._tell(other), f"{other.name}: the peer hung up")

    def vanish(self, who: End) -> None:
        """One end lost power: what it sent before still arrives, and nobody is told."""
        if who is self.edge:
            self.edge_gone = True
        else:
            self.cloud_gone = True

    def _tell(self, end: End) -> None:
        gone: Callable[[], bool] = lambda: self.edge_gone if end is self.edge else self.cloud_gone  # noqa: E731
        self.world.after(
            self.world.latency_s(), lambda: None if gone() else end.link_lost(self), f"{end.name}: the link is lost"
        )
