"""What was said on a broker while somebody listened: the newest of each topic, within bounds.

Whoever may publish there decides how much that is, and the gateway that listens is small. What goes beyond the bounds
is not kept, and told. Pure; kept in memory while somebody asks.
"""

from __future__ import annotations

from typing import Final

DOCUMENT_BYTES_MAX: Final = 64 * 1024
"""Of one message. Home Assistant's largest announcements, of devices with a hundred entities, have a quarter."""
BYTES_MAX: Final = 8 << 20
"""Of all messages and their topics."""
DOCUMENTS_MAX: Final = 10_000
NAMED_MAX: Final = 20
"""Topics whose messages are too large, told by name."""
_TOPIC_SHOWN: Final = 200


class Collected:
    """The newest message by topic. Where it is not kept, nor is an older one: it is past."""

    __slots__ = ("_bytes", "_large", "_larger", "_others", "documents")

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self._bytes = 0
        self._large: dict[str, int] = {}
        self._larger = 0
        self._others = 0

    def take(self, topic: str, payload: bytes) -> None:
        before = self.documents.pop(topic, None)
        if before is not None:
            self._bytes -= len(topic) + len(before)
        if len(payload) > DOCUMENT_BYTES_MAX:
            self._leave_out(topic, len(payload))
        elif self._bytes + len(topic) + len(payload) > BYTES_MAX or len(self.documents) >= DOCUMENTS_MAX:
            self._others += 1
        else:
            self._bytes += len(topic) + len(payload)
            self.documents[topic] = payload

    def _leave_out(self, topic: str, size: int) -> None:
        shown = topic[:_TOPIC_SHOWN]
        if shown in self._large or len(self._large) < NAMED_MAX:
            self._large[shown] = size
        else:
            self._larger += 1

    def left_out(self) -> tuple[str, ...]:
        """For people, with what to do about it."""
        most = f"{DOCUMENT_BYTES_MAX // 1024} KiB"
        lines = [f"{topic}: its {size} bytes are more than {most}" for topic, size in self._large.items()]
        if self._larger:
            lines.append(f"{self._larger} more messages of more than {most}")
        if self._others:
            lines.append(
                f"{self._others} messages, as {DOCUMENTS_MAX} topics and {BYTES_MAX >> 20} MiB are heard at once: "
                "remove at the broker what is retained and belongs to no device"
            )
        return tuple(lines)
