"""The authoritative algorithm: what a zone says to a question (RFC 1034 section 4.3.2, 4592, 6672, 8482). Pure.

An alias is followed within its own zone alone: what other zones say, resolvers ask there and believe nobody
else. `Found` is sections of record sets; bytes are made of it in `assembly`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloudcore.dns.zone import TARGET_AT, Node, Zone
from skerry.dns.names import NAME_MAX, ROOT, ancestry, is_below, is_within, parent
from skerry.dns.numbers import (
    AAAA,
    ANY,
    CNAME,
    DNAME,
    DS,
    HTTPS,
    MX,
    NOERROR,
    NS,
    NXDOMAIN,
    SOA,
    SVCB,
    TXT,
    YXDOMAIN,
    A,
)
from skerry.dns.records import Rrset
from skerry.frozen import Frozen

CHAIN_MAX: Final = 16
"""Aliases that are followed; a client goes on by itself."""
NXNAME: Final = 128
"""In proofs alone: the name is not there (RFC 9824)."""
_ANY_FIRST: Final = (SOA, A, AAAA, MX, HTTPS, SVCB, TXT)
_ADDRESSES: Final = (A, AAAA)

Section = list[tuple[bytes, Rrset]]


@dataclass(slots=True)
class Found:
    """What goes into the sections of an answer, by owner."""

    rcode: int = NOERROR
    authoritative: bool = True
    answer: Section = field(default_factory=list)
    authority: Section = field(default_factory=list)
    glue: Section = field(default_factory=list)
    """Addresses without which a referral leads nowhere (RFC 9471)."""
    additional: Section = field(default_factory=list)
    """What spares a question, and may be left out."""
    bounded: bool = True
    """Whether the name asked for is in the zone by itself: there are as many of those as records."""


class Asked(Frozen):
    """What a signer has to know of a question."""

    name: bytes
    kind: int
    now_s: float
    wants: bool = True
    """Whether proofs were wished for (DO)."""
    proven: bool = False
    """Whether the client is where it says."""


def zone_for(zones: Mapping[bytes, Zone], name: bytes, kind: int) -> Zone | None:
    """The zone that has the say; what is told of a delegation from above (DS) is the parent's."""
    child: Zone | None = None
    for suffix in ancestry(name):
        zone = zones.get(suffix)
        if zone is None:
            continue
        if kind == DS and suffix == name and child is None:
            child = zone
            continue
        return zone
    return child


def look_up(zone: Zone, name: bytes, kind: int) -> Found:
    """What the zone says to a name of it, in lower case."""
    found = Found()
    seen: set[bytes] = set()
    while name not in seen and len(seen) < CHAIN_MAX and is_within(name, zone.origin):
        seen.add(name)
        onward = _step(zone, name, kind, found, first=len(seen) == 1)
        if onward is None:
            break
        name = onward
    _add_addresses(zone, found)
    return found


def is_absent(zone: Zone, name: bytes) -> bool:
    """Whether nothing at all is said of the name but that it is not there; most questions of forgers are so."""
    if name in zone.nodes or zone.renames or (zone.cuts and cut_above(zone, name, A) is not None):
        return False
    return wildcard_of(zone, name) is None


def source_of(zone: Zone, name: bytes) -> bytes:
    """Whose records a name is answered with: its own, or those of the wildcard that stands for it."""
    if name in zone.nodes:
        return name
    encloser = parent(name)
    while encloser not in zone.nodes:
        encloser = parent(encloser)
    return b"\x01*" + encloser


def one_of(node: Node) -> Rrset | None:
    """RFC 8482 section 4.1: one of the sets, not all."""
    if CNAME in node:
        return node[CNAME]
    for kind in (*_ANY_FIRST, *sorted(node)):
        if kind in node:
            return node[kind]
    return None


