"""Which of a service's endpoints a client is sent to: the policies. Pure.

What is chosen depends on the client's place, on the policy and on who is up; the scope of the answer on places
alone, so that what resolvers keep stays apart when somebody fails (RFC 7871 section 7.2.1). When nobody is up, those
are taken that were known good last, and all where nobody was of late: an answer that may work is better than none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from cloudcore.dns.alike import Alike
from cloudcore.dns.geography import GeoDatabase, GeoRules, judged
from cloudcore.dns.places import NOWHERE, Places
from skerry.dns.numbers import AAAA, A
from skerry.frozen import Frozen
from skerry.probing.probe import Probe

Policy = Literal["nearest", "latency", "failover", "weighted", "tiers", "round_robin"]
POLICIES: Final[tuple[Policy, ...]] = ("nearest", "latency", "failover", "weighted", "tiers", "round_robin")
STICKY_BITS: Final = {4: 24, 16: 56}
"""Clients of one such network have the same endpoint of a weighted service."""
SIZES: Final = {A: 4, AAAA: 16}
GOOD_NOW: Final = (1 << 31) - 1
"""Whatever else says that it is down."""
TOGETHER_S_MIN: Final = 60.0
"""Who was known good last within so long of another, or within two probes, went down together with it."""


class Endpoint(Frozen):
    address: bytes
    region: str
    weight: int = 1
    up: bool = True
    drained: bool = False
    """Nobody is led there, even when nobody is up; unless there is nothing else."""
    reason: str = ""
    """Why it is down or drained, for people."""
    votes: tuple[int, int] = (0, 0)
    """Of gateways that try it as well: how many say up, and down."""
    good_s: int | None = None
    """When it was known good last, by the monotonic clock; `GOOD_NOW` where probes reach it, None where that is
    long ago, or was never seen."""


class Canary(Frozen):
    """A region that only some clients are led to."""

    region: str
    percent: float


class Service(Frozen):
    """One name and where it is served."""

    name: bytes
    ttl: int
    policy: Policy
    endpoints: tuple[Endpoint, ...]
    places: Places
    orders: Mapping[str, tuple[str, ...]]
    """Regions, nearest first, by place; `NOWHERE` for clients of none."""
    probe: Probe | None = None
    geo: GeoRules | None = None
    """For clients of no place: what a database of places means."""
    latencies: Mapping[str, tuple[str, ...]] = {}
    """Regions by what was measured, the quickest first, by place."""
    tiers: tuple[frozenset[str], ...] = ()
    """Groups of regions; clients are spread over the first that has anybody."""
    sticky: bool = False
    """One endpoint for each of the clients' networks, rather than all of a region."""
    canary: Canary | None = None
    alike: Mapping[int, Alike] = {}
    """For whom answers of a type are the same; of those that are left out, places are taken apart."""
    up_share: float = 0.0
    """The part of a region's endpoints that must be up, for any of it to be taken."""

    def addresses(self, kind: int) -> tuple[bytes, ...]:
        """All of a type, as data of records."""
        return tuple(sorted({each.address for each in self.endpoints if len(each.address) == SIZES[kind]}))


class Choice(Frozen):
    rdatas: tuple[bytes, ...]
    scope: int
    place: str = NOWHERE
    reason: str = ""


class Located(Frozen):
    """Where a client is, and what leads from there."""

    place: str
    scope: int
    """Of the network that tells so; answers may be the same further around."""
    order: tuple[str, ...]
    steps: tuple[str, ...] = ()
    """How that was found, for people."""


def locate(service: Service, address: bytes, geo: GeoDatabase | None = None) -> Located:
    """Own networks first, then the database. Both are parts of the address space without overlap, and so is what
    they have in common: the longer prefix of the two; never none, as the database has each family by itself."""
    place, scope = service.places.find(address)
    table = service.latencies if service.policy == "latency" else service.orders
    default = table.get(NOWHERE, service.orders[NOWHERE])
    if place != NOWHERE or service.geo is None or geo is None:
        step = f"the client is in a network of {place} (/{scope})" if place else "no network of places has the client"
        return Located(place=place, scope=scope, order=table.get(place, default), steps=(step,))
    spot = geo.look(address)
    found = judged(service.geo, spot)
    order = found.order if found.order and service.policy != "latency" else table.get(found.place, default)
    steps = (
        "no network of places has the client",
        f"the database ({geo.kind}) has it at {spot.text} (/{spot.bits}): {found.why}",
    )
    return Located(place=found.place, scope=max(scope, spot.bits, 1), order=order, steps=steps)


