"""SPDY/3.1 as Kubernetes clients speak it, the server's side: bytes in, events out, and bytes to send. Pure.

kubectl up to 1.29 runs exec, attach and port-forward over it, and every later one port-forward, inside a WebSocket.
What those clients do not use is left out: pushed streams, settings and priorities are read and mean nothing. Nor do
they count windows (client-go's SPDY library neither gives nor respects them), so a sender here is paced by TCP alone;
windows are given back for whoever does count.

Keeps the streams that are open, a frame that is not whole yet, and the two zlib states of header blocks.

Source: SPDY Protocol draft 3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.wire.spdy import (
    DICTIONARY,
    FIN,
    GOAWAY,
    PING,
    RST_STREAM,
    SYN_REPLY,
    VERSION,
    WINDOW_UPDATE,
    HeaderPacker,
    control_frame,
    data_frame,
)

FRAME_BYTES_MAX: Final = 1024 * 1024
"""client-go cuts at 32 KiB; the format allows 16 MiB."""
HEADERS_BYTES_MAX: Final = 8 * 1024
"""Of one header block, inflated."""
STREAMS_MAX: Final = 512
"""Open at once in one connection: two for each forwarded connection."""

RESET_PROTOCOL_ERROR: Final = 1
RESET_REFUSED_STREAM: Final = 3
RESET_CANCEL: Final = 5


class Opened(Frozen):
    """The client opened a stream; its header names are in lower case."""

    stream: int
    headers: Mapping[str, str]
    last: bool
    """It sends nothing on it."""


class Arrived(Frozen):
    stream: int
    data: bytes
    last: bool
    """The client sends nothing more on it."""


class Reset(Frozen):
    """The client wants nothing more of a stream."""

    stream: int


class GoneAway(Frozen):
    """The client opens no further streams."""


Event: TypeAlias = "Opened | Arrived | Reset | GoneAway"


@dataclass(slots=True)
class _Stream:
    client_ended: bool
    we_ended: bool = False


class Spdy:
    """One connection, as its server sees it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._to_send = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._last_opened = 0
        self._pinged = 0
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._packer = HeaderPacker()

    def receive(self, data: bytes) -> list[Event]:
        """Take what came. Raises `ProtocolError` for what is no SPDY within the limits: nothing more is understood
        then."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if length > FRAME_BYTES_MAX:
                raise ProtocolError(f"a SPDY frame of {length} bytes is over {FRAME_BYTES_MAX}")
            if len(self._buffer) < 8 + length:
                break
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if first & 0x80000000:
                if first >> 16 != 0x8000 | VERSION:
                    raise ProtocolError("not a SPDY/3 frame")
                events += self._control(first & 0xFFFF, second >> 24, body)
            else:
                events += self._data(first, second >> 24, body)
        return events

    def to_send(self) -> bytes:
        """What is to go out now; each byte is given once."""
        taken = bytes(self._to_send)
        self._to_send.clear()
        return taken

    @property
    def streams(self) -> int:
        """Open ones."""
        return len(self._streams)

    def is_open(self, stream: int) -> bool:
        """Something may be sent on it."""
        state = self._streams.get(stream)
        return state is not None and not state.we_ended

    def reply(self, stream: int, headers: Mapping[str, str] | None = None) -> None:
        """Take a stream that the client opened."""
        self._frame(SYN_REPLY, struct.pack(">I", stream) + self._packer.pack(headers or {}))

    def send(self, stream: int, data: bytes, *, last: bool = False) -> None:
        """Of a stream that is not open any more it is nothing."""
        state = self._streams.get(stream)
        if state is None or state.we_ended:
            return
        size_max = 0xFFFF
        for at in range(0, max(1, len(data)), size_max):
            piece = data[at : at + size_max]
            self._to_send += data_frame(stream, piece, last=last and at + size_max >= len(data))
        if last:
            state.we_ended = True
            self._settle(stream, state)

    def consumed(self, stream: int, count: int) -> None:
        """Whoever reads the stream has used so many bytes."""
        state = self._streams.get(stream)
        if count and state is not None and not state.client_ended:
            self._frame(WINDOW_UPDATE, struct.pack(">II", stream, count))

    def reset(self, stream: int, status: int) -> None:
        """Refuse or break off a stream."""
        if self._streams.pop(stream, None) is not None:
            self._frame(RST_STREAM, struct.pack(">II", stream, status))

    def ping(self) -> None:
        """Ask whether the client is there: what it answers means nothing else."""
        self._pinged += 2
        self._frame(PING, struct.pack(">I", self._pinged & 0x7FFFFFFE))

    def go_away(self) -> None:
        """No further streams are taken."""
        self._frame(GOAWAY, struct.pack(">II", self._last_opened, 0))

    def _control(self, kind: int, flags: int, body: bytes) -> Iterable[Event]:
        match kind:
            case 1:
                return self._syn_stream(flags, body)
            case 3:
                (stream,) = _numbers(">I", body)
                if self._streams.pop(stream, None) is not None:
                    return (Reset(stream=stream),)
            case 6:
                (number,) = _numbers(">I", body)
                if number % 2 == 1:  # those of a server are even, and this answers one
                    self._frame(PING, struct.pack(">I", number))
            case 7:
                return (GoneAway(),)
            case 2 | 8:
                self._headers(body[4:])  # what they say is of no interest; the zlib state is
            case _:
                pass
        return ()

    def _syn_stream(self, flags: int, body: bytes) -> Iterable[Event]:
        (stream,) = _numbers(">I", body)
        headers = self._headers(body[10:])
        if stream % 2 == 0 or stream <= self._last_opened:
            raise ProtocolError(f"SPDY stream {stream} is not the client's to open")
        self._last_opened = stream
        self._streams[stream] = _Stream(client_ended=bool(flags & FIN))
        if len(self._streams) > STREAMS_MAX:
            self.reset(stream, RESET_REFUSED_STREAM)
            return ()
        return (Opened(stream=stream, headers=headers, last=bool(flags & FIN)),)

    def _data(self, stream: int, flags: int, body: bytes) -> Iterable[Event]:
        state = self._streams.get(stream)
        if state is None or state.client_ended:
            return ()  # on its way when the stream was broken off
        state.client_ended = bool(flags & FIN)
        self._settle(stream, state)
        return (Arrived(stream=stream, data=body, last=state.client_ended),)

    def _settle(self, stream: int, state: _Stream) -> None:
        if state.client_ended and state.we_ended:
            self._streams.pop(stream, None)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, HEADERS_BYTES_MAX)
        except zlib.error as error:
            raise ProtocolError(f"a SPDY header block can't be inflated: {error}") from error
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"a SPDY header block is over {HEADERS_BYTES_MAX} bytes")
        if not plain:
            return {}
        (count,) = _numbers(">I", plain)
        headers: dict[str, str] = {}
        at = 4
        for _ in range(count):
            name, at = _text(plain, at)
            value, at = _text(plain, at)
            headers[name.lower()] = value.split("\0", 1)[0]
        return headers

    def _frame(self, kind: int, body: bytes) -> None:
        self._to_send += control_frame(kind, body)


def _numbers(form: str, body: bytes) -> tuple[int, ...]:
    if len(body) < struct.calcsize(form):
        raise ProtocolError("a SPDY frame ends too soon")
    return struct.unpack_from(form, body)


def _text(plain: bytes, at: int) -> tuple[str, int]:
    (size,) = _numbers(">I", plain[at : at + 4])
    end = at + 4 + size
    if end > len(plain):
        raise ProtocolError("a SPDY header block ends too soon")
    return plain[at + 4 : end].decode("utf-8", "replace"), end
