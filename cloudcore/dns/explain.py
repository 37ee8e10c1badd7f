"""Why a question is answered as it is, step by step, for people. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from cloudcore.dns.geography import GeoDatabase
from cloudcore.dns.lookup import CHAIN_MAX, Found, Section, cut_above, look_up, renamed_above, source_of, zone_for
from cloudcore.dns.steering import GOOD_NOW, SIZES, Endpoint, Service, choose, locate
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import rdata_text, type_text
from skerry.dns.names import is_within, parent, text_of
from skerry.dns.numbers import CNAME, DNAME, RCODES
from skerry.dns.records import Rrset
from skerry.objects.json import Json, JsonObject
from skerry.objects.times import human_duration


def explain(
    zones: Mapping[bytes, Zone],
    name: bytes,
    kind: int,
    client: bytes | None = None,
    health: HealthTable | None = None,
    geo: GeoDatabase | None = None,
    now_s: int = 0,
) -> JsonObject:
    """The steps, and what comes of them; for a client at this packed address, where services are in it. `now_s` is of
    the monotonic clock."""
    zone = zone_for(zones, name, kind)
    if zone is None:
        return {"steps": [f"no zone here has {text_of(name)}"], "rcode": "REFUSED", "answer": [], "authority": []}
    found = look_up(zone, name, kind)
    steps = [f"{text_of(name)} is in the zone {text_of(zone.origin)} (serial {zone.serial})"]
    seen: set[bytes] = set()
    onward: bytes | None = name
    while onward is not None and onward not in seen and len(seen) < CHAIN_MAX:
        seen.add(onward)
        line, onward = _step(zone, onward, kind)
        steps.append(line)
    if onward is not None:
        steps.append(f"{text_of(onward)} was seen before: the chain ends")
    for number, (owner, rrset) in enumerate(found.answer):
        service = zone.services.get(source_of(zone, owner)) if is_within(owner, zone.origin) else None
        if service is not None and rrset.type in SIZES:
            service = health.seen(service) if health is not None else service
            steps += _endpoint_steps(service, rrset.type, now_s)
            if client is None:
                steps.append(
                    f"{text_of(owner)} is a service, {service.policy}: these are all; who is led to which of "
                    "them is told with --from ADDRESS"
                )
                continue
            if service.policy in ("nearest", "latency"):
                steps += locate(service, client, geo).steps
            choice = choose(service, rrset.type, client, geo)
            steps.append(f"{text_of(owner)} is a service, {service.policy}: {choice.reason} (scope /{choice.scope})")
            found.answer[number] = owner, Rrset(type=rrset.type, ttl=service.ttl, rdatas=choice.rdatas)
    return {
        "steps": [*steps],
        "rcode": RCODES[found.rcode],
        "authoritative": found.authoritative,
        "answer": _told(found.answer),
        "authority": _told(found.authority),
        "additional": _told(_additional(found)),
    }


def _endpoint_steps(service: Service, kind: int, now_s: int) -> list[str]:
    """Who can't be taken, and why."""
    return [
        f"{ipaddress.ip_address(each.address)} ({each.region or 'no region'}) is "
        f"{'drained' if each.drained else 'down'}{': ' + each.reason if each.reason else ''}{_good(each, now_s)}"
        for each in service.endpoints
        if len(each.address) == SIZES[kind] and (each.drained or not each.up)
    ]


def _good(endpoint: Endpoint, now_s: int) -> str:
    if endpoint.good_s is None:
        return ""
    if endpoint.good_s == GOOD_NOW:
        return " (probes reach it)"
    return f" (was known good {known_good(endpoint, now_s)} ago)"


def known_good(endpoint: Endpoint, now_s: int) -> str:
    """How long ago, of one that is down; "" where that is not known."""
    if endpoint.good_s is None:
        return ""
    return "0s" if endpoint.good_s == GOOD_NOW else human_duration(max(0, now_s - endpoint.good_s))


def _step(zone: Zone, name: bytes, kind: int) -> tuple[str, bytes | None]:
    text = text_of(name)
    if not is_within(name, zone.origin):
        return f"{text} is not in this zone: the client asks for it elsewhere", None
    if (cut := cut_above(zone, name, kind)) is not None:
        return f"{text_of(cut)} is delegated: its servers are named", None
    if (renamed := renamed_above(zone, name)) is not None:
        target = name[: len(name) - len(renamed)] + zone.nodes[renamed][DNAME].rdatas[0]
        return f"{text_of(renamed)} has a DNAME: {text} is an alias of {text_of(target)}", (
            None if kind == CNAME else target.lower()
        )
    node = zone.nodes.get(name)
    if node is None:
        encloser = parent(name)
        while encloser not in zone.nodes:
            encloser = parent(encloser)
        star = b"\x01*" + encloser
        node = zone.nodes.get(star)
        if node is None:
            return f"{text} does not exist: below {text_of(encloser)} there is no wildcard", None
        text = f"{text} does not exist, and {text_of(star)} stands for it: it"
    if kind in node:
        return f"{text} has {len(node[kind].rdatas)} of type {type_text(kind)}", None
    if CNAME in node:
        target = node[CNAME].rdatas[0]
        return f"{text} is an alias of {text_of(target)}", target.lower()
    if name in zone.services and not zone.services[name].endpoints:
        return f"{text} is a service that has no endpoints", None
    if not node:
        return f"{text} exists because of what is below it, and has no records itself", None
    types = ", ".join(type_text(each) for each in sorted(node))
    return f"{text} has no {type_text(kind)} (it has {types})", None


def _additional(found: Found) -> Section:
    return [*found.glue, *found.additional]


def _told(section: Section) -> list[Json]:
    return [
        f"{text_of(owner)} {rrset.ttl} {type_text(rrset.type)} {rdata_text(rrset.type, rdata)}"
        for owner, rrset in section
        for rdata in rrset.rdatas
    ]
