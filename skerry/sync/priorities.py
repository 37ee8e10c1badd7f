"""What is sent first when a link cannot take everything at once, and in what pieces.

A gateway on 64 kbit/s has megabytes to say and one heartbeat to show that it lives. So frames wait by priority, and
are cut to what the link was seen to take in an eighth of a heartbeat. Within a priority order never changes:
objects, stamps and comparisons of one side mean something only in their order, and so do the reports of a lane.
Across priorities order is free, because no frame relies on one of another class: an `Ack` or `Receipt` says what is
durable, whatever else is on its way. Pure; what waits is lost in a crash, and the next session compares.
"""

from __future__ import annotations

import heapq
import math
from enum import IntEnum
from typing import Final

from skerry.frozen import replace
from skerry.objects.traffic import TrafficClass
from skerry.wire.frames import (
    PROMPT,
    Ack,
    Close,
    Compare,
    Fetch,
    Frame,
    Hello,
    Objects,
    Ping,
    Pong,
    Receipt,
    Reports,
    Stamps,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
    Welcome,
)

FRAMES_MAX: Final = 256
"""Frames that wait. The windows of a session keep it to some dozens on either side (receipts of what was reported,
acknowledgements of what was pushed): more are waiting only for a peer that asks and does not read the answers."""
PART_BYTES_MIN: Final = 4 * 1024
"""However slow the link is, pieces are not cut below this: each costs a header and, on the other side, an answer."""
PART_OF_HEARTBEAT: Final = 1 / 8
"""How long one piece may take: what is urgent waits at most that long behind a piece that is being sent."""


class Priority(IntEnum):
    """Smaller goes first."""

    LIVENESS = 0
    """Greetings and signs of life. Small."""
    ANSWERS = 1
    """What opens the peer's windows or asks for something. Small."""
    PROMPT = 2
    """Reports of what is the case, and the end of a session, which follows them."""
    OBJECTS = 3
    """The view: comparisons and objects."""
    STREAMS = 4
    LIVE = 5
    """Bulk reports of now."""
    BACKFILL = 6
    """Bulk reports of an earlier time."""


def classified(frame: Frame) -> tuple[Priority, TrafficClass]:
    """What a frame is: the class in which it waits, and the one that its bytes are counted in.

    They differ where something small is urgent for a reason of its own: acknowledgements and comparisons are the
    session's, whatever they stand in line with. An edge's `Compare` says something and goes with its `Fetch`
    and `Ack`; a cloud's is empty and stands in line with the objects, so that both sides compare what is of the same
    moment.
    The reports of a version 1 gateway have no lanes: they travel in one order, and are all prompt.
    """
    match frame:
        case Hello() | Welcome() | Ping() | Pong():
            return Priority.LIVENESS, "session"
        case Receipt() | Ack() | Fetch():
            return Priority.ANSWERS, "session"
        case Compare():
            return Priority.ANSWERS if frame.root or frame.buckets else Priority.OBJECTS, "session"
        case Reports():
            if frame.lane == PROMPT:
                return Priority.PROMPT, "prompt"
            return (Priority.BACKFILL, "backfill") if frame.late else (Priority.LIVE, "live")
        case Close():
            return Priority.PROMPT, "session"
        case Objects() | Stamps():
            return Priority.OBJECTS, "objects"
        case StreamOpen() | StreamData() | StreamCredit() | StreamClose():
            return Priority.STREAMS, "streams"


def priority_of(frame: Frame) -> Priority:
    """The class in which a frame waits."""
    return classified(frame)[0]


def as_sent(frame: Frame, waited_s: float) -> Frame:
    """The frame as it is when it goes out after a wait: reports have grown older by it."""
    waited_ms = math.floor(waited_s * 1000)
    if not isinstance(frame, Reports) or waited_ms <= 0:
        return frame
    aged = tuple(replace(report, age_ms=report.age_ms + waited_ms) for report in frame.reports)
    return replace(frame, reports=aged)


class Outgoing:
    """Frames that wait for the link. One small list, because a hub holds ten thousand of these."""

    __slots__ = ("_number", "_pong", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[tuple[Priority, int, list[Frame], float]] = []
        """Class, order, the frame, and since when it waits."""
        self._number = 0
        self._pong: list[Frame] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def overflows(self) -> bool:
        """The peer asks for more than it reads."""
        return len(self._waiting) > FRAMES_MAX

    def first(self) -> Priority | None:
        """The class of the next frame; None when nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, frame: Frame, priority: Priority | None = None, *, now_s: float = 0.0) -> None:
        """Put a frame in line, in its own class unless another is given.

        A `Pong` takes the place of one that waits: they all say the same. A `Close` ends what may still be said:
        frames of a later class than its own are dropped.
        """
        if isinstance(frame, Pong) and self._pong is not None:
            self._pong[0] = frame
            return
        place = [frame]
        if isinstance(frame, Pong):
            self._pong = place
        if priority is None:
            priority = priority_of(frame)
        if isinstance(frame, Close):
            self._waiting = [entry for entry in self._waiting if entry[0] <= priority]
            heapq.heapify(self._waiting)
        self._number += 1
        heapq.heappush(self._waiting, (priority, self._number, place, now_s))

    def take(self, *, now_s: float = 0.0) -> Frame:
        """The next frame, out of the line, as it is after its wait (`as_sent`)."""
        _, _, place, since_s = heapq.heappop(self._waiting)
        if place is self._pong:
            self._pong = None
        return as_sent(place[0], now_s - since_s)

    def clear(self) -> None:
        self._waiting.clear()
        self._pong = None


class Pace:
    """How large a piece may be on this link: what it takes in `PART_OF_HEARTBEAT` of a heartbeat.

    Learnt from how long the link took for each frame. A fast link keeps to the largest piece allowed; a slow one is
    found out with its first large frame, and a link that became better with a few more.
    """

    __slots__ = ("_bytes_max", "_capped_max", "_learnt")

    def __init__(self, part_bytes_max: int) -> None:
        self._bytes_max = self._learnt = self._capped_max = part_bytes_max

    @property
    def part_bytes(self) -> int:
        """Largest piece at the moment."""
        return min(self._learnt, self._capped_max)

    def sent(self, size: int, *, took_s: float, heartbeat_s: float) -> None:
        """The link took a frame of `size` bytes in this time."""
        target_s = heartbeat_s * PART_OF_HEARTBEAT
        if took_s > target_s:
            fitting = min(round(size * target_s / took_s), self._learnt)
            self._learnt = max(min(PART_BYTES_MIN, self._bytes_max), fitting)
        elif took_s < target_s / 2 and size >= self.part_bytes // 8:
            self._learnt = min(self._bytes_max, self._learnt * 5 // 4)

    def capped(self, bytes_s: int | None, *, heartbeat_s: float) -> None:
        """The link may carry so many bytes in a second, however many it could; None: all that it can."""
        fitting = self._bytes_max if bytes_s is None else round(bytes_s * heartbeat_s * PART_OF_HEARTBEAT)
        self._capped_max = min(self._bytes_max, max(PART_BYTES_MIN, fitting))
