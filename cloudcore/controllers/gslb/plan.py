"""A zone put together: records and services of everybody who has names in it, each name with its first owner. Pure.

What one object has wrong keeps out that record alone, and is told as a problem: the zone is answered for. The serial
moves when what secondaries are told moves, and not when somebody goes down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloudcore.controllers.gslb.draft import Draft, Host
from cloudcore.controllers.gslb.records import line_of, quoted
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.gslb import Wish
from skerry.objects.hosts import is_address
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key

_ENDPOINT_TYPES: Final = ("A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NAPTR", "PTR", "SRV", "SVCB", "TXT")
_NAME_LENGTH_MAX: Final = 253
_NAME: Final = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
PROBLEMS_MAX: Final = 100
SERIALS: Final = 1 << 32
_STATES: Final = {"Up": "up", "Down": "down", "Drained": "drained"}
_ADDRESSES: Final = ("A", "AAAA")


class Composed(Frozen):
    spec: JsonObject
    """Of the DnsSnapshot."""
    records: int
    services: int
    problems: tuple[str, ...]


class Wished(Frozen):
    """A Gslb or GlobalService and what it comes to."""

    wish: Wish
    draft: Draft


def zone_of(host: str, zones: Iterable[str]) -> str:
    """The longest zone that a name is in; "" for none."""
    inside = [zone for zone in zones if host == zone or host.endswith(f".{zone}")]
    return max(inside, key=len, default="")


@dataclass(slots=True)
class _Claims:
    """Who has which name and type; who comes first, has it."""

    owners: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, name: str, kinds: Sequence[str], owner: str) -> bool:
        there = self.owners.setdefault(name, {})
        others = {kind: who for kind, who in there.items() if who != owner}
        taken = next((others[kind] for kind in kinds if kind in others), "")
        if not taken and others and ("CNAME" in kinds or "CNAME" in others):
            taken = next(iter(others.values()))
        if not taken and there and ("CNAME" in kinds) != ("CNAME" in there):
            self.problems.append(f"{owner}: {name} is an alias, and can have nothing else")
            return False
        if taken:
            self.problems.append(f"{owner}: {name} is {taken}'s")
            return False
        there.update(dict.fromkeys(kinds, owner))
        return True


def compose(
    zone: str,
    obj: JsonObject,
    zones: Sequence[str],
    wished: Iterable[Wished],
    endpoints: Iterable[tuple[Key, JsonObject]],
    before: JsonObject | None,
    now_s: int,
) -> Composed:
    """`wished` and `endpoints` oldest first; `before` is the spec of the snapshot that there is."""
    spec, claims = map_at(obj, "spec"), _Claims()
    lines = _own(zone, spec, claims)
    services: JsonObject = {}
    for each in wished:
        for host in each.draft.hosts:
            if zone_of(host.name, zones) == zone:
                _add_service(each.wish, host, claims, services)
    ttl = int_at(spec, "ttlSeconds", default=300)
    for key, endpoint in endpoints:
        lines += _of_endpoint(key, endpoint, zone, zones, claims, ttl)
    document = _document(spec, services)
    made: JsonObject = {"zone": "", "services": document}
    body = "\n".join(lines) + "\n"
    serial = int_at(before, "serial") if before is not None else 0
    if before is None or not _same(before, spec, zone, body, document):
        serial = max(serial + 1, now_s) % SERIALS or 1
    made |= {"serial": serial, "zone": _head(zone, spec, serial) + body}
    problems = claims.problems[:PROBLEMS_MAX]
    if len(claims.problems) > PROBLEMS_MAX:
        problems.append(f"and {len(claims.problems) - PROBLEMS_MAX} more")
    return Composed(spec=made, records=1 + len(lines), services=len(services), problems=tuple(problems))


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


def _own(zone: str, spec: JsonObject, claims: _Claims) -> list[str]:
    """The zone's own records, which go before everybody's."""
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
    for number, each in enumerate(maps_at(spec, "records")):
        name, kind = _absolute(str_at(each, "name"), zone), str_at(each, "type").upper()
        if not claims.take(name.rstrip("."), (kind,), owner):
            continue
        for at, data in enumerate(strs_at(each, "data")):
            try:
                lines.append(line_of(name, int_at(each, "ttlSeconds", default=ttl), kind, data, f"{zone}."))
            except InvalidError as error:
                claims.problems.append(f"{owner}: spec.records[{number}].data[{at}]: {error}")
    return list(dict.fromkeys(lines))


def _add_service(wish: Wish, host: Host, claims: _Claims, services: JsonObject) -> None:
    owner = owner_text(wish.key)
    if "*" in host.name:
        claims.problems.append(f"{owner}: {host.name}: a wildcard can't be answered to each client in its own way")
        return
    if not host.endpoints or not claims.take(host.name, _ADDRESSES, owner):
        return
    rows: list[Json] = []
    for each in host.endpoints:
        row: JsonObject = {"address": each.address, "region": each.region, "weight": each.weight}
        row |= {"state": _STATES[each.state]} if each.state != "Up" else {}
        row |= {"reason": each.reason} if each.reason else {}
        rows.append(row)
    made: JsonObject = {"policy": wish.policy, "ttl": wish.ttl, "endpoints": rows}
    if wish.probe is not None:
        made["probe"] = {"host": host.name, **wish.probe}
    services[f"{host.name}."] = made


def _of_endpoint(
    key: Key, obj: JsonObject, zone: str, zones: Sequence[str], claims: _Claims, ttl: int
) -> Iterable[str]:
    owner = owner_text(key)
    for number, each in enumerate(maps_at(obj, "spec", "endpoints")):
        name = str_at(each, "dnsName").lower().rstrip(".")
        if zone_of(name, zones) != zone:
            continue
        targets = strs_at(each, "targets")
        kind = (str_at(each, "recordType") or _guessed(targets)).upper()
        if fault := _endpoint_fault(name, kind, targets):
            claims.problems.append(f"{owner}: spec.endpoints[{number}]: {fault}")
            continue
        if not targets or not claims.take(name, (kind,), owner):
            continue
        for data in dict.fromkeys(targets):
            try:
                text = quoted(data) if kind == "TXT" else data
                yield line_of(f"{name}.", int_at(each, "recordTTL") or ttl, kind, text, ".")
            except InvalidError as error:
                claims.problems.append(f"{owner}: spec.endpoints[{number}]: {error}")


def _endpoint_fault(name: str, kind: str, targets: Sequence[str]) -> str:
    """Why an endpoint is left out; "" where it is not. Names and types are taken in one form alone: what can be
    written in two ways could be claimed twice. Who may write one may not give away what is below a name."""
    if len(name) > _NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        return f"dnsName: {name!r} is no name of letters, digits, hyphens and underscores"
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
    document: JsonObject = {name: spec[name] for name in ("places", "orders") if spec.get(name)}
    if services:
        document["services"] = services
    return document


def owner_text(key: Key) -> str:
    kinds: Mapping[str, str] = {
        "globalservices.skerry.dev": "GlobalService",
        "dnsendpoints.externaldns.k8s.io": "DNSEndpoint",
    }
    return f"{kinds.get(key.resource, 'Gslb')} {key.namespace}/{key.name}"
