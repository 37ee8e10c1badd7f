"""A site: a network of its own, with a gateway and whatever stands beside it, and its link to the cloud."""

from __future__ import annotations

from dataclasses import dataclass, field

from skerry.frozen import replace
from skerry.testkit.real.lines import Carried, Line
from skerry.testkit.real.namespaces import Namespace
from skerry.testkit.real.pipe import CLEAR, Direction, Shape


@dataclass(slots=True)
class Link:
    """One site's link, as tests speak of it. What was done to it adds up until it is healed."""

    line: Line
    _shape: Shape = field(default_factory=Shape)
    _silent_up: bool = False
    _silent_down: bool = False
    _unplugged: bool = False

    def cut(self) -> None:
        """Nothing passes; connections end at both ends, and who dials at the site is told that there is no way."""
        self._unplugged = True
        self._put()
        self.line.sever()

    def half_open(self, *, up: bool = True, down: bool = True) -> None:
        """What is named goes silent and nobody is told: a dead NAT entry, a modem that hangs."""
        self._silent_up |= up
        self._silent_down |= down
        self._put()

    def slow(self, *, kbit: float | None = 64, loss: float = 0.05, delay_ms: float = 500) -> None:
        """A bad radio: so much a second and this share lost each way; `delay_ms` is the round trip's."""
        way = Direction(kbit=kbit, loss=loss, delay_ms=delay_ms / 2)
        self._shape = Shape(up=way, down=way)
        self._put()

    def slow_one_way(self, *, up: Direction = CLEAR, down: Direction = CLEAR) -> None:
        """Each direction for itself."""
        self._shape = Shape(up=replace(up, blocked=False), down=replace(down, blocked=False))
        self._put()

    def heal(self) -> None:
        """As it was when it was made."""
        self._shape = Shape()
        self._silent_up = self._silent_down = self._unplugged = False
        self._put()

    def _put(self) -> None:
        up, down = self._unplugged or self._silent_up, self._unplugged or self._silent_down
        self.line.shape(self._shape.blocked(up=up, down=down), unplugged=self._unplugged)

    def carried(self) -> Carried:
        return self.line.carried()


@dataclass(slots=True, kw_only=True)
class Site:
    """Where a gateway stands."""

    name: str
    number: int
    namespace: Namespace | None
    link: Link
    cloud: str
    """HOST:PORT that its gateway dials."""
