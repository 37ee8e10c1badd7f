"""Counts the frames of one link by class and direction. In memory; whoever owns the link takes the counts away."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

from skerry.objects.traffic import CLASSES, Usage
from skerry.sync.priorities import classified
from skerry.wire.frames import Frame

FRAME_WIRE_BYTES: Final = 81
"""What a small frame costs beyond itself where nobody counts: headers of IPv4 and TCP with timestamps (52), of a TLS
record (22), of a WebSocket message (6) ..."""
ANSWER_WIRE_BYTES: Final = 52
"""... and the packet that acknowledges it."""
SEGMENT_BYTES: Final = 1448
"""Payload of one TCP segment on a path with the usual MTU of 1500, with timestamps."""
FRAGMENT_BYTES: Final = 8 * 1024
"""Of a large message, as WebSocket links cut it; each is a TLS record of its own."""
_SESSION: Final = CLASSES.index("session")


@runtime_checkable
class WireCounted(Protocol):
    """A link that knows what the network carries for it."""

    def wire_bytes(self) -> tuple[int, int] | None:
        """(sent, received) since it was opened, in bytes of IP packets; None when it can't be said (any more)."""
        ...


def class_of(frame: Frame | None) -> int:
    """Index in `CLASSES`; a frame that only newer versions know counts for the session."""
    return _SESSION if frame is None else CLASSES.index(classified(frame)[1])


def wire_size(size: int) -> int:
    """About what the network carries for a frame of this many bytes, answers left out."""
    packets, fragments = -(-size // SEGMENT_BYTES), -(-size // FRAGMENT_BYTES)
    return size + max(1, packets) * ANSWER_WIRE_BYTES + max(1, fragments) * (FRAME_WIRE_BYTES - ANSWER_WIRE_BYTES)


class Meter:
    """One link's counts since they were last taken."""

    __slots__ = ("_frames_received", "_frames_sent", "_received", "_seen", "_sent", "_wire")

    def __init__(self) -> None:
        self._sent = [0] * len(CLASSES)
        self._received = [0] * len(CLASSES)
        self._frames_sent = self._frames_received = 0
        self._seen = self._wire = (0, 0)

    def sent(self, frame: Frame, size: int) -> None:
        self._sent[class_of(frame)] += size
        self._frames_sent += 1

    def received(self, frame: Frame | None, size: int) -> None:
        self._received[class_of(frame)] += size
        self._frames_received += 1

    @property
    def size(self) -> int:
        """Bytes of frames in both directions since the counts were last taken; cheap to ask for."""
        return sum(self._sent) + sum(self._received)

    def take(self, link: object, *, sent_is_up: bool) -> Usage:
        """What was counted since the last time, and count anew."""
        wire_sent, wire_received = self._wire_taken(link)
        sent = dict[str, int](zip(CLASSES, self._sent, strict=True))
        received = dict[str, int](zip(CLASSES, self._received, strict=True))
        self._sent = [0] * len(CLASSES)
        self._received = [0] * len(CLASSES)
        self._frames_sent = self._frames_received = 0
        if sent_is_up:
            return Usage(up=sent, down=received, wire_up=wire_sent, wire_down=wire_received)
        return Usage(up=received, down=sent, wire_up=wire_received, wire_down=wire_sent)

    def look(self, link: object) -> None:
        """Note what the network has carried: once the link has ended, nobody can say."""
        now = link.wire_bytes() if isinstance(link, WireCounted) else None
        if now is not None:
            self._seen = now

    def _wire_taken(self, link: object) -> tuple[int, int]:
        self.look(link)
        taken = (max(0, self._seen[0] - self._wire[0]), max(0, self._seen[1] - self._wire[1]))
        self._wire = self._seen
        sent, received = sum(self._sent), sum(self._received)
        if any(taken) or not (sent or received):
            return taken
        return (
            sent + FRAME_WIRE_BYTES * self._frames_sent + ANSWER_WIRE_BYTES * self._frames_received,
            received + FRAME_WIRE_BYTES * self._frames_received + ANSWER_WIRE_BYTES * self._frames_sent,
        )
