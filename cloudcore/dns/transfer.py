"""Whole zones, and what has changed of them, to other servers (AXFR, RFC 5936; IXFR, RFC 1995). Pure.

A delta is what a reload has changed, kept as long as the process that reads zones lives; who has an older serial
than the deltas reach back to is sent everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from cloudcore.dns.zone import Zone
from skerry.dns.names import canonical
from skerry.dns.numbers import AA, HEADER, OPCODE_MASK, QR, RD, SOA
from skerry.dns.queries import Query
from skerry.dns.records import Rrset, Writer
from skerry.frozen import Frozen

MESSAGE_MAX: Final = 16_384
"""A message is sent when it has so much: pointers of names reach no further (RFC 1035 section 4.1.4)."""
DELTAS_MAX: Final = 16
SERIALS: Final = 1 << 32

Row = tuple[bytes, Rrset]


class Delta(Frozen):
    """From one serial of a zone to the next."""

    before: Rrset
    after: Rrset
    """The SOA records."""
    removed: tuple[Row, ...]
    added: tuple[Row, ...]
    serial_before: int
    serial_after: int


def delta_of(before: Zone, after: Zone) -> Delta | None:
    """None where the serial did not move on, so that nobody would ask."""
    if not is_newer(after.serial, before.serial):
        return None
    removed, added = _rows(before) - _rows(after), _rows(after) - _rows(before)
    return Delta(
        before=before.soa,
        after=after.soa,
        removed=_grouped(removed),
        added=_grouped(added),
        serial_before=before.serial,
        serial_after=after.serial,
    )


def _rows(zone: Zone) -> set[tuple[bytes, int, int, bytes]]:
    return {
        (owner, kind, rrset.ttl, rdata)
        for owner, node in zone.nodes.items()
        for kind, rrset in node.items()
        if kind != SOA
        for rdata in rrset.rdatas
    }


def _grouped(rows: set[tuple[bytes, int, int, bytes]]) -> tuple[Row, ...]:
    return tuple((owner, Rrset(type=kind, ttl=ttl, rdatas=(rdata,))) for owner, kind, ttl, rdata in sorted(rows))


def is_newer(one: int, other: int) -> bool:
    """Serials go round (RFC 1982)."""
    return 0 < (one - other) % SERIALS < SERIALS // 2


def whole_rows(zone: Zone) -> Iterator[Row]:
    """Everything, between two copies of the SOA."""
    yield zone.origin, zone.soa
    for owner in sorted(zone.nodes, key=canonical):
        for kind, rrset in sorted(zone.nodes[owner].items()):
            if kind != SOA:
                yield owner, rrset
    yield zone.origin, zone.soa


def changed_rows(zone: Zone, deltas: Sequence[Delta], serial: int) -> Iterator[Row] | None:
    """From this serial to the zone's; None where the deltas don't tell."""
    if serial == zone.serial or is_newer(serial, zone.serial):
        return iter([(zone.origin, zone.soa)])
    steps: list[Delta] = []
    for delta in reversed(deltas):
        steps.insert(0, delta)
        if delta.serial_before == serial:
            return _stepped(zone, steps)
    return None


def _stepped(zone: Zone, steps: Sequence[Delta]) -> Iterator[Row]:
    yield zone.origin, zone.soa
    for delta in steps:
        yield zone.origin, delta.before
        yield from delta.removed
        yield zone.origin, delta.after
        yield from delta.added
    yield zone.origin, zone.soa


def serial_of(query: Query) -> int | None:
    """What an IXFR says it has: the serial of the SOA in its second section (RFC 1995 section 3)."""
    data = query.authority
    return int.from_bytes(data[-20:-16], "big") if len(data) > 20 else None


def messages(query: Query, rows: Iterator[Row], *, name: bytes) -> Iterator[bytes]:
    """Answers that carry the rows, each as full as it may be; without signatures."""
    writer, count = Writer(name), 0
    question = query.question
    for owner, rrset in rows:
        for rdata in rrset.rdatas:
            count += writer.rrset(owner, Rrset(type=rrset.type, ttl=rrset.ttl, rdatas=(rdata,)))
            if len(writer.out) >= MESSAGE_MAX:
                yield _message(query, question, count, bytes(writer.out))
                writer, count = Writer(name), 0
    if count:
        yield _message(query, question, count, bytes(writer.out))


def _message(query: Query, question: bytes, count: int, data: bytes) -> bytes:
    flags = QR | AA | query.flags & (OPCODE_MASK | RD)
    return HEADER.pack(query.id, flags, 1, count, 0, 0) + question + data
