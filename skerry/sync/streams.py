"""Streams of bytes beside the state: logs, questions, and conversations with what runs on a node.

Bytes go both ways, each way with a credit of its own: each side says how many bytes it is ready to take, and the
other never sends more, so neither a slow reader nor a slow link fills memory. Either way may end before the other.
Frames wait until the session has nothing else to say: state goes first, and the streams take turns, so that a
keystroke waits for one piece of a copy and not for all that stands in line. Streams live and die with their session;
nothing survives a crash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from skerry.errors import ProtocolError
from skerry.sync.effects import (
    StreamArrived,
    StreamEffect,
    StreamEnded,
    StreamInputEnded,
    StreamOpened,
    StreamWritable,
)
from skerry.wire.frames import StreamClose, StreamCredit, StreamData, StreamOpen

STREAMS_MAX: Final = 128
"""Open at once in one session: a few people with `logs -f` each, and a browser behind a port-forward."""
CREDIT_BYTES: Final = 64 * 1024
"""What a reader takes at first before it must say that it has used some."""
CREDIT_BYTES_MAX: Final = 512 * 1024
"""What it takes when it has kept pace: enough for 10 MB/s with 50 ms to the other side and back. Not more than twice
what a peer of the first release holds ready (256 KiB), which would wait for credit that never comes."""
GROWN_BYTES_MAX: Final = 4 * 1024 * 1024
"""What the readers of one session take together beyond their first credit."""
LINE_BYTES_MAX: Final = 64 * 1024
"""What one stream has in line, however much the peer takes: what waits here grows old on a slow link, and `^C` comes
only after it."""
CHUNK_BYTES: Final = 8 * 1024
"""Largest piece of a stream on a link that has not shown to be fast: how long state may wait for it (under a second
at 10 KB/s)."""
CHUNK_BYTES_MAX: Final = 56 * 1024
"""On one that has: a frame costs the same whatever it carries. Its peer takes 64 KiB."""
CHUNK_S: Final = 0.02
"""What a larger piece may take by what was seen, and so hold up state."""
PROOF_BYTES: Final = 256 * 1024
"""By how much it is seen: what is on its way and in buffers of a slow link looks fast as well."""
SLOW_S: Final = 0.1
"""A frame that takes so long says at once that the link is not fast any more."""

LINE_MAX: Final = 4096
"""Streams with something in line, those among them that were refused."""

STREAM_DONE: Final = 0
STREAM_REFUSED: Final = 1
"""The kind is unknown, the parameters make no sense, or too many are open."""
STREAM_FAILED: Final = 2
STREAM_LOST: Final = 3
"""The session ended under it."""
STREAM_NOT_FOUND: Final = 4
STREAM_BAD_REQUEST: Final = 5
STREAM_UNCERTAIN: Final = 6
"""What was asked for may have been done."""

StreamFrame = StreamOpen | StreamData | StreamCredit | StreamClose


@dataclass(slots=True)
class _Line:
    """What one stream has to say, in this order: that it is open, what it takes, its bytes, and its ends."""

    opening: StreamOpen | None = None
    credit: int = 0
    data: bytearray = field(default_factory=bytearray)
    last: bool = False
    closing: StreamClose | None = None

    @property
    def empty(self) -> bool:
        return not (self.opening or self.credit or self.data or self.last or self.closing)


@dataclass(slots=True)
class _Stream:
    line: _Line
    can_send: int
    """Bytes the peer takes, less what waits in line here."""
    can_take: int = CREDIT_BYTES
    """Bytes we said we take, less what came."""
    window: int = CREDIT_BYTES
    unread: int = 0
    """Bytes that came and our reader has not used."""
    used: int = 0
    """Bytes used up by our reader and not yet given back as credit."""
    has_ended: bool = False
    """We send nothing more."""
    peer_has_ended: bool = False


class Chunks:
    """How large a piece may be, by how long the link took for what was sent."""

    __slots__ = ("_bytes", "_seconds", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = CHUNK_BYTES
        self._bytes = 0
        self._seconds = 0.0

    def sent(self, size: int, took_s: float) -> None:
        """The link took a frame of this many bytes in this time."""
        if took_s > SLOW_S:
            self.size_bytes = max(CHUNK_BYTES, min(self.size_bytes, round(size * CHUNK_S / took_s)))
            self._bytes, self._seconds = 0, 0.0
            return
        self._bytes += size
        self._seconds += took_s
        if self._bytes >= PROOF_BYTES:
            fitting = round(self._bytes * CHUNK_S / max(self._seconds, 1e-6))
            self.size_bytes = max(CHUNK_BYTES, min(CHUNK_BYTES_MAX, fitting))
            self._bytes, self._seconds = 0, 0.0


class Streams:
    """The multiplexer of one session. The cloud opens odd ids, the edge even ones."""

    def __init__(self, *, first: int) -> None:
        assert first in (1, 2)
        self._next = first
        self._parity = first % 2
        self._open: dict[int, _Stream] = {}
        self._lines: dict[int, _Line] = {}
        """Of those with something to say, the next in turn first. A stream that is closed stays until it is said."""
        self._grown = 0
        """Bytes that windows of open streams are larger than at first."""
        self._effects: list[StreamEffect] = []
        self.chunks = Chunks()

    def open(self, kind: str, params: bytes) -> int:
        """Open a stream to the peer; its id."""
        stream = self._next
        self._next += 2
        line = _Line(opening=StreamOpen(stream=stream, kind=kind, params=params, credit=CREDIT_BYTES))
        self._open[stream] = _Stream(line, can_send=0)
        self._lines[stream] = line
        return stream

    def full(self) -> bool:
        """No further stream can be opened now."""
        return len(self._open) >= STREAMS_MAX

    def room(self, stream: int) -> int:
        """Bytes that `send` takes now; 0 when the stream has ended."""
        state = self._open.get(stream)
        if state is None or state.has_ended:
            return 0
        return max(0, min(state.can_send, LINE_BYTES_MAX - len(state.line.data)))

    def send(self, stream: int, data: bytes) -> None:
        """Put bytes in line; at most `room`. `StreamWritable` tells when there is room again."""
        assert len(data) <= self.room(stream), "a writer asks for room first"
        if not data:
            return
        state = self._open[stream]
        state.can_send -= len(data)
        state.line.data += data
        self._lines.setdefault(stream, state.line)

    def end(self, stream: int) -> None:
        """Nothing more is sent, after what is in line; what the peer sends is still taken. Twice is nothing."""
        state = self._open.get(stream)
        if state is not None and not state.has_ended:
            state.has_ended = state.line.last = True
            self._lines.setdefault(stream, state.line)

    def consumed(self, stream: int, count: int) -> None:
        """The reader has used up `count` bytes: give credit back in halves of the window.

        The window grows while the reader keeps pace: then it is the way there and back that holds up the peer.
        """
        state = self._open.get(stream)
        if state is None:
            return
        state.unread -= count
        state.used += count
        if state.used < state.window // 2 or state.peer_has_ended:
            return
        if state.unread <= state.window // 8:
            more = min(state.window, CREDIT_BYTES_MAX - state.window, GROWN_BYTES_MAX - self._grown)
            state.window += more
            state.used += more
            self._grown += more
        state.can_take += state.used
        state.line.credit += state.used
        state.used = 0
        self._lines.setdefault(stream, state.line)

    def close(self, stream: int, *, code: int = STREAM_DONE, reason: str = "") -> None:
        """End a stream after what is in line; ending it twice is nothing."""
        state = self._forget(stream)
        if state is not None:
            state.line.closing = StreamClose(stream=stream, code=code, reason=reason[:1000])
            self._lines.setdefault(stream, state.line)

    def end_all(self, reason: str) -> None:
        """The session is over."""
        for stream in self._open:
            self._effects.append(StreamEnded(stream=stream, code=STREAM_LOST, reason=reason))
        self._open.clear()
        self._lines.clear()

    def receive(self, frame: StreamFrame) -> None:
        """Take the peer's frame. Frames of a stream that ended here a moment ago are dropped."""
        if len(self._lines) > LINE_MAX:
            raise ProtocolError("the peer opens streams faster than it takes answers")
        match frame:
            case StreamOpen():
                self._opened(frame)
            case StreamData():
                self._arrived(frame)
            case StreamCredit():
                state = self._open.get(frame.stream)
                if state is not None:
                    state.can_send += frame.credit
                    self._effects.append(StreamWritable(stream=frame.stream))
            case StreamClose():
                if self._forget(frame.stream) is not None:
                    self._lines.pop(frame.stream, None)
                    self._effects.append(StreamEnded(stream=frame.stream, code=frame.code, reason=frame.reason))

    def effects(self) -> list[StreamEffect]:
        taken, self._effects = self._effects, []
        return taken

    @property
    def waiting(self) -> bool:
        """Something is in line."""
        return bool(self._lines)

    def next_frame(self) -> StreamFrame | None:
        """The next frame, out of the line, of the stream whose turn it is. May make room: see `effects`."""
        if not self._lines:
            return None
        stream = next(iter(self._lines))
        line = self._lines.pop(stream)
        frame = self._taken(stream, line)
        if not line.empty:
            self._lines[stream] = line
        return frame

    def _taken(self, stream: int, line: _Line) -> StreamFrame:
        if line.opening is not None:
            opening, line.opening = line.opening, None
            return opening
        if line.credit:
            credit, line.credit = line.credit, 0
            return StreamCredit(stream=stream, credit=credit)
        if line.data or line.last:
            was_full = len(line.data) >= LINE_BYTES_MAX
            size = self.chunks.size_bytes
            data = bytes(line.data[:size])
            del line.data[:size]
            last = line.last and not line.data
            line.last = line.last and not last
            if was_full and self.room(stream):
                self._effects.append(StreamWritable(stream=stream))
            return StreamData(stream=stream, data=data, last=last)
        assert line.closing is not None, "an empty line is in no turn"
        closing, line.closing = line.closing, None
        return closing

    def _forget(self, stream: int) -> _Stream | None:
        state = self._open.pop(stream, None)
        if state is not None:
            self._grown -= state.window - CREDIT_BYTES
        return state

    def _opened(self, frame: StreamOpen) -> None:
        if frame.stream % 2 == self._parity or frame.stream in self._open:
            raise ProtocolError(f"stream {frame.stream} is not the peer's to open")
        if self.full():
            refusal = StreamClose(stream=frame.stream, code=STREAM_REFUSED, reason="too many streams")
            self._lines[frame.stream] = _Line(closing=refusal)
            return
        line = _Line(credit=CREDIT_BYTES)
        self._open[frame.stream] = _Stream(line, can_send=frame.credit)
        self._lines[frame.stream] = line
        self._effects.append(StreamOpened(stream=frame.stream, kind=frame.kind, params=frame.params))

    def _arrived(self, frame: StreamData) -> None:
        state = self._open.get(frame.stream)
        if state is None:
            return
        if state.peer_has_ended:
            raise ProtocolError(f"stream {frame.stream} goes on after its end")
        if len(frame.data) > state.can_take:
            raise ProtocolError(f"stream {frame.stream} sent more than its credit")
        if frame.data:  # nothing costs no credit, and must not fill a reader's queue
            state.can_take -= len(frame.data)
            state.unread += len(frame.data)
            self._effects.append(StreamArrived(stream=frame.stream, data=frame.data))
        if frame.last:
            state.peer_has_ended = True
            self._effects.append(StreamInputEnded(stream=frame.stream))
