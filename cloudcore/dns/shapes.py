"""What is alike in queries that differ in their id and name alone: so that a name that nobody has asked for yet costs
a look for it, and not the reading of a query. Pure.

Most queries of all clients have one of a few dozen shapes: a type, flags, and an OPT record with the same sizes and
options. A shape is learnt from a query that was read whole; what depends on who asks (cookies, TSIG) has none, but
for a client subnet, whose address stands at the end.
"""

from __future__ import annotations

from typing import Final

from cloudcore.dns.lookup import NXNAME
from cloudcore.dns.options import Subnet
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
"""They are all forgotten then; most servers see a few dozen."""
_OF_THEIR_OWN: Final = frozenset({DS, NSEC, RRSIG, OPT, TKEY, TSIG, IXFR, AXFR, MAILA, MAILB, NXNAME})
"""Types that are answered by other rules, from another zone or with proofs."""
SUBNET_AT: Final = 23
"""Bytes behind a name before the address of a client subnet that is the only option: type and class, the head of an
OPT record, the option's head, family and lengths."""
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
    """The answer's OPT record, empty where there was none; with a client subnet, what is before its scope."""
    room: int
    """Bytes for the name and the sections."""
    tail_size: int
    """Bytes of the query behind its name."""
    subnet: Subnet | None = None
    """The client's, if it is the only option; others of the same length have this shape as well."""

    def subnet_in(self, said: bytes) -> bytes | None:
        """The whole address that a query's client subnet begins, empty for none; None where it says more than its
        length."""
        assert self.subnet is not None, "asked where there is one"
        if self.subnet.source % 8 and said[-1] & (0xFF >> self.subnet.source % 8):
            return None
        return said and said + bytes((4 if self.subnet.family == 1 else 16) - len(said))


def key_of(packet: bytes, name_end: int) -> bytes:
    """What queries of one shape have in common."""
    return packet[2:HEADER_SIZE] + packet[name_end : name_end + SUBNET_AT]


def shape_of(
    packet: bytes, query: Query, options: list[tuple[int, bytes]], subnet: Subnet | None, size_max: int
) -> Shape | None:
    """Of a query without cookie and TSIG; `options` go into the answer, of at most `size_max` bytes. None: it has
    records, options or a type that are answered by rules of their own."""
    additionals = 0 if query.opt is None else 1
    if packet[_COUNTS_AT:HEADER_SIZE] != bytes([0, 0, 0, 0, 0, additionals]) or not query.question:
        return None
    if query.opcode != QUERY or query.cls != IN or query.type in _OF_THEIR_OWN:
        return None
    tail_size = len(packet) - HEADER_SIZE - len(query.name)
    opt = opt_record(query.opt, extended_rcode=0, options=options) if query.opt is not None else b""
    before_scope = len(opt)
    if subnet is not None:
        assert query.opt is not None, "a subnet is an option"
        before_scope -= 1 + len(subnet.address)
        if len(query.opt.options) > 1:
            return None
    elif tail_size > SUBNET_AT:
        return None
    return Shape(
        type=query.type,
        wants=query.opt is not None and query.opt.dnssec,
        flags=QR | query.flags & (OPCODE_MASK | RD | CD),
        question_tail=query.question[-_TYPE_AND_CLASS:],
        opt=opt[:before_scope],
        room=size_max - HEADER_SIZE - _TYPE_AND_CLASS - len(opt),
        tail_size=tail_size,
        subnet=subnet,
    )
