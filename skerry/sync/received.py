"""What of an outbox has taken effect, lane by lane: the value that makes exactly once hold in any order of sending.

The cloud keeps one for each life of a node's outbox, in the transaction of the effects, written as text
(`1-100;1-50,90-95`: a lane after the other). Pure; a crash leaves what that transaction left.
"""

from __future__ import annotations

from collections.abc import Iterable

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.spans import Span, Spans
from skerry.wire.frames import LANES, LaneReceived


class Received(Frozen, kw_only=False):
    """See the module. `Received()` is that of a new outbox."""

    lanes: tuple[Spans, ...] = (Spans(),) * len(LANES)

    @classmethod
    def upto(cls, through: int) -> Received:
        """Everything up to a number, in every lane: what version 1 knows."""
        return cls((Spans.upto(through),) * len(LANES))

    @classmethod
    def read(cls, text: str) -> Received:
        """What `text` wrote. Raises `InvalidError` where it did not."""
        parts = text.split(";")
        if len(parts) > len(LANES):
            raise InvalidError(f"{len(parts)} lanes are more than {len(LANES)}")
        lacking = len(LANES) - len(parts)
        return cls((*map(Spans.read, parts), *(Spans() for _ in range(lacking))))

    @classmethod
    def told(cls, through: int, lanes: Iterable[LaneReceived]) -> Received:
        """What a `Welcome` says. Raises `InvalidError` where it says no set."""
        found = list(cls.upto(through).lanes)
        for lane in lanes:
            if lane.lane not in LANES:
                raise InvalidError(f"lane {lane.lane} is not known")
            found[lane.lane] = Spans.of(lane.spans)
        return cls(tuple(found))

    @property
    def text(self) -> str:
        return ";".join(spans.text for spans in self.lanes)

    @property
    def unbroken(self) -> int:
        """Up to which everything took effect, whatever its lane."""
        return min(spans.unbroken for spans in self.lanes)

    @property
    def top(self) -> int:
        """The highest number of all lanes; 0 when nothing took effect."""
        return max(spans.top for spans in self.lanes)

    @property
    def beyond(self) -> tuple[LaneReceived, ...]:
        """The lanes of which more took effect than up to `unbroken`, for `Welcome`."""
        same = Spans.upto(self.unbroken)
        return tuple(
            LaneReceived(lane=lane, spans=spans.spans) for lane, spans in enumerate(self.lanes) if spans != same
        )

    def add(self, lane: int, span: Span) -> Received:
        """With a span of one lane."""
        lanes = list(self.lanes)
        lanes[lane] = lanes[lane].add(span)
        return Received(tuple(lanes))
