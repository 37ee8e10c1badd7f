"""A packet comes in, its answer comes out: all that the server decides (RFC 1034, 1035, 6891, 8906, 9619). Pure.

Keeps sections that were made once, by name, type and wish for signatures, of names that are in zones: as many as
their records, and so many of what is said of types that a name has not; and that a name is not there, by its zone and
size. `Reply.lasting` tells the shell that the same
bytes would be answered the same, whoever asks, as long as this responder lives; it lives as long as its snapshot of
the zones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

from cloudcore.dns.access import Access
from cloudcore.dns.assembly import EMPTY, Body, absent_body, assemble
from cloudcore.dns.cookies import Cookies, is_well_formed
from cloudcore.dns.geography import GeoDatabase
from cloudcore.dns.limiter import Limiter, SpentError
from cloudcore.dns.lookup import NXNAME, Asked, Found, is_absent, look_up, source_of, zone_for
from cloudcore.dns.options import (
    EDE_INVALID_TYPE,
    EDE_NOT_AUTHORITATIVE,
    EDE_NOT_READY,
    EDE_NOT_SUPPORTED,
    EDE_PROHIBITED,
    plain_options,
    subnet_of,
)
from cloudcore.dns.places import Places
from cloudcore.dns.replies import Client, Draft, Reply, bare
from cloudcore.dns.shapes import SHAPES_MAX, SUBNET_AT, Shape, key_of, shape_of
from cloudcore.dns.steering import SIZES, Choice, Service, choose, classes_of
from cloudcore.dns.table import HealthTable
from cloudcore.dns.transfer import Delta, changed_rows, messages, serial_of, whole_rows
from cloudcore.dns.tsig import Signer, verify
from cloudcore.dns.zone import Zone
from skerry.dns.names import LABEL_MAX, NAME_MAX, is_within, name_of
from skerry.dns.numbers import (
    AA,
    ANY,
    AXFR,
    BADCOOKIE,
    BADVERS,
    CHAOS,
    CLIENT_SUBNET,
    COOKIE,
    FORMERR,
    HEADER_SIZE,
    IN,
    IXFR,
    MAILA,
    MAILB,
    NOERROR,
    NOTAUTH,
    NOTIFY,
    NOTIMP,
    NSEC,
    NXDOMAIN,
    OPT,
    QUERY,
    REFUSED,
    RRSIG,
    SERVFAIL,
    TC,
    TKEY,
    TSIG,
    TXT,
    MalformedError,
)
from skerry.dns.queries import Query, parse_query
from skerry.dns.records import Rrset
from skerry.frozen import Frozen

KEPT_MAX: Final = 100_000
"""Choices that are kept (names times regions, mostly), and sections of other than a record set asked for by its type:
referrals, aliases, that there is no such type. When they are so many they are all forgotten."""
_NO_DATA_TYPES: Final = frozenset({TKEY, TSIG, MAILA, MAILB})
_QUICK_HEAD: Final = struct.Struct("!HHHHH")
"""A header without its id."""
_WHO: Final = (name_of("id.server"), name_of("hostname.bind"))
_VERSION: Final = (name_of("version.server"), name_of("version.bind"))

Keeping = Literal["long", "passing", "never"]
"""Whether the same bytes would be answered the same, whoever asks. Of names that are in a zone by themselves there
are so many and no more; of others, and of client subnets, there is no end: what is said to them is kept for a
while."""
Quick = tuple[bytes, int, Keeping]
"""An answer behind its id, its rcode, and how long it may be kept; what passes may depend on who is up."""


class Identity(Frozen):
    """What the server tells of itself."""

    nsid: str = ""
    """Its name among several (RFC 5001, `id.server`); "": it says none."""
    version: str = ""
    """For `version.bind`; "": refused."""


class Desk(Frozen):
    """What a responder is made of."""

    zones: Mapping[bytes, Zone]
    identity: Identity = Identity()
    cookies: Cookies | None = None
    limiter: Limiter | None = None
    idle_s: float = 10.0
    """What clients over streams are told that they may be silent."""
    access: Access = Access()
    deltas: Mapping[bytes, tuple[Delta, ...]] = {}
    health: HealthTable | None = None
    geo: GeoDatabase | None = None
    primaries: Mapping[bytes, frozenset[bytes]] = {}
    """Of zones that are copies: addresses that may say that they have changed."""
    on_notify: Callable[[bytes], None] | None = None
    """For the shell."""
    signers: Mapping[bytes, Signs] = {}
    """By zone."""
    kept_max: int = KEPT_MAX


class Signs(Protocol):
    """See `cloudcore.dns.signing`, which needs libraries that not every server has use for."""

    @property
    def plain(self) -> Zone:
        """As it is without keys: other servers that have it transferred sign it themselves, or not at all."""
        ...

    def signed(self, found: Found, asked: Asked) -> Found: ...


class _Sections(Frozen):
    body: Body
    rcode: int
    authoritative: bool
    found: Found
    small: int
    """Bytes that must be in it."""
    bounded: bool
    service: Service | None = None
    """Whose addresses are in it, if of any; then it is not signed yet."""
    signer: Signs | None = None
    leaves: Places | None = None
    """Classes of clients that the service has one choice for, where nothing else decides."""


class Responder:
    """`reply` to any bytes at all."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._made: dict[tuple[bytes, int, bool], _Sections] = {}
        self._untyped: list[tuple[bytes, int, bool]] = []
        """Of these, what is not bounded by the zones' records."""
        self._steered: dict[tuple[bytes, int, int, bool, tuple[bytes, ...]], _Sections] = {}
        self._picked: dict[tuple[bytes, int, bool, str], _Sections] = {}
        """The same by class of clients, as long as nobody's health changes."""
        self._seen: dict[bytes, Service] = {}
        """Services as they are now, by name."""
        self._number = -1
        self._day = -1
        self._absent: dict[tuple[bytes, int], Body] = {}
        self._shapes: dict[bytes, Shape] = {}
        self._factor = None if desk.limiter is None else desk.limiter.settings.factor
        """From so many times its query an answer is not made quickly."""

    def reply(self, packet: bytes, client: Client, now_s: float) -> Reply | None:
        """None: nothing is sent; it was no query, or an answer itself, with which two servers could go on for
        ever."""
        if len(packet) < HEADER_SIZE or packet[2] & 0x80:
            return None
        self.look(now_s)
        opcode = packet[2] >> 3 & 15
        try:
            query = parse_query(packet)
        except MalformedError:
            return bare(packet, FORMERR if opcode == QUERY else NOTIMP)
        return self._answered(packet, query, client, now_s)

    def quick(self, packet: bytes, name_end: int, address: bytes, now_s: float) -> Quick | None:
        """What `reply` says to a datagram behind the id, where a query of its shape was read before: the name, whose
        zero byte may end at `name_end`, is all that is looked at, and the client's address. None: ask `reply`."""
        shape = self._shapes.get(key_of(packet, name_end)) if name_end else None
        if shape is None or len(packet) - name_end != shape.tail_size:
            return None
        said = b""
        if shape.subnet is not None:
            said = shape.subnet_in(packet[name_end + SUBNET_AT :])
            if said is None:
                return None
        name = packet[HEADER_SIZE:name_end].lower()
        sections = self._made.get((name, shape.type, shape.wants))
        keeping: Keeping = "long"
        if sections is None:
            zone = self._zone_of_sound(name)
            if zone is None or (shape.wants and zone.origin in self.desk.signers):
                return None
            if is_absent(zone, name):
                body = self._absent_from(zone, len(name))
                return self._shaped(packet, name_end, shape, body, rcode=NXDOMAIN, flags=AA, keeping="passing")
            sections = self._sections(zone, Asked(name=name, kind=shape.type, now_s=now_s, wants=shape.wants), None)
        if sections.signer is not None:
            return None
        if not sections.bounded or shape.subnet is not None:
            keeping = "passing"
        scope = 0
        if sections.service is not None:
            sections, scope = self._picked_for(name, shape, sections, sections.service, said or address)
            keeping = "passing" if said or not scope else "never"
        flags = AA if sections.authoritative else 0
        return self._shaped(
            packet,
            name_end,
            shape,
            sections.body,
            rcode=sections.rcode,
            flags=flags,
            keeping=keeping,
            scope=scope if said else 0,
        )

    def _picked_for(
        self, name: bytes, shape: Shape, sections: _Sections, service: Service, address: bytes
    ) -> tuple[_Sections, int]:
        """What a service has for a client, and the scope; made once for all that are alike."""
        about, scope = None, 0
        if sections.leaves is not None:
            alike, scope = sections.leaves.find(address)
            about = name, shape.type, shape.wants, alike
            if (made := self._picked.get(about)) is not None:
                return made, scope
        service = self._now(service)
        choice = choose(service, shape.type, address, self.desk.geo)
        made = self._steered_by(choice, service, sections, Asked(name=name, kind=shape.type, now_s=0.0))
        if about is not None and sections.bounded:
            if len(self._picked) >= self.desk.kept_max:
                self._picked.clear()
            self._picked[about] = made
        return made, choice.scope

    def _shaped(
        self,
        packet: bytes,
        name_end: int,
        shape: Shape,
        body: Body,
        *,
        rcode: int,
        flags: int,
        keeping: Keeping,
        scope: int = 0,
    ) -> Quick | None:
        """None where it is too large, for the client or for a forger."""
        name, opt, data = packet[HEADER_SIZE:name_end], shape.opt, body.data
        if len(data) + len(name) > shape.room:
            return None
        if shape.subnet is not None:
            opt += bytes((scope,)) + packet[name_end + SUBNET_AT :]
        additionals = body.additionals + 1 if opt else body.additionals
        head = _QUICK_HEAD.pack(shape.flags | flags | rcode, 1, body.answers, body.authorities, additionals)
        made = head + name + shape.question_tail + data + opt
        if self._factor is not None and len(made) + 2 > self._factor * len(packet):
            return None
        return made, rcode, keeping

    def _zone_of_sound(self, name: bytes) -> Zone | None:
        """The zone of a name that has the form of one: it was not read as one yet."""
        zones = self.desk.zones
        if len(name) > NAME_MAX:
            return None
        while name:
            if zone := zones.get(name):
                return zone
            size = name[0]
            if not 0 < size <= LABEL_MAX:
                return None
            name = name[size + 1 :]
        return None

    def look(self, now_s: float) -> bool:
        """At the day and at who is up; True: what depends on them (`Reply.steered`) may be otherwise by now."""
        health, day = self.desk.health, int(now_s) // 86_400
        if day != self._day:
            self._day = day
            if self.desk.signers:
                self._made.clear()
                self._untyped.clear()
                self._steered.clear()
        elif health is None or health.number == self._number:
            return False
        self._number = health.number if health is not None else 0
        self._seen.clear()
        self._picked.clear()
        return True

    def _now(self, service: Service) -> Service:
        if self.desk.health is None:
            return service
        seen = self._seen.get(service.name)
        if seen is None:
            seen = self._seen[service.name] = self.desk.health.seen(service)
        return seen

    def _answered(self, packet: bytes, query: Query, client: Client, now_s: float) -> Reply:
        draft = Draft(query, client, now_s)
        if query.tsig_at:
            try:
                draft.signature = verify(packet, query.tsig_at, self.desk.access.keys, int(now_s))
            except MalformedError:
                return bare(packet, FORMERR)
            draft.lasting = False
            if draft.signature.error:
                return draft.reply(NOTAUTH, EMPTY, flags=0)
            draft.proven = True
        if query.opt is not None and not self._options(draft, now_s):
            return draft.reply(FORMERR, EMPTY, flags=0)
        if query.opt is not None and query.opt.version > 0:
            return draft.reply(BADVERS, EMPTY, flags=0)
        if query.opcode == NOTIFY and query.question:
            return self._notified(draft)
        if query.opcode != QUERY:
            return draft.reply(NOTIMP, EMPTY, flags=0)
        if not query.question:
            has_cookie = query.opt is not None and query.opt.option(COOKIE) is not None
            return draft.reply(NOERROR if has_cookie else FORMERR, EMPTY, flags=0)
        if draft.lasting:
            self._learn(packet, draft)
        reply = self._to_question(draft)
        return self._within_limits(packet, draft, reply, now_s)

    def _learn(self, packet: bytes, draft: Draft) -> None:
        shape = shape_of(packet, draft.query, draft.options, draft.subnet, draft.size_max())
        if shape is not None:
            if len(self._shapes) >= SHAPES_MAX:
                self._shapes.clear()
            self._shapes[key_of(packet, HEADER_SIZE + len(draft.query.name))] = shape

    def _notified(self, draft: Draft) -> Reply:
        """A primary says that its zone has changed (RFC 1996); whoever else says it is refused."""
        draft.lasting = False
        if draft.client.address not in self.desk.primaries.get(draft.query.name, frozenset()):
            draft.explain(EDE_PROHIBITED)
            return draft.reply(REFUSED if self.desk.primaries else NOTIMP, EMPTY, flags=0)
        reply = draft.reply(NOERROR, EMPTY, flags=AA)
        return Reply(data=reply.data, rcode=NOERROR, notified=draft.query.name)

    def _options(self, draft: Draft, now_s: float) -> bool:
        """Prepare the answer's options; False: the query's are malformed."""
        opt = draft.query.opt
        assert opt is not None, "asked where there is one"
        stream = draft.client.transport != "udp"
        draft.options += plain_options(
            opt, nsid=self.desk.identity.nsid.encode(), over_stream=stream, idle_s=self.desk.idle_s
        )
        try:
            subnet = subnet_of(opt)
        except MalformedError:
            return False
        if subnet is not None:
            draft.subnet = subnet
            draft.options.append((CLIENT_SUBNET, subnet.option(0)))
        cookie = opt.option(COOKIE)
        if cookie is not None:
            if not is_well_formed(cookie):
                return False
            draft.lasting = False
            draft.has_cookie = True
            if self.desk.cookies is not None:
                made, draft.proven = self.desk.cookies.check(cookie, draft.client.address, int(now_s))
                draft.options.append((COOKIE, made))
        return True

    def _to_question(self, draft: Draft) -> Reply:
        query = draft.query
        if query.cls == CHAOS:
            return self._chaos(draft)
        if query.cls != IN:
            draft.explain(EDE_NOT_SUPPORTED)
            return draft.reply(REFUSED, EMPTY, flags=0)
        if query.type in (AXFR, IXFR):
            return self._transfer(draft)
        if query.type == OPT:
            return draft.reply(FORMERR, EMPTY, flags=0)
        if query.type in _NO_DATA_TYPES:
            return draft.reply(NOTIMP, EMPTY, flags=0)
        if query.type == NXNAME:
            draft.explain(EDE_INVALID_TYPE)
            return draft.reply(FORMERR, EMPTY, flags=0)
        try:
            return self._to_name(draft)
        except SpentError:
            return self._unsigned(draft)

    def _to_name(self, draft: Draft) -> Reply:
        """Raises `SpentError`."""
        query, wants = draft.query, draft.asked().wants
        sections = self._made.get((query.name, query.type, wants))
        if sections is None:
            zone = zone_for(self.desk.zones, query.name, query.type)
            if zone is None:
                draft.explain(EDE_NOT_AUTHORITATIVE)
                draft.lasting = False
                return draft.reply(REFUSED, EMPTY, flags=0)
            # Proofs that are asked for by their type are told to anybody (RFC 4035 section 3.2.1).
            signs = wants or query.type in (NSEC, RRSIG)
            signer = self.desk.signers.get(zone.origin) if signs else None
            if signer is None and is_absent(zone, query.name):
                return self._to_absent(draft, zone)
            sections = self._sections(zone, draft.asked(), signer)
        draft.steered |= sections.signer is not None
        if sections.service is not None:
            sections = self._chosen(draft, sections, sections.service)
        draft.lasting &= sections.bounded
        flags = AA if sections.authoritative else 0
        room = draft.room()
        if len(sections.body.data) <= room:
            return draft.reply(sections.rcode, sections.body, flags=flags)
        if sections.small <= room and (body := assemble(query.name, sections.found, room=room)) is not None:
            return draft.reply(sections.rcode, body, flags=flags)
        return draft.reply(sections.rcode, EMPTY, flags=flags | TC)

    def _transfer(self, draft: Draft) -> Reply:
        """A whole zone, or what has changed in it."""
        query, zone = draft.query, self.desk.zones.get(draft.query.name)
        if signer := self.desk.signers.get(query.name):
            zone = signer.plain
        key = draft.signature.key if draft.signature is not None else None
        draft.lasting = False
        if not self.desk.access.allows(draft.client.address, key):
            draft.explain(EDE_PROHIBITED)
            return draft.reply(REFUSED, EMPTY, flags=0)
        if zone is None:
            return draft.reply(NOTAUTH, EMPTY, flags=0)
        rows = whole_rows(zone)
        if query.type == IXFR:
            serial = serial_of(query)
            if serial is None:
                return draft.reply(FORMERR, EMPTY, flags=0)
            rows = changed_rows(zone, self.desk.deltas.get(zone.origin, ()), serial) or rows
        if draft.client.transport == "udp":
            # A single SOA has who asks come back over TCP (RFC 1995 section 4); a whole zone is never sent so.
            if query.type == AXFR:
                return draft.reply(NOTIMP, EMPTY, flags=0)
            body = assemble(query.name, Found(answer=[(zone.origin, zone.soa)]), room=draft.room())
            return draft.reply(NOERROR, body or EMPTY, flags=AA if body else TC)
        sent = messages(query, rows, name=query.name)
        if draft.signature is not None:
            signer = Signer(draft.signature)
            sent = (signer.signed(message, int(draft.now_s)) for message in sent)
        return Reply(data=next(sent), rcode=NOERROR, more=sent)

    def _to_absent(self, draft: Draft, zone: Zone) -> Reply:
        body = self._absent_from(zone, len(draft.query.name))
        draft.lasting = False
        if len(body.data) > draft.room():
            return draft.reply(NXDOMAIN, EMPTY, flags=AA | TC)
        return draft.reply(NXDOMAIN, body, flags=AA)

    def _absent_from(self, zone: Zone, name_size: int) -> Body:
        about = zone.origin, name_size
        body = self._absent.get(about)
        if body is None:
            body = self._absent[about] = absent_body(zone, name_size)
        return body

    def _chosen(self, draft: Draft, sections: _Sections, service: Service) -> _Sections:
        """The same with what the service has for this client. Made for a choice once: there are few."""
        query, subnet = draft.query, draft.subnet
        tells = subnet is not None and subnet.source > 0
        address = subnet.padded() if subnet is not None and tells else draft.client.address
        service = self._now(service)
        draft.steered = True
        choice = choose(service, query.type, address, self.desk.geo)
        if subnet is not None and tells:
            draft.scope(choice.scope)
        elif choice.scope:
            draft.lasting = False  # it depends on who asks, and not on the query alone
        return self._steered_by(choice, service, sections, draft.asked())

    def _steered_by(self, choice: Choice, service: Service, sections: _Sections, asked: Asked) -> _Sections:
        about = asked.name, asked.kind, service.ttl, sections.signer is not None, choice.rdatas
        made = self._steered.get(about)
        if made is not None:
            return made
        found = sections.found
        end = len(found.answer) - 1
        steered = Found(
            rcode=found.rcode,
            authoritative=found.authoritative,
            answer=[
                (owner, Rrset(type=rrset.type, ttl=service.ttl, rdatas=choice.rdatas))
                if number == end and rrset.type == asked.kind
                else (owner, rrset)
                for number, (owner, rrset) in enumerate(found.answer)
            ],
            authority=found.authority,
            bounded=found.bounded,
        )
        if sections.signer is not None:
            steered = sections.signer.signed(steered, asked)
        body = assemble(asked.name, steered, room=1 << 30)
        assert body is not None, "there is room for all"
        made = _Sections(
            body=body,
            rcode=found.rcode,
            authoritative=found.authoritative,
            found=steered,
            small=len(body.data),
            bounded=sections.bounded,
        )
        if sections.bounded:
            if len(self._steered) >= self.desk.kept_max:
                self._steered.clear()
            self._steered[about] = made
        return made

    def _unsigned(self, draft: Draft) -> Reply:
        """No more signatures are made just now: who might not be where he says comes back over TCP or with the right
        cookie; anybody else asks another server."""
        draft.lasting = False
        if draft.asked().proven:
            draft.explain(EDE_NOT_READY)
            return draft.reply(SERVFAIL, EMPTY, flags=0)
        draft.limited = True
        if draft.has_cookie and self.desk.cookies is not None:
            return draft.reply(BADCOOKIE, EMPTY, flags=0)
        return draft.reply(NOERROR, EMPTY, flags=TC)

    def _sections(self, zone: Zone, asked: Asked, signer: Signs | None) -> _Sections:
        found = look_up(zone, asked.name, asked.kind)
        service = _service_in(zone, found) if asked.kind in SIZES else None
        is_record = [rrset.type for _, rrset in found.answer] == [asked.kind]
        if signer is not None and service is None:
            found = signer.signed(found, asked)
        body = assemble(asked.name, found, room=1 << 30)
        must = Found(answer=found.answer, authority=found.authority, glue=found.glue)
        small = assemble(asked.name, must, room=1 << 30) if found.additional else body
        assert body is not None and small is not None, "there is room for all"
        sections = _Sections(
            body=body,
            rcode=found.rcode,
            authoritative=found.authoritative,
            found=found,
            small=len(small.data),
            bounded=found.bounded,
            service=service,
            signer=signer,
            leaves=classes_of(service, asked.kind) if service is not None else None,
        )
        about = asked.name, asked.kind, asked.wants
        if found.bounded and is_record:
            self._made[about] = sections
        elif found.bounded and asked.kind <= ANY:  # other types are rare, and this is soon made
            if len(self._untyped) >= self.desk.kept_max:
                for each in self._untyped:
                    self._made.pop(each, None)
                self._untyped.clear()
            self._untyped.append(about)
            self._made[about] = sections
        return sections

    def _chaos(self, draft: Draft) -> Reply:
        """`id.server` and its like (RFC 4892)."""
        name, identity = draft.query.name, self.desk.identity
        text = identity.nsid if name in _WHO else identity.version if name in _VERSION else ""
        if not text or draft.query.type not in (TXT, ANY):
            return draft.reply(REFUSED, EMPTY, flags=0)
        data = text.encode()[:255]
        record = b"\xc0\x0c" + bytes([0, TXT, 0, CHAOS, 0, 0, 0, 0]) + (len(data) + 1).to_bytes(2, "big")
        body = Body(data=record + bytes([len(data)]) + data, answers=1, authorities=0, additionals=0)
        return draft.reply(NOERROR, body, flags=AA)

    def _within_limits(self, packet: bytes, draft: Draft, reply: Reply, now_s: float) -> Reply:
        """Large answers to whom has not proven where they are wait for TCP, beyond some a second."""
        limiter = self.desk.limiter
        if limiter is None or draft.client.transport != "udp" or draft.proven:
            return reply
        size, factor = len(reply.data), limiter.settings.factor
        if factor and size <= factor * len(packet):
            return reply
        if limiter.allows(draft.client.address, answer_size=size, query_size=len(packet), now_s=now_s):
            return Reply(data=reply.data, rcode=reply.rcode, truncated=reply.truncated)
        draft.lasting = False
        draft.limited = True
        if draft.has_cookie and self.desk.cookies is not None:
            return draft.reply(BADCOOKIE, EMPTY, flags=0)
        return draft.reply(reply.rcode & 15, EMPTY, flags=TC)


def _service_in(zone: Zone, found: Found) -> Service | None:
    """The service whose addresses an answer ends in."""
    if not zone.services or not found.answer:
        return None
    owner = found.answer[-1][0]
    return zone.services.get(source_of(zone, owner)) if is_within(owner, zone.origin) else None
