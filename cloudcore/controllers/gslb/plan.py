"""A zone put together: records and services of everybody who has names in it, each name with its first owner. Pure.

What one object has wrong keeps out that record alone, and is told as a problem: the zone is answered for. At the end
the whole is judged as servers judge it, and what they would refuse is left out as well: a server that can't read a
zone goes on with the one before, so that nothing that anybody changes would be answered any more. The serial moves
when what secondaries are told moves, and not when somebody goes down.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloudcore.controllers.gslb.draft import Draft, Host, zone_of
from cloudcore.controllers.gslb.records import line_of, quoted
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.gslb import GSLBS, Wish
from skerry.objects.hosts import is_address
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key
from skerry.objects.multicluster_dns import ENDPOINTS, INGRESS_RECORDS, SERVICE_RECORDS

_ENDPOINT_TYPES: Final = ("A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NAPTR", "PTR", "SRV", "SVCB", "TXT")
_NAME_LENGTH_MAX: Final = 253
_NAME: Final = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
PROBLEMS_MAX: Final = 100
SERIALS: Final = 1 << 32
_STATES: Final = {"Up": "up", "Down": "down", "Drained": "drained"}
_ADDRESSES: Final = ("A", "AAAA")
_LEADING: Final = frozenset({"A", "AAAA", "CNAME", "DNAME", "HTTPS", "SVCB"})
"""Types by which clients are led: who has one at a name has the host."""
_CHALLENGE: Final = "_acme-challenge"
"""Who answers there has certificates for the name above it, and for all names right below that (RFC 8555, 8.4)."""
ENDPOINTS_MAX: Final = 1000
"""Of a service, as servers take them."""
JUDGEMENTS_MAX: Final = 200
"""Times that what one namespace has in a zone is judged to find what is refused; what of it was not found by then is
left out untried, and nobody else's."""
_UNTRIED: Final = "not tried, too much else of its namespace is refused"

Judge = Callable[[str, JsonObject], str]
"""Why servers would refuse a zone, given its name and the spec of a snapshot; "" where they take it."""


class Composed(Frozen):
    spec: JsonObject | None
    """Of the DnsSnapshot; None where not even the zone's own servers can be told, so that what was is answered on."""
    records: int
    services: int
    problems: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]] = {}
    """Why, by whose it is."""


class Wished(Frozen):
    """A Gslb or GlobalService and what it comes to."""

    wish: Wish
    draft: Draft
    age: str
    """When it was made, in a form that sorts."""
    prefix: str = ""
    """Of its names, where it goes beside another wish of the same object: it has those whose rest is that one's, and
    what it lacks is told of that one alone."""


class Listed(Frozen):
    """A DNSEndpoint."""

    key: Key
    obj: JsonObject
    age: str


class Unread(Frozen):
    """What nothing can be made of."""

    key: Key
    age: str
    why: str


class _Part(Frozen):
    """What is in the zone or not, as a whole."""

    owner: str
    share: str
    """The namespace of the owner; "" for the zone's own."""
    what: str
    lines: tuple[str, ...] = ()
    services: Mapping[str, JsonObject] = {}


