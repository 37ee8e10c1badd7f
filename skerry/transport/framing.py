"""Whole frames in a stream of bytes: each is preceded by its length. Pure; for transports that carry bytes alone.

A length is a variable-length integer of RFC 9000 section 16 (one byte for a heartbeat, four for a large object),
so that any QUIC tool can read a capture. The reader keeps what arrived and was not taken, and says how far it is
ready to take more: the sender never gets ahead by more than a window, or by the one frame that is larger.
"""

from __future__ import annotations

from typing import Final

from skerry.errors import ProtocolError

VARINT_MAX: Final = (1 << 62) - 1
_HEAD_BYTES_MAX: Final = 8


def varint(value: int) -> bytes:
    """The shortest form of RFC 9000 section 16."""
    assert 0 <= value <= VARINT_MAX
    power = next(power for power in range(4) if value < 1 << ((8 << power) - 2))
    return (power << ((8 << power) - 2) | value).to_bytes(1 << power, "big")


def read_varint(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """(value, position after it), or None while it has not arrived whole."""
    if at >= len(data):
        return None
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return None
    value = int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size


def framed(frame: bytes) -> bytes:
    """A frame as it travels."""
    return varint(len(frame)) + frame


class FrameReader:
    """Takes bytes as they arrive, gives whole frames in order."""

    def __init__(self, *, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._data = bytearray()
        self._taken = 0

    def feed(self, data: bytes) -> None:
        self._data += data

    def number(self) -> int | None:
        """Take one integer from the front, or None while it is not there."""
        found = read_varint(self._data, 0)
        if found is None:
            return None
        self._take(found[1])
        return found[0]

    def next(self) -> bytes | None:
        """The next frame, or None while it is not there. Raises `ProtocolError` for one that is too large."""
        head = read_varint(self._data, 0)
        if head is None:
            return None
        size, begin = self._checked(head[0]), head[1]
        if begin + size > len(self._data):
            return None
        frame = bytes(self._data[begin : begin + size])
        self._take(begin + size)
        return frame

    def ready(self) -> bool:
        """Whether `next` would give a frame, or raise."""
        head = read_varint(self._data, 0)
        return head is not None and (head[0] > self._frame_bytes_max or sum(head) <= len(self._data))

    def may_reach(self, window: int) -> int:
        """How many bytes, counted from the first ever, the sender may have sent by now."""
        head = read_varint(self._data, 0)
        whole = 0 if head is None else sum(head)
        return self._taken + max(window, min(whole, self._frame_bytes_max + _HEAD_BYTES_MAX))

    @property
    def empty(self) -> bool:
        return not self._data

    def _take(self, count: int) -> None:
        del self._data[:count]
        self._taken += count

    def _checked(self, size: int) -> int:
        if size > self._frame_bytes_max:
            raise ProtocolError(f"a frame of {size} bytes is over {self._frame_bytes_max}")
        return size
