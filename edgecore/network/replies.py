"""What a gateway's DNS says, as records and as a message (RFC 1035, 2782). Pure."""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

from skerry.dns.edns import SIZE, opt_record
from skerry.dns.names import name_of
from skerry.dns.numbers import AA, AAAA, BADVERS, HEADER, NOERROR, OPCODE_MASK, QR, RA, RD, SOA, SRV, TC, TXT, A
from skerry.dns.queries import Query
from skerry.dns.records import Record, Writer
from skerry.frozen import Frozen

UDP_BYTES_MIN: Final = 512
"""What any client takes (RFC 1035 section 4.2.1)."""
_SOA_TIMES: Final = (7200, 1800, 86400)


class Reply(Frozen):
    """What is to be said."""

    code: int = NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()
    authoritative: bool = True


def room_of(query: Query) -> int:
    """What its client takes in one datagram."""
    return UDP_BYTES_MIN if query.opt is None else min(max(query.opt.size, UDP_BYTES_MIN), SIZE)


def address_record(owner: bytes, address: str, ttl_s: int) -> Record:
    packed = ipaddress.ip_address(address).packed
    return Record(owner=owner, type=A if len(packed) == 4 else AAAA, ttl=ttl_s, rdata=packed)


def name_record(owner: bytes, kind: int, target: bytes, ttl_s: int) -> Record:
    """CNAME or PTR."""
    return Record(owner=owner, type=kind, ttl=ttl_s, rdata=target)


def service_record(owner: bytes, target: bytes, port: int, *, weight: int, ttl_s: int) -> Record:
    return Record(owner=owner, type=SRV, ttl=ttl_s, rdata=struct.pack("!HHH", 0, weight, port) + target)


def text_record(owner: bytes, text: str, ttl_s: int) -> Record:
    return Record(owner=owner, type=TXT, ttl=ttl_s, rdata=bytes((len(text),)) + text.encode())


def authority_record(zone: bytes, serial: int, ttl_s: int) -> Record:
    """The zone's SOA: how long it holds that a name is not there."""
    names = name_of("ns.dns")[:-1] + zone + name_of("hostmaster")[:-1] + zone
    return Record(owner=zone, type=SOA, ttl=ttl_s, rdata=names + struct.pack("!IIIII", serial, *_SOA_TIMES, ttl_s))


def encode(query: Query, reply: Reply, *, bytes_max: int) -> bytes:
    """The answer. What does not fit is left out, and the client told to ask over TCP."""
    flags = QR | query.flags & (OPCODE_MASK | RD) | RA | reply.code & 15 | (AA if reply.authoritative else 0)
    opt = b"" if query.opt is None else opt_record(query.opt, extended_rcode=reply.code >> 4, options=[])
    room = bytes_max - HEADER.size - len(query.question) - len(opt)
    writer = Writer(query.name)
    counts = [0, 0, 0]
    for number, section in enumerate((reply.answers, reply.authority)):
        for record in section:
            counts[number] += writer.record(record)
    fits = len(writer.out)
    if fits > room:
        fits, counts, flags = 0, [0, 0, 0], flags | TC
    else:
        for record in reply.extra:  # addresses beside an SRV are a favour, no answer
            writer.record(record)
        if len(writer.out) <= room:
            fits, counts[2] = len(writer.out), len(reply.extra)
    counts[2] += 1 if opt else 0
    head = HEADER.pack(query.id, flags, 1 if query.question else 0, *counts)
    return b"".join((head, query.question, writer.out[:fits], opt))


def refusal(data: bytes, code: int) -> bytes:
    """An answer to what could not be read: its number and a code, and nothing else."""
    number, flags = struct.unpack_from("!HH", data)
    return HEADER.pack(number, QR | flags & (OPCODE_MASK | RD) | code, 0, 0, 0, 0)


BAD_VERSION: Final = Reply(code=BADVERS, authoritative=False)
"""Of EDNS (RFC 6891 section 6.1.3)."""