@dataclass(slots=True)
class _Claims:
    """Who has which name and type; who comes first, has it. A name, with all that labels with underscores say of it
    (`_acme-challenge.`, `_443._tcp.`), is of one namespace: who writes such a record for another's host could have a
    certificate for it, or lead its clients away."""

    zone: str
    owners: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Whose, and what."""
    cuts: set[str] = field(default_factory=set)
    """Names that the zone has given to other servers."""
    spaces: dict[str, str] = field(default_factory=dict)
    """The namespaces that have names; what the zone has itself is in none."""
    hosts: dict[str, bool] = field(default_factory=dict)
    """Of names that the zone has something at: whether it leads clients there."""
    below: dict[str, set[str]] = field(default_factory=dict)
    """Who has names right below a name; "" for the zone."""
    around: set[str] = field(default_factory=set)
    """Names that a namespace took when others had names right below them: it does not speak for those."""

    def refuse(self, owner: str, why: str) -> None:
        self.problems.append((owner, why))

    def take(self, name: str, kinds: Sequence[str], owner: str, space: str = "") -> bool:
        """`space` is "" for the zone's own."""
        about = _subject(name, self.zone)
        if space and not self._taken(name, kinds, owner) and (why := self._foreign(name, about, space)):
            self.refuse(owner, f"{name}: {why}")
            return False
        if not self._take(name, kinds, owner):
            return False
        leads = not _LEADING.isdisjoint(kinds)
        if space and about not in self.spaces:
            self.spaces[about] = space
            if self.below.get(about, set()) - {space}:
                self.around.add(about)
        if not space:
            self.hosts[name] = self.hosts.get(name, False) or leads
        if space or leads:
            self.below.setdefault(about.partition(".")[2], set()).add(space)
        return True

    def _foreign(self, name: str, about: str, space: str) -> str:
        """Why a namespace can't have it, where nobody has this very set; "" where it can."""
        first = self.spaces.get(about)
        if first is not None and first != space:
            return f"{about} is of namespace {first}"
        if self.hosts.get(about) or (about != name and about in self.hosts and first is None):
            return f"{about} is DnsZone {self.zone}'s"
        if _CHALLENGE not in name.split("."):
            return ""
        if about == name:
            return "speaks for the zone itself and all names right below it, and belongs into the DnsZone"
        if about in self.around or (first is None and self.below.get(about, set()) - {space}):
            return f"speaks for all names right below {about} as well, and others had some before"
        return ""

    def _taken(self, name: str, kinds: Sequence[str], owner: str) -> bool:
        """By somebody who can be named."""
        there = self.owners.get(name, {})
        return any(there.get(kind, owner) != owner for kind in kinds)

    def _take(self, name: str, kinds: Sequence[str], owner: str) -> bool:
        there = self.owners.setdefault(name, {})
        others = {kind: who for kind, who in there.items() if who != owner}
        taken = next((others[kind] for kind in kinds if kind in others), "")
        if not taken and others and ("CNAME" in kinds or "CNAME" in others):
            taken = next(iter(others.values()))
        if not taken and there and ("CNAME" in kinds) != ("CNAME" in there):
            self.refuse(owner, f"{name} is an alias, and can have nothing else")
            return False
        if taken:
            self.refuse(owner, f"{name} is {taken}'s")
            return False
        there.update(dict.fromkeys(kinds, owner))
        return True

    def given_away(self, name: str) -> str:
        """The delegation that a name is at or below; "" for none."""
        labels = name.split(".")
        above = (".".join(labels[at:]) for at in range(len(labels)))
        return next((each for each in above if each in self.cuts), "")


def compose(
    zone: str,
    obj: JsonObject,
    zones: Sequence[str],
    sources: Iterable[Wished | Listed | Unread],
    before: JsonObject | None,
    now_s: int,
    judge: Judge,
) -> Composed:
    """`before` is the spec of the snapshot that there is."""
    spec, claims = map_at(obj, "spec"), _Claims(zone)
    ttl = int_at(spec, "ttlSeconds", default=300)
    base, parts = _own(zone, spec, claims)
    for each in sorted(sources, key=lambda each: (each.age, _owner_of(each))):
        if isinstance(each, Unread):
            claims.refuse(owner_text(each.key), each.why)
            continue
        if isinstance(each, Listed):
            parts += _of_endpoint(each.key, each.obj, zone, zones, claims, ttl)
            continue
        told = len(claims.problems)
        for host in each.draft.hosts:
            if zone_of(host.name, zones) != zone or not _may_have(each, host, claims):
                continue
            if part := _service(each.wish, host, claims):
                parts.append(part)
        if each.prefix:
            del claims.problems[told:]
    kept = _Judging(zone, spec, base, judge).kept(parts, claims)
    problems = _problem_lines(claims)
    left_out = _by_owner(claims)
    if kept is None:
        return Composed(spec=None, records=0, services=0, problems=problems, left_out=left_out)
    lines = list(dict.fromkeys([*base, *(line for part in kept for line in part.lines)]))
    services: JsonObject = {name: service for part in kept for name, service in part.services.items()}
    document = _document(spec, services)
    body = "\n".join(lines) + "\n"
    serial = int_at(before, "serial") if before is not None else 0
    if before is None or not _same(before, spec, zone, body, document):
        serial = max(serial + 1, now_s) % SERIALS or 1
    made: JsonObject = {"serial": serial, "zone": _head(zone, spec, serial) + body, "services": document}
    return Composed(spec=made, records=1 + len(lines), services=len(services), problems=problems, left_out=left_out)


