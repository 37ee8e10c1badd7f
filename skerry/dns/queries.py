"""What is read of a query. Pure, keeps nothing; sizes are checked before use.

The whole of a query is walked, so that what is answered is a query: one question, and records within its bounds.
"""

from __future__ import annotations

from typing import Final

from skerry.dns.edns import Opt, read_opt
from skerry.dns.names import skip_name
from skerry.dns.numbers import HEADER, HEADER_SIZE, IN, OPT, QUESTION_TAIL, RD, TSIG, MalformedError
from skerry.dns.records import read_tail, skip_record
from skerry.frozen import Frozen

RECORDS_MAX: Final = 64
"""In a query's sections, but for updates; more are no query of anybody's."""


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
        position = skip_record(packet, position)
    begin = position
    for _ in range(authorities):
        position = skip_record(packet, position)
    authority = packet[begin:position]
    opt: Opt | None = None
    tsig_at = 0
    for number in range(additionals):
        begin = position
        position = skip_name(packet, position)
        position, found = read_tail(packet, position)
        record_type, record_class, ttl, data = found
        if record_type == OPT:
            if opt is not None or packet[begin] != 0:
                raise MalformedError("two OPT records, or one with a name")
            opt = read_opt(record_class, ttl, data)
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


def question(identity: int, name: bytes, kind: int) -> bytes:
    """One of our own, as other servers are asked."""
    return HEADER.pack(identity, RD, 1, 0, 0, 0) + name + QUESTION_TAIL.pack(kind, IN)
