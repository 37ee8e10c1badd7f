"""The bytes of an answer's sections, in the room there is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloudcore.dns.lookup import Found
from cloudcore.dns.zone import Zone
from skerry.dns.numbers import HEADER_SIZE
from skerry.dns.records import Rrset, Writer
from skerry.frozen import Frozen


class Body(Frozen):
    """What stands between the question and the OPT record."""

    data: bytes
    answers: int
    authorities: int
    additionals: int


EMPTY: Final = Body(data=b"", answers=0, authorities=0, additionals=0)


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
