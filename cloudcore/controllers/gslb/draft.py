"""What one Gslb or GlobalService comes to: hosts, the addresses of each, and who of them is up as the cloud sees it.
Pure.

An address of a gateway is up where the gateway is heard and its site has a ready endpoint of the Services behind the
host: pods of other sites are behind their router (docs/decisions/0370). Any other address is up while there is a
ready endpoint anywhere. Addresses that somebody wrote, with nothing behind them that the cloud knows, are up; probes
of the DNS servers tell more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from cloudcore.controllers.gslb.routes import addresses_of, hosts_of, services_of
from skerry.frozen import Frozen
from skerry.objects.conditions import is_true
from skerry.objects.gslb import (
    GLOBAL_SERVICES,
    HEALTHY,
    NAMELESS,
    NOT_FOUND,
    REFERRED,
    REGION_LABEL,
    UNHEALTHY,
    Address,
    Wish,
    hosts_said,
    probe_for,
)
from skerry.objects.hosts import is_address
from skerry.objects.ingresses import INGRESSES
from skerry.objects.json import Json, JsonObject, bool_at, dig, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, labels_of, namespace_of
from skerry.objects.node_groups import group_of
from skerry.objects.sites import EVERYWHERE, ZONE_LABEL, site_in, site_of
from skerry.objects.times import ms_at

State = Literal["Up", "Down", "Drained"]
SERVICES: Final = "services"
_KINDS: Final = ("ExternalIP", "InternalIP")
_NAMELESS: Final = (SERVICES, *(resource for (_, kind), resource in REFERRED.items() if kind in NAMELESS))


class NodeFacts(Frozen):
    """Of a gateway, what addresses of it are judged by."""

    region: str
    site: str
    heard: bool
    addresses: tuple[str, ...]
    reached: tuple[str, ...] = ()
    """Those that its ports are reached at from outside, as far as it knows."""


class Ground(Frozen):
    """What the store has around a wish."""

    referred: tuple[tuple[Key, JsonObject], ...]
    """The Ingresses or Services."""
    services: frozenset[Key]
    """Those that there are, of those behind the hosts."""
    slices: Mapping[Key, tuple[JsonObject, ...]]
    """EndpointSlices, by Service."""
    nodes: Mapping[str, NodeFacts]
    node_at: Mapping[str, str]
    """Nodes by their addresses."""
    parents: Mapping[Key, tuple[JsonObject, ...]] = {}
    """By route: what it is reached at."""
    zones: Mapping[str, JsonObject] = {}
    """Specs of DnsZones, by name."""


class Endpoint(Frozen):
    address: str
    region: str
    weight: int
    state: State
    reason: str = ""


class Host(Frozen):
    name: str
    health: str
    services: tuple[Key, ...]
    endpoints: tuple[Endpoint, ...]
    probe: JsonObject | None = None


class Draft(Frozen):
    hosts: tuple[Host, ...] = ()
    problems: tuple[str, ...] = ()
    next_ms: int = 0
    """When a drain ends, the first of them; 0: never."""
    nodes: frozenset[str] = frozenset()
    """Those whose own addresses are looked for."""

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(each.address for host in self.hosts for each in host.endpoints)


def node_facts(node: JsonObject) -> NodeFacts:
    labels = labels_of(node)
    name = str_at(node, "metadata", "name")
    told = maps_at(node, "status", "addresses")
    by_type = {
        kind: tuple(str_at(each, "address") for each in told if str_at(each, "type") == kind) for kind in _KINDS
    }
    return NodeFacts(
        region=labels.get(REGION_LABEL) or group_of(node),
        site=site_of(name, labels.get(ZONE_LABEL, "")),
        heard=is_true(node, "Ready"),
        addresses=tuple(str_at(each, "address") for each in told if str_at(each, "type") != "Hostname"),
        reached=next((found for found in by_type.values() if found), ()),
    )


def zone_of(host: str, zones: Iterable[str]) -> str:
    """The longest zone that a name is in; "" for none."""
    inside = [zone for zone in zones if host == zone or host.endswith(f".{zone}")]
    return max(inside, key=len, default="")


def backends(wish: Wish, referred: Iterable[tuple[Key, JsonObject]]) -> dict[str, tuple[Key, ...]]:
    """The Services behind each host."""
    found: dict[str, dict[Key, None]] = {host: {} for host in wish.hosts}
    for key, obj in referred:
        for named, service in _pairs(key, obj):
            for host in _meant(wish, key, named):
                found.setdefault(host, {})[service] = None
    return {host: tuple(services) for host, services in found.items()}


def _meant(wish: Wish, key: Key, named: str) -> Iterable[str]:
    """The hosts of a wish that something is for which names a host, or none: "". What is written goes before; an
    annotation of what has no field for hosts is a word for whoever writes none."""
    if not wish.hosts:
        return [named] if named else []
    if not named or key.resource in _NAMELESS:
        return wish.hosts
    return [host for host in wish.hosts if named == host or (named.startswith("*.") and _below(host, named[1:]))]


def _below(host: str, suffix: str) -> bool:
    """Of a wildcard of an Ingress or a route, which stands for one label or more."""
    return host.endswith(suffix) and len(host) > len(suffix)


def _pairs(key: Key, obj: JsonObject) -> Iterable[tuple[str, Key]]:
    """Hosts and Services behind them."""
    if key.resource == INGRESSES:
        return _of_ingress(obj)
    if key.resource == SERVICES:
        return _of_service(key, obj)
    services = [*services_of(key, obj)]
    return [(host, service) for host in hosts_of(key, obj) or [""] for service in services]


def _of_ingress(ingress: JsonObject) -> Iterable[tuple[str, Key]]:
    namespace = namespace_of(ingress)
    for rule in maps_at(ingress, "spec", "rules"):
        host = str_at(rule, "host").lower()
        named = [str_at(path, "backend", "service", "name") for path in maps_at(rule, "http", "paths")]
        if not named:
            default = dig(ingress, "spec", "defaultBackend", "service", "name")
            named = [default] if isinstance(default, str) else []
        for name in named:
            if name:
                yield host, Key(SERVICES, namespace, name)


def _of_service(key: Key, service: JsonObject) -> Iterable[tuple[str, Key]]:
    return [(host, key) for host in hosts_said(service)] or [("", key)]


def services_behind(wish: Wish, referred: Sequence[tuple[Key, JsonObject]]) -> frozenset[Key]:
    return frozenset(key for services in backends(wish, referred).values() for key in services)


def draft(wish: Wish, ground: Ground, now_ms: int) -> Draft:
    problems: list[str] = []
    if wish.reference is not None and wish.embedded is None and not ground.referred:
        what = wish.reference.name or "with these labels"
        problems.append(f"there is no {wish.reference.kind} {what}")
    problems += wish.complaints
    hosts: list[Host] = []
    for name, services in backends(wish, ground.referred).items():
        addresses = _addresses(wish, ground, name)
        if not addresses:
            problems.append(f"{name} has no address yet")
        probe = _probe_of(wish, ground, name)
        endpoints = tuple(
            _endpoint(wish, each, services, ground, now_ms, probed=probe is not None) for each in addresses
        )
        hosts.append(
            Host(
                name=name,
                health=_health(wish, services, ground),
                services=services,
                endpoints=_ordered(wish, endpoints),
                probe=probe,
            )
        )
    if not hosts and not problems and wish.embedded is None:
        nameless = wish.reference is not None and wish.reference.kind in NAMELESS
        problems.append("it names no host" + (": see the annotation k8gb.io/hostname" if nameless else ""))
    ends = [ms_at(str_at(each, "until")) for each in wish.drains]
    return Draft(
        hosts=tuple(hosts),
        problems=tuple(problems),
        next_ms=min((each for each in ends if each > now_ms), default=0),
        nodes=frozenset(name for key, obj in ground.referred for name in _ports_of(key, obj, ground)),
    )


def _probe_of(wish: Wish, ground: Ground, host: str) -> JsonObject | None:
    return probe_for(wish.probe, ground.zones.get(zone_of(host, ground.zones), {}))


def _addresses(wish: Wish, ground: Ground, host: str) -> list[Address]:
    """Where a host is reached, each once; what somebody wrote goes before what was found."""
    found = {each.address: each for each in wish.addresses}
    # k8gb's annotation stands in place of what the Ingress says; endpoints of a GlobalService go beside it.
    if not (wish.addresses and wish.key.resource != GLOBAL_SERVICES):
        for key, obj in ground.referred:
            if any(host in _meant(wish, key, named) for named in _names(key, obj)):
                for address in _reached(key, obj, ground):
                    found.setdefault(address, Address(address=address))
    return [each for address, each in found.items() if address and is_address(address)]


def _names(key: Key, obj: JsonObject) -> list[str]:
    """The hosts that it names, "" where it may be any."""
    if key.resource == INGRESSES:
        return [str_at(rule, "host").lower() for rule in maps_at(obj, "spec", "rules")] or [""]
    return [*(hosts_said(obj) if key.resource == SERVICES else hosts_of(key, obj))] or [""]


def _reached(key: Key, obj: JsonObject, ground: Ground) -> Iterator[str]:
    if key.resource not in (INGRESSES, SERVICES):
        yield from addresses_of(ground.parents.get(key, ()))
        return
    for row in maps_at(obj, "status", "loadBalancer", "ingress"):
        yield str_at(row, "ip")
    yield from strs_at(obj, "spec", "externalIPs")
    for name in _ports_of(key, obj, ground):
        if (facts := ground.nodes.get(name)) is not None:
            yield from facts.reached


def _ports_of(key: Key, obj: JsonObject, ground: Ground) -> list[str]:
    """The nodes at whose ports a Service of type NodePort is reached: those with endpoints of it, ready or not."""
    if key.resource != SERVICES or str_at(obj, "spec", "type") != "NodePort":
        return []
    rows = [row for each in ground.slices.get(key, ()) for row in maps_at(each, "endpoints")]
    return sorted({str_at(row, "nodeName") for row in rows} - {""})


def _endpoint(
    wish: Wish, given: Address, services: Sequence[Key], ground: Ground, now_ms: int, *, probed: bool
) -> Endpoint:
    node = ground.node_at.get(given.address, "")
    facts = ground.nodes.get(node)
    region = given.region or (facts.region if facts is not None else "")
    state, reason = _judged(wish, given, services, facts, ground, probed=probed)
    if drain := _drain(wish, given.address, region, now_ms):
        state, reason = "Drained", str_at(drain, "reason") or "drained"
    weight = given.weight if given.weight >= 0 else wish.weights.get(region, 1 if not wish.weights else 0)
    return Endpoint(address=given.address, region=region, weight=weight, state=state, reason=reason)


def _judged(
    wish: Wish, given: Address, services: Sequence[Key], facts: NodeFacts | None, ground: Ground, *, probed: bool
) -> tuple[State, str]:
    if facts is not None and not facts.heard:
        # A gateway that lost its link serves on; where probes try it, they know better.
        return ("Up" if probed else "Down"), "its gateway is not heard"
    if not services:
        return "Up", ""
    if given.region and facts is None:
        return "Up", ""  # somebody else's place, of which the cloud sees no endpoints
    site = facts.site if facts is not None else EVERYWHERE
    ready = [any(_ready_at(each, site) for each in ground.slices.get(key, ())) for key in services]
    if all(ready) if wish.all_healthy else any(ready):
        return "Up", ""
    where = "there" if facts is not None else "anywhere"
    return "Down", f"no endpoint of {', '.join(key.name for key in services)} is ready {where}"


def _ready_at(slice_: JsonObject, site: str) -> bool:
    for each in maps_at(slice_, "endpoints"):
        if not bool_at(each, "conditions", "ready", default=True):
            continue
        where = site_in(each)
        if EVERYWHERE in (site, where) or where == site:
            return True
    return False


def _health(wish: Wish, services: Sequence[Key], ground: Ground) -> str:
    """k8gb's word for a host: of its Services, wherever their endpoints are."""
    if not services:
        return HEALTHY if wish.reference is None else NOT_FOUND
    if any(key not in ground.services for key in services):
        return NOT_FOUND
    ready = [any(_ready_at(each, EVERYWHERE) for each in ground.slices.get(key, ())) for key in services]
    return HEALTHY if (all(ready) if wish.all_healthy else any(ready)) else UNHEALTHY


