"""What the server reads of a packet, and the numbers of the protocol. Pure, keeps nothing; sizes are checked before
use.

The whole of a query is walked, so that what is answered is a query: one question, and records within its bounds.
"""

from __future__ import annotations

import struct
from typing import Final

from skerry.frozen import Frozen

HEADER: Final = struct.Struct("!HHHHHH")
QUESTION_TAIL: Final = struct.Struct("!HH")
RECORD_TAIL: Final = struct.Struct("!HHIH")
OPTION: Final = struct.Struct("!HH")
HEADER_SIZE: Final = 12

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
CD: Final = 0x0010
OPCODE_MASK: Final = 0x7800
DO: Final = 0x8000

QUERY: Final = 0
NOTIFY: Final = 4
UPDATE: Final = 5

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
YXDOMAIN: Final = 6
NOTAUTH: Final = 9
BADVERS: Final = 16
BADCOOKIE: Final = 23
RCODES: Final = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    YXDOMAIN: "YXDOMAIN",
    NOTAUTH: "NOTAUTH",
    BADVERS: "BADVERS",
    BADCOOKIE: "BADCOOKIE",
}

IN: Final = 1
CHAOS: Final = 3

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
MX: Final = 15
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
DNAME: Final = 39
OPT: Final = 41
DS: Final = 43
RRSIG: Final = 46
NSEC: Final = 47
DNSKEY: Final = 48
SVCB: Final = 64
HTTPS: Final = 65
TKEY: Final = 249
TSIG: Final = 250
IXFR: Final = 251
AXFR: Final = 252
MAILB: Final = 253
MAILA: Final = 254
ANY: Final = 255

NSID: Final = 3
CLIENT_SUBNET: Final = 8
COOKIE: Final = 10
KEEPALIVE: Final = 11
PADDING: Final = 12
EXTENDED_ERROR: Final = 15

RECORDS_MAX: Final = 64
"""In a query's sections, but for updates; more are no query of anybody's."""


class MalformedError(Exception):
    """The packet is no query that could be understood; it is answered with FORMERR where it has a header."""


class Opt(Frozen):
    """The OPT record of a query (RFC 6891)."""

    size: int
    """What the client takes over UDP, as it said."""
    version: int
    dnssec: bool
    options: tuple[tuple[int, bytes], ...]

    def option(self, code: int) -> bytes | None:
        """Its first of this code."""
        for found, data in self.options:
            if found == code:
                return data
        return None


class Query(Frozen):
    """A query that could be read."""

    id: int
    flags: int
    question: bytes
    """As it came: name, type and class; empty where there is none."""
    name: bytes
    """In lower case."""
    type: int
    cls: int
    opt: Opt | None
    tsig_at: int = 0
    """Where its TSIG record begins; 0: it has none."""
    authority: bytes = b""
    """The records of its second section as they came: an IXFR's serial is there."""

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15


def parse_query(packet: bytes) -> Query:
    """Raises `MalformedError`. The packet has a header."""
    identity, flags, questions, answers, authorities, additionals = HEADER.unpack_from(packet)
    if questions > 1:
        raise MalformedError("more than one question")
    position, name, kind, cls = HEADER_SIZE, b"\0", 0, 0
    if questions:
        position = question_end(packet)
        name = packet[HEADER_SIZE : position - 4].lower()
        kind, cls = QUESTION_TAIL.unpack_from(packet, position - 4)
    question = packet[HEADER_SIZE:position]
    if answers + authorities + additionals > RECORDS_MAX:
        raise MalformedError("too many records")
    for _ in range(answers):
        position = _skip_record(packet, position)
    begin = position
    for _ in range(authorities):
        position = _skip_record(packet, position)
    authority = packet[begin:position]
    opt: Opt | None = None
    tsig_at = 0
    for number in range(additionals):
        begin = position
        position = skip_name(packet, position)
        position, found = _tail(packet, position)
        record_type, record_class, ttl, data = found
        if record_type == OPT:
            if opt is not None or packet[begin] != 0:
                raise MalformedError("two OPT records, or one with a name")
            opt = _opt(record_class, ttl, data)
        elif record_type == TSIG:
            if number != additionals - 1:
                raise MalformedError("TSIG is not last")
            tsig_at = begin
    if position != len(packet):
        raise MalformedError("bytes behind the last record")
    return Query(
        id=identity,
        flags=flags,
        question=question,
        name=name,
        type=kind,
        cls=cls,
        opt=opt,
        tsig_at=tsig_at,
        authority=authority,
    )


def question_end(packet: bytes) -> int:
    """Where the first question ends. A question's name is never compressed: there is nothing before it."""
    position, size = HEADER_SIZE, len(packet)
    while position < size and (length := packet[position]):
        if length > 63:
            raise MalformedError("a label of a kind that is not used")
        position += length + 1
    if position - HEADER_SIZE > 254 or position + 5 > size:
        raise MalformedError("the question is cut off, or its name too long")
    return position + 5


def skip_name(packet: bytes, position: int) -> int:
    """Where a name ends that may be compressed. Pointers aren't followed."""
    size = len(packet)
    while position < size:
        length = packet[position]
        if length == 0:
            return position + 1
        if length >= 0xC0:
            if position + 2 > size or (length & 0x3F) << 8 | packet[position + 1] >= position:
                raise MalformedError("a pointer that leads nowhere before itself")
            return position + 2
        if length > 63:
            raise MalformedError("a label of a kind that is not used")
        position += length + 1
    raise MalformedError("a name is cut off")


def _skip_record(packet: bytes, position: int) -> int:
    return _tail(packet, skip_name(packet, position))[0]


def _tail(packet: bytes, position: int) -> tuple[int, tuple[int, int, int, bytes]]:
    begin = position + RECORD_TAIL.size
    if begin > len(packet):
        raise MalformedError("a record is cut off")
    kind, cls, ttl, length = RECORD_TAIL.unpack_from(packet, position)
    if begin + length > len(packet):
        raise MalformedError("a record's data is cut off")
    return begin + length, (kind, cls, ttl, packet[begin : begin + length])


def _opt(size: int, ttl: int, data: bytes) -> Opt:
    options: list[tuple[int, bytes]] = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise MalformedError("an option is cut off")
        code, length = OPTION.unpack_from(data, position)
        position += 4
        if position + length > len(data):
            raise MalformedError("an option's data is cut off")
        options.append((code, data[position : position + length]))
        position += length
    return Opt(size=size, version=ttl >> 16 & 0xFF, dnssec=bool(ttl & DO), options=tuple(options))
