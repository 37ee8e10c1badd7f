"""Records of a message, read and written, names compressed (RFC 1035 section 4.1). Pure.

Compression points into the question where it can, so that an owner shows the letters' case that was asked with, and
ready sections serve any case of the same name.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from skerry.dns.names import ROOT, skip_name
from skerry.dns.numbers import CNAME, HEADER, HEADER_SIZE, IN, MX, NS, PTR, RECORD_TAIL, SOA, MalformedError
from skerry.frozen import Frozen

COMPRESSED_AT: Final[Mapping[int, int]] = {NS: 0, CNAME: 0, PTR: 0, MX: 2}
"""Names within data that may be compressed (RFC 3597 section 4); SOA has two, and is written apart."""
_POINTER_MAX: Final = 0x3FFF
_TYPE_CLASS_TTL: Final = struct.Struct("!HHI")
_LENGTH: Final = struct.Struct("!H")


class Rrset(Frozen):
    """The records of one name and type, with one TTL (RFC 2181 section 5)."""

    type: int
    ttl: int
    rdatas: tuple[bytes, ...]
    """Uncompressed, sorted."""


class Record(Frozen):
    """One record as a file or a transfer brings it; the owner in lower case."""

    owner: bytes
    type: int
    ttl: int
    rdata: bytes


class Place(Frozen):
    """Where a record stands in a message."""

    name_at: int
    type: int
    cls: int
    ttl: int
    data_at: int
    size: int
    """Of its data."""

    @property
    def ttl_at(self) -> int:
        return self.data_at - 6


def places(packet: bytes) -> list[Place]:
    """Of every record of a message, in order. Raises `MalformedError`."""
    if len(packet) < HEADER_SIZE:
        raise MalformedError("shorter than a header")
    _, _, questions, *counts = HEADER.unpack_from(packet)
    position = HEADER_SIZE
    for _ in range(questions):
        position = skip_name(packet, position) + 4
    found: list[Place] = []
    for _ in range(sum(counts)):
        name_at = position
        tail_at = skip_name(packet, position)
        position, (kind, cls, ttl, data) = read_tail(packet, tail_at)
        data_at = tail_at + RECORD_TAIL.size
        found.append(Place(name_at=name_at, type=kind, cls=cls, ttl=ttl, data_at=data_at, size=len(data)))
    return found


def skip_record(packet: bytes, position: int) -> int:
    """Where a record ends that begins there. Raises `MalformedError`."""
    return read_tail(packet, skip_name(packet, position))[0]


def read_tail(packet: bytes, position: int) -> tuple[int, tuple[int, int, int, bytes]]:
    """Of the record whose name ends there: where it ends; type, class, TTL and data. Raises `MalformedError`."""
    begin = position + RECORD_TAIL.size
    if begin > len(packet):
        raise MalformedError("a record is cut off")
    kind, cls, ttl, length = RECORD_TAIL.unpack_from(packet, position)
    if begin + length > len(packet):
        raise MalformedError("a record's data is cut off")
    return begin + length, (kind, cls, ttl, packet[begin : begin + length])


class Writer:
    """Sections behind a question, with what was written of names so far."""

    def __init__(self, question_name: bytes, begin: int = HEADER_SIZE) -> None:
        """`begin` is where the name (or the end of it that is given) stands in the message."""
        self._begin = begin + len(question_name) + 4
        self.out = bytearray()
        self._places: dict[bytes, int] = {}
        self._remember(question_name, begin)

    def _remember(self, name: bytes, at: int) -> None:
        while name != ROOT and at <= _POINTER_MAX:
            self._places.setdefault(name, at)
            step = name[0] + 1
            name, at = name[step:], at + step

    def name(self, name: bytes) -> None:
        """Compressed."""
        folded, places, out = name.lower(), self._places, self.out
        begin = 0
        while folded[begin]:
            place = places.get(folded[begin:])
            if place is not None:
                out += name[:begin]
                out += _LENGTH.pack(0xC000 | place)
                break
            at = self._begin + len(out) + begin
            if at <= _POINTER_MAX:
                places[folded[begin:]] = at
            begin += folded[begin] + 1
        else:
            out += name

    def record(self, record: Record) -> int:
        """One alone; how many that is."""
        return self.rrset(record.owner, Rrset(type=record.type, ttl=record.ttl, rdatas=(record.rdata,)))

    def rrset(self, owner: bytes, rrset: Rrset) -> int:
        """All records of a set; how many."""
        out, kind = self.out, rrset.type
        head = _TYPE_CLASS_TTL.pack(kind, IN, rrset.ttl)
        place = COMPRESSED_AT.get(kind)
        for rdata in rrset.rdatas:
            self.name(owner)
            out += head
            if place is None and kind != SOA:
                out += _LENGTH.pack(len(rdata))
                out += rdata
                continue
            at = len(out)
            out += b"\0\0"
            if kind == SOA:
                end = _name_end(rdata, 0)
                last = _name_end(rdata, end)
                self.name(rdata[:end])
                self.name(rdata[end:last])
                out += rdata[last:]
            else:
                assert place is not None, "the types with names in their data"
                out += rdata[:place]
                self.name(rdata[place:])
            _LENGTH.pack_into(out, at, len(out) - at - 2)
        return len(rrset.rdatas)


def _name_end(data: bytes, position: int) -> int:
    while data[position]:
        position += data[position] + 1
    return position + 1