def _drain(wish: Wish, address: str, region: str, now_ms: int) -> JsonObject | None:
    for each in wish.drains:
        until = str_at(each, "until")
        if until and ms_at(until) <= now_ms:
            continue
        if str_at(each, "address") == address or (region and str_at(each, "region") == region):
            return each
    return None


def _ordered(wish: Wish, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The primary region first, then regions as they are ordered, then the others by name."""
    order = {region: number for number, region in enumerate(wish.order or ((wish.primary,) if wish.primary else ()))}
    return tuple(sorted(endpoints, key=lambda each: (order.get(each.region, len(order)), each.region, each.address)))


def up_endpoints(wish: Wish, host: Host) -> list[Endpoint]:
    return [each for each in host.endpoints if each.state == "Up" and not _voted_down(wish, host, each)]


def healthy_records(wish: Wish, host: Host) -> list[str]:
    """What is answered with, wherever the client is."""
    up = up_endpoints(wish, host)
    if wish.policy == "failover" and up:
        up = [each for each in up if each.region == up[0].region]
    return sorted({each.address for each in up})


def _voted_down(wish: Wish, host: Host, endpoint: Endpoint) -> bool:
    up, down = wish.votes.get((host.name, endpoint.address), (0, 0)) if host.probe is not None else (0, 0)
    return down > up


def geo_tag(made: Draft) -> str:
    return ",".join(sorted({each.region for host in made.hosts for each in host.endpoints if each.region}))


def gslb_status(wish: Wish, made: Draft, current: JsonObject) -> JsonObject:
    """As k8gb writes it; who has a probe sees what is tried beside."""
    servers: list[Json] = []
    for host in made.hosts:
        services: list[Json] = [{"name": key.name, "namespace": key.namespace} for key in host.services]
        servers.append({"host": host.name, "services": services})
    told: JsonObject = {
        "geoTag": geo_tag(made),
        "healthyRecords": {host.name: [*healthy_records(wish, host)] for host in made.hosts},
        "serviceHealth": {host.name: host.health for host in made.hosts},
        "hosts": ", ".join(host.name for host in made.hosts),
        "servers": servers,
        "loadBalancer": {"exposedIps": [*sorted(made.addresses)]},
    }
    if any(host.probe is not None for host in made.hosts):
        told["endpoints"] = [*endpoint_rows(made)]
    kept = {name: value for name, value in map_at(current, "status").items() if name != "endpoints"}
    return {**kept, **told}


def endpoint_rows(made: Draft) -> list[JsonObject]:
    """Of a status."""
    rows: list[JsonObject] = []
    for host in made.hosts:
        for each in host.endpoints:
            row: JsonObject = {"host": host.name, "address": each.address, "state": each.state}
            row |= {"region": each.region} if each.region else {}
            row |= {"reason": each.reason} if each.reason else {}
            rows.append(row)
    return rows
