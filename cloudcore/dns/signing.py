"""Signs what is answered, when it is answered: DNSSEC with compact denial (RFC 4034, 4035, 9824).

A name that is not there is told as one that is and has nothing: one NSEC with the type NXNAME, and NOERROR.
Signatures of what is in the zone are kept by what they sign, for a day; the responder keeps whole answers on top of
that, so a signature is made once a day and process for a set of records. Names that are not there have no end: of
theirs the latest are kept, and no more are made in a second than the pace allows (docs/decisions/0408).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype

from cloudcore.dns.keys import ZoneKey
from cloudcore.dns.limiter import Pace, SpentError
from cloudcore.dns.lookup import NXNAME, Asked, Found, Section, one_of, wildcard_of
from cloudcore.dns.zone import Zone
from skerry.dns.names import is_within, successor, text_of
from skerry.dns.numbers import CNAME, DNAME, DNSKEY, DS, NOERROR, NS, NSEC, NXDOMAIN, RRSIG, SOA
from skerry.dns.records import Rrset
from skerry.frozen import replace

_SIGN: Final = cast("Callable[..., dns.rdata.Rdata]", dns.dnssec.sign)
DAY_S: Final = 86_400
BEFORE_S: Final = 3 * 3600
"""Clocks of resolvers may be behind."""
LASTING_DAYS: Final = 10
KEPT_MAX: Final = 100_000
DENIALS_MAX: Final = 20_000
"""Signatures of names that are not in the zone, the latest."""


class ZoneSigner:
    """Of one zone; `pace` is for all zones of a process."""

    def __init__(self, zone: Zone, keys: Sequence[ZoneKey], pace: Pace | None = None) -> None:
        rdatas = tuple(sorted(key.dnskey.to_wire() or b"" for key in keys))
        self.dnskeys = Rrset(type=DNSKEY, ttl=zone.soa.ttl, rdatas=rdatas)
        self.plain = zone
        self.zone = replace(
            zone, nodes={**zone.nodes, zone.origin: {**zone.nodes[zone.origin], DNSKEY: self.dnskeys}}
        )
        self._keys = tuple(keys)
        self._name = dns.name.from_text(text_of(zone.origin))
        self._made: dict[tuple[bytes, Rrset], Rrset] = {}
        self._denied: dict[tuple[bytes, Rrset], Rrset] = {}
        self._pace = pace or Pace(0)
        self._day = -1

    def signed(self, found: Found, asked: Asked) -> Found:
        """With signatures and proofs. Raises `SpentError` where more would have to be made than the pace allows."""
        self._turn(int(asked.now_s) // DAY_S)
        if asked.kind in (NSEC, RRSIG) and found.authoritative and not _renamed(found):
            return self._explicit(found, asked)
        made = Found(
            rcode=NOERROR if found.rcode == NXDOMAIN else found.rcode,
            authoritative=found.authoritative,
            glue=found.glue,
            additional=found.additional,
            bounded=found.bounded,
        )
        before = 0
        for owner, rrset in found.answer:
            made.answer.append((owner, rrset))
            # An alias that a DNAME stands for is proven by that (RFC 6672 section 5.3.1).
            if not (before == DNAME and rrset.type == CNAME):
                made.answer.append((owner, self._signature(owner, rrset, asked)))
            before = rrset.type
        for owner, rrset in found.authority:
            made.authority.append((owner, rrset))
            if rrset.type == SOA:
                made.authority.append((owner, self._signature(owner, rrset, asked)))
                made.authority += self._denial(_last(found.answer, asked.name, asked.kind), asked)
            elif rrset.type == NS and not found.authoritative:
                made.authority += self._delegation(owner, asked)
        return made

    def _explicit(self, found: Found, asked: Asked) -> Found:
        """Who asks for the proof itself has it, whether or not the name is there; of signatures, those of one set
        (as with ANY, RFC 8482)."""
        name = asked.name
        nsec = self._nsec(name)
        if asked.kind == RRSIG:
            node = self.zone.nodes.get(name) or wildcard_of(self.zone, name) or {}
            answer = [(name, self._signature(name, one_of(node) or nsec, asked))]
        else:
            # They go along where they are wished for (RFC 4035 section 3.2.1).
            signatures = [(name, self._signature(name, nsec, asked))] if asked.wants else []
            answer = [(name, nsec), *signatures]
        return Found(answer=answer, bounded=found.bounded)

    def _turn(self, day: int) -> None:
        if day != self._day or len(self._made) > KEPT_MAX:
            self._day = day
            self._made.clear()
            self._denied.clear()

    def _delegation(self, cut: bytes, asked: Asked) -> Section:
        secure = self.zone.nodes[cut].get(DS)
        if secure is None:
            return self._denial(cut, asked)
        return [(cut, secure), (cut, self._signature(cut, secure, asked))]

    def _denial(self, name: bytes, asked: Asked) -> Section:
        if not is_within(name, self.zone.origin):
            return []
        nsec = self._nsec(name)
        return [(name, nsec), (name, self._signature(name, nsec, asked))]

    def _nsec(self, name: bytes) -> Rrset:
        following = successor(name, self.zone.origin)
        data = following + _bitmap({*self._types(name), RRSIG, NSEC})
        return Rrset(type=NSEC, ttl=self.zone.negative.ttl, rdatas=(data,))

    def _types(self, name: bytes) -> Iterable[int]:
        zone = self.zone
        node = zone.nodes.get(name)
        if name in zone.cuts:
            return {NS, DS} & set(zone.nodes[name])
        if node is None:
            node = wildcard_of(zone, name)
            return {NXNAME} if node is None else node
        return node

    def _signature(self, owner: bytes, rrset: Rrset, asked: Asked) -> Rrset:
        about = owner, rrset
        if owner in self.zone.nodes:
            made = self._made.get(about)
            if made is None:
                made = self._made[about] = self._sign(owner, rrset)
            return made
        made = self._denied.pop(about, None)
        if made is None:
            if not self._pace.takes(asked.now_s, proven=asked.proven):
                raise SpentError
            made = self._sign(owner, rrset)
            if len(self._denied) >= DENIALS_MAX:
                del self._denied[next(iter(self._denied))]
        self._denied[about] = made  # the latest are last
        return made

    def _sign(self, owner: bytes, rrset: Rrset) -> Rrset:
        kind = dns.rdatatype.RdataType.make(rrset.type)
        rdatas = [dns.rdata.from_wire(dns.rdataclass.IN, kind, data, 0, len(data)) for data in rrset.rdatas]
        data = dns.rdataset.from_rdata_list(rrset.ttl, rdatas)
        name = dns.name.from_wire(owner, 0)[0]
        begin = self._day * DAY_S - BEFORE_S
        signers = self._keys if rrset.type == DNSKEY else [key for key in self._keys if key.state == "active"]
        signatures = [
            _SIGN(
                (name, data),
                key.private,
                self._name,
                key.dnskey,
                inception=begin,
                expiration=begin + (LASTING_DAYS + 1) * DAY_S,
            ).to_wire()
            for key in signers
        ]
        return Rrset(type=RRSIG, ttl=rrset.ttl, rdatas=tuple(sorted(each or b"" for each in signatures)))


def _last(answer: Section, name: bytes, kind: int) -> bytes:
    """Where a chain of aliases has led to."""
    for _, rrset in answer:
        if rrset.type == CNAME and kind != CNAME:
            name = rrset.rdatas[0].lower()
    return name


def _renamed(found: Found) -> bool:
    return bool(found.answer) and found.answer[0][1].type == DNAME


def _bitmap(types: Iterable[int]) -> bytes:
    """RFC 4034 section 4.1.2."""
    windows: dict[int, bytearray] = {}
    for kind in types:
        bits = windows.setdefault(kind >> 8, bytearray(32))
        bits[(kind & 0xFF) >> 3] |= 0x80 >> (kind & 7)
    out = b""
    for window in sorted(windows):
        bits = bytes(windows[window]).rstrip(b"\0")
        out += bytes([window, len(bits)]) + bits
    return out
