"""What is alike in queries that differ in their id and name alone: so that a name that nobody has asked for yet costs
a look for it, and not the reading of a query. Pure.

Most queries of all clients have one of a few dozen shapes: a type, flags, and an OPT record with the same sizes and
options. A shape is learnt from a query that was read whole; what depends on who asks (cookies, TSIG) has none.
"""

from __future__ import annotations

from typing import Final

from cloudcore.dns.lookup import NXNAME
from skerry.dns.edns import opt_record
from skerry.dns.numbers import (
    AXFR,
    CD,
    DS,
    HEADER_SIZE,
    IN,
    IXFR,
    MAILA,
    MAILB,
    NSEC,
    OPCODE_MASK,
    OPT,
    QR,
    QUERY,
    RD,
    RRSIG,
    TKEY,
    TSIG,
)
from skerry.dns.queries import Query
from skerry.frozen import Frozen

SHAPES_MAX: Final = 10_000
"""They are all forgotten then: client subnets have no end."""
_OF_THEIR_OWN: Final = frozenset({DS, NSEC, RRSIG, OPT, TKEY, TSIG, IXFR, AXFR, MAILA, MAILB, NXNAME})
"""Types that are answered by other rules, from another zone or with proofs."""
_COUNTS_AT: Final = 6
_TYPE_AND_CLASS: Final = 4


class Shape(Frozen):
    """Of queries, and of their answers."""

    type: int
    wants: bool
    """Whether proofs were wished for (DO)."""
    flags: int
    """What an answer has in any case."""
    question_tail: bytes
    opt: bytes
    """The answer's OPT record; empty where there was none."""
    room: int
    """Bytes for the name and the sections."""


def key_of(packet: bytes, name_end: int) -> bytes:
    """What queries of one shape have in common."""
    return packet[2:HEADER_SIZE] + packet[name_end:]


def shape_of(packet: bytes, query: Query, options: list[tuple[int, bytes]], size_max: int) -> Shape | None:
    """Of a query without cookie and TSIG; `options` go into the answer, of at most `size_max` bytes. None: it has
    records or a type that are answered by rules of their own."""
    additionals = 0 if query.opt is None else 1
    if packet[_COUNTS_AT:HEADER_SIZE] != bytes([0, 0, 0, 0, 0, additionals]) or not query.question:
        return None
    if query.opcode != QUERY or query.cls != IN or query.type in _OF_THEIR_OWN:
        return None
    opt = opt_record(query.opt, extended_rcode=0, options=options) if query.opt is not None else b""
    return Shape(
        type=query.type,
        wants=query.opt is not None and query.opt.dnssec,
        flags=QR | query.flags & (OPCODE_MASK | RD | CD),
        question_tail=query.question[-_TYPE_AND_CLASS:],
        opt=opt,
        room=size_max - HEADER_SIZE - _TYPE_AND_CLASS - len(opt),
    )