def _may_have(wished: Wished, host: Host, claims: _Claims) -> bool:
    if not wished.prefix:
        return True
    owners = claims.owners.get(host.name.removeprefix(wished.prefix), {})
    return owner_text(wished.wish.key) in (owners.get(kind) for kind in _ADDRESSES)


def _owner_of(source: Wished | Listed | Unread) -> str:
    return owner_text(source.wish.key if isinstance(source, Wished) else source.key)


def _subject(name: str, zone: str) -> str:
    """The host that a name with underscores tells of; itself where that is the zone, of which many tell."""
    labels = name.split(".")
    at = max((number for number, label in enumerate(labels) if label.startswith("_")), default=-1)
    host = ".".join(labels[at + 1 :])
    return host if host.endswith(f".{zone}") else name


def _problem_lines(claims: _Claims) -> tuple[str, ...]:
    lines = [f"{owner}: {why}" for owner, why in claims.problems[:PROBLEMS_MAX]]
    if len(claims.problems) > PROBLEMS_MAX:
        lines.append(f"and {len(claims.problems) - PROBLEMS_MAX} more")
    return tuple(lines)


def _by_owner(claims: _Claims) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for owner, why in claims.problems:
        if len(there := found.get(owner, ())) < 5:
            found[owner] = (*there, why)
    return found


class _Judging:
    """Finds what servers take, with few looks where all is well. Each namespace's is judged by itself, with as many
    looks as any other's: who has much that is refused puts nobody else out."""

    def __init__(self, zone: str, spec: JsonObject, base: Sequence[str], judge: Judge) -> None:
        self._zone = zone
        self._spec = spec
        self._base = base
        self._judge = judge

    def kept(self, parts: Sequence[_Part], claims: _Claims) -> list[_Part] | None:
        """None: nothing at all."""
        if not self._fault(parts):
            return [*parts]
        if fault := self._fault(()):
            claims.refuse(f"DnsZone {self._zone}", f"servers would refuse it: {fault}")
            return None
        sound = [self._among([], share, claims) for share in _by_share(parts)]
        if not self._fault([part for share in sound for part in share]):
            good = {id(part) for share in sound for part in share}
            return [part for part in parts if id(part) in good]
        return self._together(sound, claims)

    def _together(self, shares: Sequence[list[_Part]], claims: _Claims) -> list[_Part]:
        """What is taken by itself, and refused beside others'; who comes first stays."""
        good: list[_Part] = []
        for share in shares:
            there = self._fault([*good, *share])
            good = self._among(good, share, claims) if there else [*good, *share]
        return good

    def _among(self, good: list[_Part], parts: Sequence[_Part], claims: _Claims) -> list[_Part]:
        """`good` and those of one namespace's that go with it."""
        found, left = [*good], JUDGEMENTS_MAX
        waiting = [[*parts]] if parts else []
        while waiting:
            tried = waiting.pop()
            left -= 1
            fault = self._fault([*found, *tried]) if left >= 0 else _UNTRIED
            if not fault:
                found += tried
            elif len(tried) > 1 and left > 0:
                half = len(tried) // 2
                waiting += [tried[half:], tried[:half]]
            else:
                for part in tried:
                    claims.refuse(part.owner, f"{part.what}: servers would refuse it: {fault}")
        return found

    def _fault(self, parts: Sequence[_Part]) -> str:
        lines = dict.fromkeys([*self._base, *(line for part in parts for line in part.lines)])
        services: JsonObject = {name: service for part in parts for name, service in part.services.items()}
        text = _head(self._zone, self._spec, 1) + "\n".join(lines) + "\n"
        return self._judge(self._zone, {"zone": text, "services": _document(self._spec, services)})


