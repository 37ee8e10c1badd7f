"""WebSocket as a gateway speaks it: the upgrade of a connection, and binary messages, masked and in fragments. Pure.

The library that a hub answers with brings three megabytes of the standard library along (metadata of packages, mail,
archives, a client of HTTP), which an agent would keep for good; a gateway needs the client's side alone, without
text, extensions or subprotocols. Keeps the bytes of a message that is not whole yet, as many as it may have at most.

Source: RFC 6455, sections 4.1, 5 and 7.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Generator
from typing import Final

from skerry.errors import ProtocolError
from skerry.frozen import Frozen

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

WRONG: Final = 1002
"""A code of a close (RFC 6455 section 7.4.1): the peer broke the protocol."""
NOT_TAKEN: Final = 1003
"""The same: text."""
NO_CODE: Final = 1005
NOT_UTF8: Final = 1007
TOO_LARGE: Final = 1009
INTERNAL: Final = 1011

HEAD_BYTES_MAX: Final = 16 * 1024
"""Of an answer to the upgrade."""
_CONTROL_BYTES_MAX: Final = 125
_ACCEPT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OWN_CODES: Final = frozenset({1004, 1005, 1006, 1015})
"""Said of a connection, never on one."""


class MessageError(ProtocolError):
    """The peer's bytes are no WebSocket that we take; `code` says why in a close."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Ping(Frozen):
    data: bytes


class Closing(Frozen):
    """The peer sends nothing more."""

    code: int
    reason: str

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".strip()


class Answer(Frozen):
    """To a request for an upgrade."""

    status: int
    trailing: bytes
    """What came behind it."""


def upgrade_request(address: str, path: str, nonce: bytes) -> bytes:
    """`address` is the host's, with its port; `nonce`: sixteen random bytes."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(nonce).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode("latin-1")


def upgrade_answer(read: bytes, nonce: bytes) -> Answer | None:
    """None while it is not whole. Raises `MessageError` for what is none, or none to this question."""
    end = read.find(b"\r\n\r\n")
    if end < 0:
        if len(read) > HEAD_BYTES_MAX:
            raise MessageError(WRONG, "the answer to the upgrade is too long")
        return None
    first, *lines = read[:end].decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if version != "HTTP/1.1" or not (code.isascii() and code.isdecimal()) or rest[3:4] not in ("", " "):
        raise MessageError(WRONG, "the peer answers no HTTP/1.1")
    status = int(code)
    if status == 101:
        _check_upgrade(lines, nonce)
    return Answer(status=status, trailing=read[end + 4 :])


def _check_upgrade(lines: list[str], nonce: bytes) -> None:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
    expected = base64.b64encode(
        hashlib.sha1(base64.b64encode(nonce) + _ACCEPT, usedforsecurity=False).digest()
    ).decode()
    connection = {each.strip().lower() for each in fields.get("connection", "").split(",")}
    if fields.get("upgrade", "").lower() != "websocket" or "upgrade" not in connection:
        raise MessageError(WRONG, "the peer upgrades to something else")
    if fields.get("sec-websocket-accept") != expected:
        raise MessageError(WRONG, "the peer answers another upgrade")
    if fields.get("sec-websocket-extensions") or fields.get("sec-websocket-protocol"):
        raise MessageError(WRONG, "the peer uses an extension that was not asked for")


def frame(opcode: int, data: bytes, mask: bytes, *, final: bool = True) -> bytes:
    """One frame as clients send it, masked with four random bytes (RFC 6455 section 5.3)."""
    size = len(data)
    first = opcode | (0x80 if final else 0)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 0x10000:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return b"".join((head, mask, masked(data, mask)))


def masked(data: bytes, mask: bytes) -> bytes:
    """Masks, or unmasks."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def close_data(code: int, reason: str) -> bytes:
    """What a close carries: as much of the reason as has room."""
    return struct.pack("!H", code) + reason.encode()[: _CONTROL_BYTES_MAX - 2].decode(errors="ignore").encode()


class Messages:
    """What a server sends, message by message."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._read = bytearray()
        self._parts = bytearray()
        """Of a message in fragments."""
        self._is_begun = False

    def feed(self, data: bytes) -> Generator[bytes | Ping | Closing]:
        """What is whole by these bytes. Raises `MessageError`, after what came before the fault."""
        read = self._read
        read += data
        at = 0
        try:
            while (found := self._frame(at)) is not None:
                first, begin, end = found
                at = end
                event = self._took(first & 0x0F, bytes(read[begin:end]), final=bool(first & 0x80))
                if event is not None:
                    yield event
        finally:
            del read[:at]

    def _frame(self, at: int) -> tuple[int, int, int] | None:
        """The first byte of a frame, and where its data are; None while it is not whole."""
        read = self._read
        if len(read) < at + 2:
            return None
        first, size = read[at], read[at + 1]
        if first & 0x70:
            raise MessageError(WRONG, "bits are set that no extension was agreed for")
        if size & 0x80:
            raise MessageError(WRONG, "a server masks nothing")
        begin = at + 2
        if size > _CONTROL_BYTES_MAX:
            if first & 0x08:
                raise MessageError(WRONG, "a control frame is too long")
            width = 2 if size == 126 else 8
            if len(read) < begin + width:
                return None
            size = int.from_bytes(read[begin : begin + width], "big")
            begin += width
        elif first & 0x08 and not first & 0x80:
            raise MessageError(WRONG, "a control frame is in fragments")
        if len(self._parts) + size > self._bytes_max:
            raise MessageError(TOO_LARGE, f"a message is longer than {self._bytes_max} bytes")
        return None if len(read) < begin + size else (first, begin, begin + size)

    def _took(self, opcode: int, data: bytes, *, final: bool) -> bytes | Ping | Closing | None:
        if opcode == PING:
            return Ping(data=data)
        if opcode == PONG:
            return None
        if opcode == CLOSE:
            return _closing(data)
        if opcode == TEXT:
            raise MessageError(NOT_TAKEN, "the peer sent text")
        if opcode not in (BINARY, CONTINUATION) or self._is_begun != (opcode == CONTINUATION):
            raise MessageError(WRONG, "a frame is out of its place")
        if opcode == BINARY and final:
            return data
        self._parts += data
        self._is_begun = not final
        if not final:
            return None
        whole = bytes(self._parts)
        self._parts = bytearray()
        return whole


def _closing(data: bytes) -> Closing:
    if not data:
        return Closing(code=NO_CODE, reason="")
    code = int.from_bytes(data[:2], "big")
    if len(data) == 1 or not 1000 <= code < 5000 or code in _OWN_CODES:
        raise MessageError(WRONG, "a close has no code")
    try:
        return Closing(code=code, reason=data[2:].decode())
    except UnicodeDecodeError:
        raise MessageError(NOT_UTF8, "the reason of a close is not UTF-8") from None