def choose(service: Service, kind: int, address: bytes, geo: GeoDatabase | None = None) -> Choice:
    """For a client at a packed address."""
    bits = STICKY_BITS[len(address)]
    there = [each for each in service.endpoints if len(each.address) == SIZES[kind]]
    least, chosen = 0, ""
    if service.canary is not None:
        there, chosen, least = *_canary(service, service.canary, there, address[: bits // 8]), bits
    candidates, fell = _candidates(there, service)
    fell = chosen + fell
    match service.policy:
        case "nearest" | "latency":
            located = locate(service, address, geo)
            scope = alike.scope(address, geo) if (alike := service.alike.get(kind)) else located.scope
            taken = _of_first_region(candidates, located.order)
            scope = max(least, scope)
            why = f"{fell}{located.place or 'nowhere'}: {', '.join(located.order)}"
            if service.sticky and taken:
                taken, scope = [_of_network(taken, service, address)], max(scope, bits)
            return _choice(taken, scope=scope, place=located.place, reason=why)
        case "failover":
            taken = _of_first_region(candidates, [each.region for each in there])
            scope = least
            if service.sticky and taken:
                taken, scope = [_of_network(taken, service, address)], bits
            return _choice(taken, scope=scope, reason=f"{fell}the first region{'' if fell else ' that is up'}")
        case "tiers":
            number, taken = _of_first_tier(candidates, service.tiers)
            best = _of_network(taken, service, address)
            return _choice([best], scope=bits, reason=f"{fell}tier {number}, by weight and the client's /{bits}")
        case "weighted":
            best = _of_network(candidates, service, address)
            return _choice([best], scope=bits, reason=f"{fell}by weight and the client's /{bits}")
        case "round_robin":
            return _choice(candidates, scope=least, reason=f"{fell}all")


def classes_of(service: Service, kind: int) -> Places | None:
    """Clients by classes that are chosen for alike; None where more than places decides."""
    alike = service.alike.get(kind)
    if alike is None or service.sticky or service.canary is not None:
        return None
    return alike.by_places


def _of_network(taken: Sequence[Endpoint], service: Service, address: bytes) -> Endpoint:
    """The one for all clients of a network."""
    network = address[: STICKY_BITS[len(address)] // 8]
    return max(taken, key=lambda each: _rank(each, service.name, network))


def _canary(
    service: Service, canary: Canary, there: Sequence[Endpoint], network: bytes
) -> tuple[list[Endpoint], str]:
    """Who is led to the canary, while it works; nobody else is, while anything else does."""
    inside = [each for each in there if each.region == canary.region]
    outside = [each for each in there if each.region != canary.region]
    digest = hashlib.blake2b(service.name + b"/canary/" + network, digest_size=8).digest()
    led = int.from_bytes(digest, "big") / (1 << 64) * 100 < canary.percent
    for group, word in ((inside, "canary; "), (outside, "")) if led else ((outside, ""), (inside, "canary; ")):
        if any(each.up and not each.drained for each in group):
            return group, word
    return [*there], ""


def candidates(service: Service, kind: int) -> Sequence[Endpoint]:
    """Those of a type that anybody is led to."""
    return _candidates([each for each in service.endpoints if len(each.address) == SIZES[kind]], service)[0]


def _candidates(there: Sequence[Endpoint], service: Service) -> tuple[Sequence[Endpoint], str]:
    kept = [each for each in there if not each.drained]
    if up := [each for each in kept if each.up]:
        if service.up_share and (enough := _of_enough(kept, service.up_share)):
            return enough, "" if len(enough) == len(up) else "too few of a region are up; "
        return up, ""
    if kept:
        lately = _good_lately(kept, service.probe)
        who = "all are" if len(lately) == len(kept) else "those known good last are"
        return lately, f"nobody is up, so {who} taken; "
    return there, "all are drained, so all are taken; "


def _good_lately(down: Sequence[Endpoint], probe: Probe | None) -> Sequence[Endpoint]:
    """Of those that are down, who was good last; all where that is not known. Who went down with it is as likely to
    work: what failed then may be what looks."""
    last = max((each.good_s for each in down if each.good_s is not None), default=None)
    if last is None:
        return down
    window_s = max(TOGETHER_S_MIN, 2 * probe.interval_s if probe is not None else 0.0)
    return [each for each in down if each.good_s is not None and each.good_s >= last - window_s]


def _of_enough(kept: Sequence[Endpoint], up_share: float) -> list[Endpoint]:
    """Those that are up, of regions where so large a part is."""
    regions: dict[str, list[bool]] = {}
    for each in kept:
        regions.setdefault(each.region, []).append(each.up)
    return [each for each in kept if each.up and sum(states := regions[each.region]) >= up_share * len(states)]


def _of_first_tier(candidates: Sequence[Endpoint], tiers: Sequence[frozenset[str]]) -> tuple[int, Sequence[Endpoint]]:
    for number, tier in enumerate(tiers, 1):
        if found := [each for each in candidates if each.region in tier]:
            return number, found
    return len(tiers) + 1, candidates


def _choice(taken: Sequence[Endpoint], *, scope: int, place: str = NOWHERE, reason: str) -> Choice:
    return Choice(rdatas=tuple(sorted({each.address for each in taken})), scope=scope, place=place, reason=reason)


def _of_first_region(candidates: Sequence[Endpoint], order: Sequence[str]) -> list[Endpoint]:
    for region in order:
        if found := [each for each in candidates if each.region == region]:
            return found
    return list(candidates)


def _rank(endpoint: Endpoint, name: bytes, network: bytes) -> tuple[bool, float]:
    """Rendezvous hashing with weights: who goes takes only its own clients along. Those of weight 0 come after all
    others, and where nobody else is, they have as much each."""
    digest = hashlib.blake2b(name + b"/" + endpoint.address + b"/" + network, digest_size=8).digest()
    share = (int.from_bytes(digest, "big") + 1) / ((1 << 64) + 1)
    return endpoint.weight > 0, (endpoint.weight or 1) / -math.log(share)
