"""Which of a service's endpoints a client is sent to: the policies. Pure.

What is chosen depends on the client's place, on the policy and on who is up; the scope of the answer on places
alone, so that what resolvers keep stays apart when somebody fails (RFC 7871 section 7.2.1). When nobody is up, all
are: an answer that may work is better than none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from cloudcore.dns.places import NOWHERE, Places
from skerry.dns.numbers import AAAA, A
from skerry.frozen import Frozen
from skerry.probing.probe import Probe

Policy = Literal["nearest", "failover", "weighted", "round_robin"]
POLICIES: Final[tuple[Policy, ...]] = ("nearest", "failover", "weighted", "round_robin")
STICKY_BITS: Final = {4: 24, 16: 56}
"""Clients of one such network have the same endpoint of a weighted service."""
SIZES: Final = {A: 4, AAAA: 16}


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

    def addresses(self, kind: int) -> tuple[bytes, ...]:
        """All of a type, as data of records."""
        return tuple(sorted({each.address for each in self.endpoints if len(each.address) == SIZES[kind]}))


class Choice(Frozen):
    rdatas: tuple[bytes, ...]
    scope: int
    place: str = NOWHERE
    reason: str = ""


def choose(service: Service, kind: int, address: bytes) -> Choice:
    """For a client at a packed address."""
    there = [each for each in service.endpoints if len(each.address) == SIZES[kind]]
    candidates, fell = _candidates(there)
    match service.policy:
        case "nearest":
            place, scope = service.places.find(address)
            order = service.orders.get(place, service.orders[NOWHERE])
            taken = _of_first_region(candidates, order)
            why = f"{place or 'nowhere'}: {', '.join(order)}"
            return _choice(taken, scope=scope, place=place, reason=fell + why)
        case "failover":
            taken = _of_first_region(candidates, [each.region for each in there])
            return _choice(taken, scope=0, reason=f"{fell}the first region that is up")
        case "weighted":
            scope = STICKY_BITS[len(address)]
            best = max(candidates, key=lambda each: _rank(each, service.name, address[: scope // 8]))
            return _choice([best], scope=scope, reason=f"{fell}by weight and the client's /{scope}")
        case "round_robin":
            return _choice(candidates, scope=0, reason=f"{fell}all")


def _candidates(there: Sequence[Endpoint]) -> tuple[Sequence[Endpoint], str]:
    kept = [each for each in there if not each.drained]
    if up := [each for each in kept if each.up]:
        return up, ""
    if kept:
        return kept, "nobody is up, so all are taken; "
    return there, "all are drained, so all are taken; "


def _choice(taken: Sequence[Endpoint], *, scope: int, place: str = NOWHERE, reason: str) -> Choice:
    return Choice(rdatas=tuple(sorted({each.address for each in taken})), scope=scope, place=place, reason=reason)


def _of_first_region(candidates: Sequence[Endpoint], order: Sequence[str]) -> list[Endpoint]:
    for region in order:
        if found := [each for each in candidates if each.region == region]:
            return found
    return list(candidates)


def _rank(endpoint: Endpoint, name: bytes, network: bytes) -> float:
    """Rendezvous hashing with weights: who goes takes only its own clients along."""
    digest = hashlib.blake2b(name + b"/" + endpoint.address + b"/" + network, digest_size=8).digest()
    share = (int.from_bytes(digest, "big") + 1) / ((1 << 64) + 1)
    return -1.0 if endpoint.weight == 0 else endpoint.weight / -math.log(share)
