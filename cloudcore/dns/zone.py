"""A zone as the server answers from it: made once, never changed, with what a question needs found beforehand. Pure.

Names that exist only because something is below them (empty non-terminals, RFC 4592) are nodes like others, so that
"does it exist" is one look. Data at and below a delegation is kept for its addresses (glue) and never answered with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from cloudcore.dns.steering import Service
from skerry.dns.names import is_within, parent, text_of
from skerry.dns.numbers import AAAA, CNAME, DNAME, DNSKEY, DS, HTTPS, MX, NS, NSEC, RRSIG, SOA, SRV, SVCB, A
from skerry.dns.records import Record, Rrset
from skerry.errors import InvalidError
from skerry.frozen import Frozen

TTL_MAX: Final = 0x7FFFFFFF
"""RFC 2181 section 8."""
TARGET_AT: Final[Mapping[int, int]] = {NS: 0, MX: 2, SRV: 6, SVCB: 2, HTTPS: 2}
"""Where in the data of these types the name is whose addresses go along (RFC 1035, 2782, 9460)."""
_BESIDE_CNAME: Final = frozenset({CNAME, RRSIG, NSEC})
_SOA_TAIL: Final = struct.Struct("!IIIII")


Node = Mapping[int, Rrset]


class Zone(Frozen):
    """All of a zone."""

    origin: bytes
    nodes: Mapping[bytes, Node]
    """By name in lower case, empty non-terminals with nothing in them."""
    cuts: frozenset[bytes]
    """Where others have the say: NS below the apex."""
    renames: frozenset[bytes]
    """Names with a DNAME."""
    soa: Rrset
    negative: Rrset
    """The SOA as it goes with what is not there, its TTL no more than its own `minimum` (RFC 2308)."""
    serial: int
    services: Mapping[bytes, Service] = {}
    """Names whose addresses depend on who asks; their nodes hold all of them."""

    @property
    def records(self) -> int:
        return sum(len(rrset.rdatas) for node in self.nodes.values() for rrset in node.values())


def build(origin: bytes, records: Iterable[Record], services: Mapping[bytes, Service] | None = None) -> Zone:
    """The zone of these records. Raises `InvalidError` that names what is wrong in it."""
    gathered: dict[bytes, dict[int, tuple[int, dict[bytes, None]]]] = {}
    for record in records:
        if not is_within(record.owner, origin):
            raise InvalidError(f"{text_of(record.owner)} is not in the zone {text_of(origin)}")
        ttl, rdatas = gathered.setdefault(record.owner, {}).get(record.type, (record.ttl, {}))
        rdatas[record.rdata] = None
        # Records of a set with different TTLs have the least (RFC 2181 section 5.2).
        gathered[record.owner][record.type] = (min(ttl, record.ttl, TTL_MAX), rdatas)
    nodes = {
        owner: {kind: Rrset(type=kind, ttl=ttl, rdatas=tuple(sorted(rdatas))) for kind, (ttl, rdatas) in sets.items()}
        for owner, sets in gathered.items()
    }
    for name in services or {}:
        nodes.setdefault(name, {})
    _check(origin, nodes)
    for owner in list(nodes):
        while owner != origin and (owner := parent(owner)) not in nodes:
            nodes[owner] = {}
    soa = nodes[origin][SOA]
    data = soa.rdatas[0]
    serial, *_, minimum = _SOA_TAIL.unpack_from(data, len(data) - _SOA_TAIL.size)
    return Zone(
        origin=origin,
        nodes=nodes,
        cuts=frozenset(owner for owner, node in nodes.items() if NS in node and owner != origin),
        renames=frozenset(owner for owner, node in nodes.items() if DNAME in node),
        soa=soa,
        negative=Rrset(type=SOA, ttl=min(soa.ttl, minimum), rdatas=soa.rdatas),
        serial=serial,
        services=services or {},
    )


def _check(origin: bytes, nodes: Mapping[bytes, Node]) -> None:
    apex = nodes.get(origin, {})
    soa = apex.get(SOA)
    if soa is None or len(soa.rdatas) != 1:
        found = 0 if soa is None else len(soa.rdatas)
        raise InvalidError(f"zone {text_of(origin)} must have one SOA record at its top, and has {found}")
    if NS not in apex:
        raise InvalidError(f"zone {text_of(origin)} has no NS record at its top")
    for owner, node in nodes.items():
        if SOA in node and owner != origin:
            raise InvalidError(f"{text_of(owner)} has an SOA record inside the zone {text_of(origin)}")
        if CNAME in node:
            if len(node[CNAME].rdatas) > 1:
                raise InvalidError(f"{text_of(owner)} has more than one CNAME record")
            if set(node) - _BESIDE_CNAME:
                raise InvalidError(f"{text_of(owner)} has a CNAME and other records (RFC 1034 section 3.6.2)")
        if DNAME in node and len(node[DNAME].rdatas) > 1:
            raise InvalidError(f"{text_of(owner)} has more than one DNAME record")


def warnings(zone: Zone) -> list[str]:
    """What is allowed and surely not meant, a line each."""
    lines: list[str] = []
    for owner, node in sorted(zone.nodes.items()):
        targets = [
            rdata[TARGET_AT[kind] :].lower() for kind in (NS, MX, SRV) if kind in node for rdata in node[kind].rdatas
        ]
        found = [reason for target in targets if (reason := _dead_end(zone, target))]
        lines += [f"{text_of(owner)} leads to {reason}" for reason in found]
    for cut in sorted(zone.cuts):
        lines += [
            f"{text_of(owner)} is never answered: {text_of(cut)} is delegated"
            for owner, node in zone.nodes.items()
            if owner != cut and owner.endswith(cut) and is_within(owner, cut) and set(node) - {A, AAAA}
        ]
        extra = set(zone.nodes[cut]) - {NS, DS, A, AAAA, NSEC, RRSIG, DNSKEY}
        if extra:
            lines.append(f"{text_of(cut)} is delegated, and has records that are never answered")
    return lines


def _dead_end(zone: Zone, target: bytes) -> str:
    if target == b"\0" or not is_within(target, zone.origin):
        return ""
    there = zone.nodes.get(target, {})
    if CNAME in there:
        return f"{text_of(target)}, which is an alias (RFC 2181 section 10.3)"
    if not {A, AAAA} & set(there) and not _covered(zone, target):
        return f"{text_of(target)}, which has no address"
    return ""


def _covered(zone: Zone, target: bytes) -> bool:
    """Whether a delegation or a wildcard may give it an address."""
    while target != zone.origin:
        if target in zone.cuts:
            return True
        target = parent(target)
        if b"\x01*" + target in zone.nodes:
            return True
    return False
