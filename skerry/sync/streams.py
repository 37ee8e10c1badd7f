"""Streams of bytes beside the state: pod logs now; anything that needs a pipe to a node later.

Credit-based: each side says how many bytes it is ready to take, and the other never sends more, so neither a
slow reader nor a slow link fills memory. Frames wait in one line that the session drains only when it has
nothing else to say: state goes first. Streams live and die with their session; nothing survives a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from skerry.errors import ProtocolError
from skerry.sync.effects import StreamArrived, StreamEffect, StreamEnded, StreamOpened, StreamWritable
from skerry.wire.frames import StreamClose, StreamCredit, StreamData, StreamOpen

STREAMS_MAX: Final = 32
"""Open at once in one session: a few people with `logs -f` each."""
CREDIT_BYTES: Final = 64 * 1024
"""What a reader takes before it must say that it has used some."""
CREDIT_BYTES_MAX: Final = 4 * CREDIT_BYTES
"""What one stream holds ready for the peer, in line or not, however much more the peer says it takes."""
CHUNK_BYTES: Final = 8 * 1024
"""Largest piece of a stream: how long state may wait behind it on a slow link (under a second at 10 KB/s)."""

LINE_MAX: Final = 4096
"""Frames in line: every stream's credit in chunks is well below."""

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
class _Stream:
    can_send: int
    """Bytes the peer takes, less what waits in line here."""
    can_take: int
    """Bytes we said we take, less what came."""
    in_line: int = 0
    """Bytes that wait in line."""
    used: int = 0
    """Bytes used up by our reader and not yet given back as credit."""


class Streams:
    """The multiplexer of one session. The cloud opens odd ids, the edge even ones."""

    def __init__(self, *, first: int) -> None:
        assert first in (1, 2)
        self._next = first
        self._parity = first % 2
        self._open: dict[int, _Stream] = {}
        self._line: list[StreamFrame] = []
        """Short, and a hub has ten thousand of them: an empty deque takes 760 bytes."""
        self._effects: list[StreamEffect] = []

    def open(self, kind: str, params: bytes) -> int:
        """Open a stream to the peer; its id."""
        stream = self._next
        self._next += 2
        self._open[stream] = _Stream(can_send=0, can_take=CREDIT_BYTES)
        self._line.append(StreamOpen(stream=stream, kind=kind, params=params, credit=CREDIT_BYTES))
        return stream

    def full(self) -> bool:
        """No further stream can be opened now."""
        return len(self._open) >= STREAMS_MAX

    def room(self, stream: int) -> int:
        """Bytes that `send` takes now; 0 when the stream has ended."""
        state = self._open.get(stream)
        return state.can_send if state else 0

    def send(self, stream: int, data: bytes) -> None:
        """Put bytes in line; at most `room`."""
        state = self._open[stream]
        assert len(data) <= state.can_send, "a writer asks for room first"
        state.can_send -= len(data)
        state.in_line += len(data)
        for at in range(0, len(data), CHUNK_BYTES):
            self._line.append(StreamData(stream=stream, data=data[at : at + CHUNK_BYTES]))

    def consumed(self, stream: int, count: int) -> None:
        """The reader has used up `count` bytes: give credit back in halves of the window."""
        state = self._open.get(stream)
        if state is None:
            return
        state.used += count
        if state.used >= CREDIT_BYTES // 2:
            state.can_take += state.used
            self._line.append(StreamCredit(stream=stream, credit=state.used))
            state.used = 0

    def close(self, stream: int, *, code: int = STREAM_DONE, reason: str = "") -> None:
        """End a stream after what is in line; ending it twice is nothing."""
        if self._open.pop(stream, None) is not None:
            self._line.append(StreamClose(stream=stream, code=code, reason=reason[:1000]))

    def end_all(self, reason: str) -> None:
        """The session is over."""
        for stream in self._open:
            self._effects.append(StreamEnded(stream=stream, code=STREAM_LOST, reason=reason))
        self._open.clear()
        self._line.clear()

    def receive(self, frame: StreamFrame) -> None:
        """Take the peer's frame. Frames of a stream that ended here a moment ago are dropped."""
        if len(self._line) > LINE_MAX:
            raise ProtocolError("the peer opens streams faster than it takes answers")
        match frame:
            case StreamOpen():
                self._opened(frame)
            case StreamData():
                self._arrived(frame)
            case StreamCredit():
                state = self._open.get(frame.stream)
                if state is not None:
                    state.can_send = min(state.can_send + frame.credit, CREDIT_BYTES_MAX - state.in_line)
                    self._effects.append(StreamWritable(stream=frame.stream))
            case StreamClose():
                if self._open.pop(frame.stream, None) is not None:
                    self._line = [one for one in self._line if one.stream != frame.stream]
                    self._effects.append(StreamEnded(stream=frame.stream, code=frame.code, reason=frame.reason))

    def effects(self) -> list[StreamEffect]:
        taken, self._effects = self._effects, []
        return taken

    @property
    def waiting(self) -> bool:
        """Something is in line."""
        return bool(self._line)

    def next_frame(self) -> StreamFrame | None:
        """The next frame in line, taken out."""
        if not self._line:
            return None
        frame = self._line.pop(0)
        state = self._open.get(frame.stream)
        if isinstance(frame, StreamData) and state is not None:
            state.in_line -= len(frame.data)
        return frame

    def _opened(self, frame: StreamOpen) -> None:
        if frame.stream % 2 == self._parity or frame.stream in self._open:
            raise ProtocolError(f"stream {frame.stream} is not the peer's to open")
        if self.full():
            self._line.append(StreamClose(stream=frame.stream, code=STREAM_REFUSED, reason="too many streams"))
            return
        self._open[frame.stream] = _Stream(can_send=min(frame.credit, CREDIT_BYTES_MAX), can_take=CREDIT_BYTES)
        self._line.append(StreamCredit(stream=frame.stream, credit=CREDIT_BYTES))
        self._effects.append(StreamOpened(stream=frame.stream, kind=frame.kind, params=frame.params))

    def _arrived(self, frame: StreamData) -> None:
        state = self._open.get(frame.stream)
        if state is None or not frame.data:
            return  # nothing costs no credit, and must not fill a reader's queue
        if len(frame.data) > state.can_take:
            raise ProtocolError(f"stream {frame.stream} sent more than its credit")
        state.can_take -= len(frame.data)
        self._effects.append(StreamArrived(stream=frame.stream, data=frame.data))
