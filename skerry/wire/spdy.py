"""Frames of SPDY/3.1: what container runtimes, and older kubectls, carry the streams of an exec or attach in.

Several streams in one connection, each with its own end; unlike Kubernetes' WebSocket protocols before v5, in which
input can't end. Only what Kubernetes uses: flow control is TCP's, as in the library that it has. Pure; keeps a
connection's compression of headers.

Source: draft-mbelshe-httpbis-spdy-00 (the dictionary: section 2.6.10.1), and what moby/spdystream makes of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

from skerry.errors import ProtocolError
from skerry.frozen import Frozen

VERSION: Final = 3
HEAD_BYTES: Final = 8
CONTROL_BYTES_MAX: Final = 64 * 1024
"""Of a control frame: a few short headers."""
DATA_BYTES_MAX: Final = 32 * 1024
"""Of a data frame that we write."""

SYN_STREAM: Final = 1
SYN_REPLY: Final = 2
RST_STREAM: Final = 3
PING: Final = 6
GOAWAY: Final = 7
HEADERS: Final = 8
WINDOW_UPDATE: Final = 9
FIN: Final = 1

_WORDS: Final = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|"
    "allow|authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|"
    "content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|"
    "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
    "proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|"
    "upgrade|user-agent|vary|via|warning|www-authenticate|method|get|status|200_OK|version|HTTP/1.1|url|public|"
    "set-cookie|keep-alive|origin"
)
_TAIL: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset="
    "iso-8859-1,utf-,*,enq=0."
)


DICTIONARY: Final = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS.replace("_", " ").split("|"))
    + _TAIL.encode()
)
"""What header blocks are deflated with."""


class Head(Frozen, kw_only=False):
    """How a frame begins."""

    stream: int
    """0 of a control frame."""
    kind: int
    """0 of data."""
    flags: int
    length: int

    @property
    def is_last(self) -> bool:
        return bool(self.flags & FIN)


def read_head(data: bytes) -> Head:
    """Of eight bytes. Raises `ProtocolError` for another version, or a control frame that is too large."""
    first, second = struct.unpack(">II", data)
    flags, length = second >> 24, second & 0xFFFFFF
    if not first >> 31:
        return Head(first, 0, flags, length)
    version, kind = (first >> 16) & 0x7FFF, first & 0xFFFF
    if version != VERSION:
        raise ProtocolError(f"SPDY of version {version}: {VERSION} was agreed upon")
    if length > CONTROL_BYTES_MAX:
        raise ProtocolError(f"a control frame of {length} bytes")
    return Head(0, kind, flags, length)


def stream_of(payload: bytes) -> int:
    """Which stream a SYN_REPLY or RST_STREAM is about. Raises `ProtocolError`."""
    if len(payload) < 4:
        raise ProtocolError("a control frame is cut short")
    return int.from_bytes(payload[:4], "big") & 0x7FFFFFFF


def data_frame(stream: int, data: bytes, *, last: bool = False) -> bytes:
    return struct.pack(">II", stream, (FIN if last else 0) << 24 | len(data)) + data


def control_frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload


class HeaderPacker:
    """Makes the header blocks of one side of a connection: they share one compression."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(level=6, wbits=11, memLevel=5, zdict=DICTIONARY)

    def pack(self, headers: Mapping[str, str]) -> bytes:
        """Names are written in small letters."""
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def open_frame(stream: int, block: bytes) -> bytes:
    """Of a stream's header block."""
    return control_frame(SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + block)
