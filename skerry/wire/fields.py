"""Fields of the Protocol Buffers wire format, one after the other: what codecs that are written by hand here share.

Whatever comes in, reading gives fields or raises `ProtocolError`; a `Budget` bounds how many. What a field means is
the business of the tables: `skerry.wire.codec` for frames, `skerry.wire.tables` for others' messages. Keeps no
data. Pure.

Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from skerry.errors import ProtocolError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5


@dataclass(slots=True)
class Budget:
    """Fields that may be read of one message, those of the messages in it and the unknown ones too."""

    limit: int
    spent: int = 0


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first. Never of a negative number: callers take its two's complement."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire: int) -> bytes:
    """What a field begins with."""
    return varint(number << 3 | wire)


def delimited(number: int, content: bytes) -> bytes:
    """A field of text, bytes or a message."""
    return tag(number, BYTES) + varint(len(content)) + content


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it). Raises `ProtocolError`."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise ProtocolError("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise ProtocolError("a number of more than ten bytes")
    if value >= 2**64:
        raise ProtocolError("a number over 64 bits")
    return value, at


def fields_in(data: bytes, budget: Budget) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) in order: an int of a number, whatever its width, else the bytes. Raises
    `ProtocolError`."""
    at = 0
    while at < len(data):
        budget.spent += 1
        if budget.spent > budget.limit:
            raise ProtocolError(f"a message of more than {budget.limit} fields")
        head, at = read_varint(data, at)
        number, wire = head >> 3, head & 7
        if number == 0:
            raise ProtocolError("field number 0")
        if wire == VARINT:
            value, at = read_varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = read_varint(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise ProtocolError(f"wire type {wire} is not in use")
        if length > len(data) - at:
            raise ProtocolError("a field is cut short")
        content = data[at : at + length]
        at += length
        yield number, wire, content if wire == BYTES else int.from_bytes(content, "little")
