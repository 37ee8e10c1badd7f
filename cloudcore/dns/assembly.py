"""The bytes of an answer's sections, names compressed (RFC 1035 section 4.1.4). Pure.

Compression points into the question where it can, so that an owner shows the letters' case that was asked with, and
ready sections serve any case of the same name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from cloudcore.dns.lookup import Found
from cloudcore.dns.names import ROOT
from cloudcore.dns.wire import HEADER_SIZE, IN, SOA
from cloudcore.dns.zone import COMPRESSED_AT, Rrset, Zone
from skerry.frozen import Frozen

_POINTER_MAX: Final = 0x3FFF
_TYPE_CLASS_TTL: Final = struct.Struct("!HHI")
_LENGTH: Final = struct.Struct("!H")


class Body(Frozen):
    """What stands between the question and the OPT record."""

    data: bytes
    answers: int
    authorities: int
    additionals: int


EMPTY: Final = Body(data=b"", answers=0, authorities=0, additionals=0)


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


def assemble(question_name: bytes, found: Found, *, room: int) -> Body | None:
    """The sections in at most `room` bytes; None where what must be in it has no room (RFC 2181 section 9, 9471)."""
    writer = Writer(question_name)
    answers = _section(writer, found.answer)
    authorities = _section(writer, found.authority)
    additionals = _section(writer, found.glue)
    if len(writer.out) > room:
        return None
    for owner, rrset in found.additional:
        before = len(writer.out)
        count = writer.rrset(owner, rrset)
        if len(writer.out) > room:
            # Names that were remembered since point behind the end, and nothing is written any more.
            del writer.out[before:]
            break
        additionals += count
    return Body(data=bytes(writer.out), answers=answers, authorities=authorities, additionals=additionals)


def absent_body(zone: Zone, name_size: int) -> Body:
    """The sections for any name of the zone that is not there and has this size: pointers lead into its end alone."""
    writer = Writer(zone.origin, begin=HEADER_SIZE + name_size - len(zone.origin))
    count = writer.rrset(zone.origin, zone.negative)
    return Body(data=bytes(writer.out), answers=0, authorities=count, additionals=0)


def _section(writer: Writer, section: Iterable[tuple[bytes, Rrset]]) -> int:
    return sum(writer.rrset(owner, rrset) for owner, rrset in section)