def _by_share(parts: Iterable[_Part]) -> Iterable[list[_Part]]:
    found: dict[str, list[_Part]] = {}
    for part in parts:
        found.setdefault(part.share, []).append(part)
    return found.values()


def _same(before: JsonObject, spec: JsonObject, zone: str, body: str, document: JsonObject) -> bool:
    """Whether other servers, which know no services, are told the same."""
    told = _head(zone, spec, int_at(before, "serial")) + body
    return str_at(before, "zone") == told and _told(map_at(before, "services")) == _told(document)


def _told(document: JsonObject) -> set[tuple[str, int, str]]:
    services = map_at(document, "services")
    return {
        (name, int_at(services, name, "ttl"), str_at(each, "address"))
        for name in services
        for each in maps_at(services, name, "endpoints")
    }


def _head(zone: str, spec: JsonObject, serial: int) -> str:
    servers = maps_at(spec, "nameservers")
    server = _absolute(str_at(servers[0], "name") if servers else "ns", zone)
    mailbox = _absolute(str_at(spec, "hostmaster") or "hostmaster", zone)
    ttl = int_at(spec, "ttlSeconds", default=300)
    negative = int_at(spec, "negativeTTLSeconds", default=60)
    return f"$ORIGIN {zone}.\n{zone}. {ttl} IN SOA {server} {mailbox} {serial} 3600 600 1209600 {negative}\n"


def _absolute(name: str, zone: str) -> str:
    if name.endswith("."):
        return name.lower()
    return f"{zone}." if name == "@" else f"{name.lower()}.{zone}."


def _own(zone: str, spec: JsonObject, claims: _Claims) -> tuple[list[str], list[_Part]]:
    """The zone's servers, and its own records, which go before everybody's."""
    lines: list[str] = []
    ttl = int_at(spec, "ttlSeconds", default=300)
    owner = f"DnsZone {zone}"
    claims.take(zone, ("SOA", "NS"), owner)
    for each in maps_at(spec, "nameservers"):
        name = _absolute(str_at(each, "name"), zone)
        lines.append(f"{zone}. {ttl} IN NS {name}")
        for address in strs_at(each, "addresses"):
            kind = "AAAA" if ":" in address else "A"
            if claims.take(name.rstrip("."), (kind,), owner):
                lines.append(f"{name} {ttl} IN {kind} {address}")
    parts: list[_Part] = []
    for number, each in enumerate(maps_at(spec, "records")):
        name, kind = _absolute(str_at(each, "name"), zone), str_at(each, "type").upper()
        if not claims.take(name.rstrip("."), (kind,), owner):
            continue
        made: list[str] = []
        for at, data in enumerate(strs_at(each, "data")):
            try:
                made.append(line_of(name, int_at(each, "ttlSeconds", default=ttl), kind, data, f"{zone}."))
            except InvalidError as error:
                claims.refuse(owner, f"spec.records[{number}].data[{at}]: {error}")
        if made and kind == "NS" and name != f"{zone}.":
            claims.cuts.add(name.rstrip("."))
        parts.append(_Part(owner=owner, share="", what=f"spec.records[{number}]", lines=tuple(made)))
    return list(dict.fromkeys(lines)), parts


def _service(wish: Wish, host: Host, claims: _Claims) -> _Part | None:
    owner = owner_text(wish.key)
    if fault := _name_fault(host.name, claims):
        claims.refuse(owner, fault)
        return None
    # A host without addresses is its owner's all the same, and is answered with nothing (NODATA).
    if not claims.take(host.name, _ADDRESSES, owner, wish.key.namespace):
        return None
    if len(host.endpoints) > ENDPOINTS_MAX:
        claims.refuse(
            owner, f"{host.name}: has {len(host.endpoints)} addresses, and the first {ENDPOINTS_MAX} are answered"
        )
    rows: list[Json] = []
    for each in host.endpoints[:ENDPOINTS_MAX]:
        row: JsonObject = {"address": each.address, "region": each.region, "weight": each.weight}
        row |= {"state": _STATES[each.state]} if each.state != "Up" else {}
        row |= {"reason": each.reason} if each.reason else {}
        if votes := wish.votes.get((host.name, each.address)) if host.probe is not None else None:
            row["votes"] = {"up": votes[0], "down": votes[1]}
        rows.append(row)
    made: JsonObject = {"policy": wish.policy, "ttl": wish.ttl, "endpoints": rows, **wish.blend}
    if host.probe is not None:
        made["probe"] = {"host": host.name.removeprefix("*."), **host.probe}
    return _Part(owner=owner, share=wish.key.namespace, what=host.name, services={f"{host.name}.": made})