def _step(zone: Zone, name: bytes, kind: int, found: Found, *, first: bool) -> bytes | None:
    """One name's part; the name to go on with, if any."""
    if zone.cuts and (cut := cut_above(zone, name, kind)) is not None:
        _refer(zone, cut, found)
        found.bounded = first and name == cut
        if first:
            found.authoritative = False
        return None
    if zone.renames and (renamed := renamed_above(zone, name)) is not None:
        found.bounded = False
        return _rename(zone, name, renamed, kind, found)
    node = zone.nodes.get(name)
    if node is None:
        found.bounded = False
        node = wildcard_of(zone, name)
        if node is None:
            found.rcode = NXDOMAIN
            found.authority.append((zone.origin, zone.negative))
            return None
    if kind == ANY:
        if chosen := one_of(node):
            found.answer.append((name, chosen))
        else:
            found.authority.append((zone.origin, zone.negative))
        return None
    if rrset := node.get(kind):
        found.answer.append((name, rrset))
        return None
    if alias := node.get(CNAME):
        found.answer.append((name, alias))
        return alias.rdatas[0].lower()
    found.authority.append((zone.origin, zone.negative))
    return None


def cut_above(zone: Zone, name: bytes, kind: int) -> bytes | None:
    """The highest delegation at or above the name. The DS at one is the parent's to tell (RFC 4035 section
    3.1.4.1)."""
    cut: bytes | None = None
    for each in ancestry(name):
        if each == zone.origin:
            break
        if each in zone.cuts and not (kind == DS and each == name):
            cut = each
    return cut


def renamed_above(zone: Zone, name: bytes) -> bytes | None:
    found: bytes | None = None
    for each in ancestry(name):
        if each in zone.renames and each != name:
            found = each
        if each == zone.origin:
            break
    return found


def _rename(zone: Zone, name: bytes, renamed: bytes, kind: int, found: Found) -> bytes | None:
    """DNAME: the part below it stays, and what is above becomes another (RFC 6672 section 3.2)."""
    rrset = zone.nodes[renamed][DNAME]
    found.answer.append((renamed, rrset))
    onward = name[: len(name) - len(renamed)] + rrset.rdatas[0]
    if len(onward) > NAME_MAX:
        found.rcode = YXDOMAIN
        return None
    found.answer.append((name, Rrset(type=CNAME, ttl=rrset.ttl, rdatas=(onward,))))
    # Who asked for the alias itself has it.
    return None if kind in (CNAME, ANY) else onward.lower()


def wildcard_of(zone: Zone, name: bytes) -> Node | None:
    """What stands for a name that is not there: `*` below the nearest name above it that is (RFC 4592)."""
    encloser = parent(name)
    while encloser not in zone.nodes:
        encloser = parent(encloser)
    return zone.nodes.get(b"\x01*" + encloser)


def _refer(zone: Zone, cut: bytes, found: Found) -> None:
    node = zone.nodes[cut]
    found.authority.append((cut, node[NS]))
    for rdata in node[NS].rdatas:
        target = rdata.lower()
        there = zone.nodes.get(target)
        if there is None:
            continue
        into = found.glue if is_within(target, cut) else found.additional
        into.extend((target, there[kind]) for kind in _ADDRESSES if kind in there)


def _add_addresses(zone: Zone, found: Found) -> None:
    """Addresses of what the answer leads to, as far as the zone has them (RFC 1035 section 3.3.9, 2782, 9460)."""
    told = {(owner, rrset.type) for owner, rrset in (*found.answer, *found.glue, *found.additional)}
    for owner, rrset in found.answer:
        place = TARGET_AT.get(rrset.type)
        if place is None:
            continue
        for rdata in rrset.rdatas:
            target = _target(rdata, place, owner, rrset.type)
            if target is None or not is_within(target, zone.origin):
                continue
            node = zone.nodes.get(target)
            if node is None and not cut_above(zone, target, A):
                node = wildcard_of(zone, target) if is_below(target, zone.origin) else None
            for kind in _ADDRESSES:
                if node is not None and kind in node and (target, kind) not in told:
                    told.add((target, kind))
                    found.additional.append((target, node[kind]))


def _target(rdata: bytes, place: int, owner: bytes, kind: int) -> bytes | None:
    """The name that a record leads to; None where there is none."""
    position = place
    while position < len(rdata) and rdata[position]:
        position += rdata[position] + 1
    name = rdata[place : position + 1].lower()
    if name != ROOT:
        return name
    # In service mode "." is the owner itself (RFC 9460 section 2.5.2).
    return owner if kind in (SVCB, HTTPS) and rdata[:2] != b"\0\0" else None
