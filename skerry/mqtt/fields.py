"""The data types of MQTT's bytes (section 1.5): numbers, lengths, texts, and how they are read without surprises.

Pure; keeps nothing. Every length is checked against what is there before anything is made of it.
"""

from __future__ import annotations

from typing import Final

from skerry.mqtt.packets import PacketError, Reason

VARINT_MAX: Final = 268_435_455
"""The largest number of a variable byte integer, of four bytes (1.5.5)."""
TEXT_BYTES_MAX: Final = 65_535


class Fields:
    """Reads a packet's body from front to back. Raises `PacketError` at its end, and for what no field may hold."""

    __slots__ = ("_body", "_end", "at")

    def __init__(self, body: bytes, at: int = 0, end: int | None = None) -> None:
        self._body = body
        self.at = at
        self._end = len(body) if end is None else end

    @property
    def left(self) -> int:
        return self._end - self.at

    def take(self, count: int) -> bytes:
        start = self.at
        stop = start + count
        if stop > self._end:
            raise PacketError(Reason.MALFORMED, "the packet ends early")
        self.at = stop
        return self._body[start:stop]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self, size: int = 2) -> int:
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            digit = self.byte()
            value |= (digit & 0x7F) << shift
            if not digit & 0x80:
                if shift and not digit:
                    raise PacketError(Reason.MALFORMED, "a length in more bytes than it needs")
                return value
        raise PacketError(Reason.MALFORMED, "a length of more than four bytes")

    def blob(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        """Raises `PacketError` for what is not UTF-8, and for U+0000 (1.5.4)."""
        try:
            text = self.blob().decode()
        except UnicodeDecodeError as error:
            raise PacketError(Reason.MALFORMED, f"a text that is not UTF-8: {error.reason}") from error
        if "\x00" in text:
            raise PacketError(Reason.MALFORMED, "a text with U+0000")
        return text

    def rest(self) -> bytes:
        return self.take(self.left)

    def section(self, length: int) -> Fields:
        """The next `length` bytes, to be read by themselves."""
        start = self.at
        self.take(length)
        return Fields(self._body, start, start + length)


def varint(value: int) -> bytes:
    """Section 1.5.5."""
    assert 0 <= value <= VARINT_MAX, "a packet has a limit well below"
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while True:
        value, digit = value >> 7, value & 0x7F
        out.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(out)


def blob(data: bytes) -> bytes:
    assert len(data) <= TEXT_BYTES_MAX, "it came in such a field, or is ours"
    return len(data).to_bytes(2, "big") + data


def text(said: str) -> bytes:
    return blob(said.encode())