def _of_endpoint(
    key: Key, obj: JsonObject, zone: str, zones: Sequence[str], claims: _Claims, ttl: int
) -> Iterable[_Part]:
    owner = owner_text(key)
    for number, each in enumerate(maps_at(obj, "spec", "endpoints")):
        name, what = str_at(each, "dnsName").lower().rstrip("."), f"spec.endpoints[{number}]"
        if zone_of(name, zones) != zone:
            continue
        targets = strs_at(each, "targets")
        kind = (str_at(each, "recordType") or _guessed(targets)).upper()
        if fault := _endpoint_fault(name, kind, targets, claims):
            claims.refuse(owner, f"{what}: {fault}")
            continue
        if not targets or not claims.take(name, (kind,), owner, key.namespace):
            continue
        lines: list[str] = []
        for data in dict.fromkeys(targets):
            try:
                text = quoted(data) if kind == "TXT" else data
                lines.append(line_of(f"{name}.", int_at(each, "recordTTL") or ttl, kind, text, "."))
            except InvalidError as error:
                claims.refuse(owner, f"{what}: {error}")
        yield _Part(owner=owner, share=key.namespace, what=what, lines=tuple(lines))


def _name_fault(name: str, claims: _Claims) -> str:
    """Why a name of somebody who does not write the zone can't be in it; "" where it can."""
    if len(name) > _NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        return f"{name!r} is no name of letters, digits, hyphens and underscores"
    if cut := claims.given_away(name):
        return f"{name} is at or below {cut}, which the zone has given to other servers"
    return ""


def _endpoint_fault(name: str, kind: str, targets: Sequence[str], claims: _Claims) -> str:
    """Why an endpoint is left out; "" where it is not. Names and types are taken in one form alone: what can be
    written in two ways could be claimed twice. Who may write one may not give away what is below a name."""
    if fault := _name_fault(name, claims):
        return f"dnsName: {fault}"
    if kind not in _ENDPOINT_TYPES:
        return f"recordType: {kind!r} is not one of {', '.join(_ENDPOINT_TYPES)}; others belong into the DnsZone"
    if kind == "CNAME" and len(dict.fromkeys(targets)) > 1:
        return "targets: a CNAME has one"
    return ""


def _guessed(targets: Sequence[str]) -> str:
    """external-dns' rule for endpoints without a type."""
    first = targets[0] if targets else ""
    if not is_address(first):
        return "CNAME"
    return "AAAA" if ":" in first else "A"


def _document(spec: JsonObject, services: JsonObject) -> JsonObject:
    document: JsonObject = {name: spec[name] for name in ("places", "orders", "geo", "latencies") if spec.get(name)}
    if services:
        document["services"] = services
    return document


def owner_text(key: Key) -> str:
    """As kubectl names it, so that two of one kind in two groups are two."""
    kinds: Mapping[str, str] = {
        "globalservices.skerry.dev": "GlobalService",
        "dnsendpoints.externaldns.k8s.io": "DNSEndpoint",
        ENDPOINTS: "DNSEndpoint." + ENDPOINTS.partition(".")[2],
        GSLBS[0]: "Gslb",
        GSLBS[1]: "Gslb." + GSLBS[1].partition(".")[2],
        SERVICE_RECORDS: "ServiceDNSRecord",
        INGRESS_RECORDS: "IngressDNSRecord",
    }
    return f"{kinds.get(key.resource, key.resource)} {key.namespace}/{key.name}"
