"""Which gateways try the addresses of services, when, and how they vote. Pure: times are arguments.

A gateway votes on an address once it is sure of it (its counters, as a DNS server's); it says nothing while it is not
heard, and while all that it tries fails: then it is the gateway that is cut off.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import encode_object
from skerry.objects.select import LabelSelector
from skerry.probing.asking import Try
from skerry.probing.monitor import Counter, counted, period_s
from skerry.probing.probe import Probe

COUNT_DEFAULT: Final = 3
COUNT_MAX: Final = 9
SILENT_S_MAX: Final = 30.0
"""Who has answered nothing for so long, and for three intervals, has no vote."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_OF_SITES: Final = tuple(ipaddress.IPv6Network(each) for each in ("64:ff9b:1::/48", "::/96"))


class Gateway(Frozen):
    name: str
    region: str
    heard: bool
    labels: Mapping[str, str] = {}


def vantage_points(gateways: Iterable[Gateway], selector: LabelSelector, count: int, zone: str) -> tuple[str, ...]:
    """The gateways that look: of as many regions as can be, and the same as long as they are there."""
    there = [each for each in gateways if each.heard and selector.matches(each.labels)]
    there.sort(key=lambda each: hashlib.blake2b(f"{zone}/{each.name}".encode(), digest_size=8).digest())
    rounds: dict[str, int] = {}
    ranked: list[tuple[int, int, str]] = []
    for number, each in enumerate(there):
        rounds[each.region] = rounds.get(each.region, 0) + 1
        ranked.append((rounds[each.region], number, each.name))
    return tuple(name for _, _, name in sorted(ranked)[:count])


class Target(Frozen):
    """What is tried: an address in one way."""

    id: str
    given: Try
    probe: Probe


def target_of(given: Try) -> Target:
    """Raises `InvalidError`."""
    said = encode_object({"a": given.address, "h": given.host, "p": dict(sorted(given.given.items()))})
    return Target(id=hashlib.blake2b(said, digest_size=12).hexdigest(), given=given, probe=given.probe)


def shared(due: Sequence[Target], owners: Mapping[str, str], most: int) -> list[Target]:
    """So many of them at most, of each owner about as many: who has much that is slow keeps nobody else's waiting.
    `owners` by target."""
    turns: dict[str, int] = {}
    ranked: list[tuple[int, int]] = []
    for number, each in enumerate(due):
        owner = owners.get(each.id, "")
        turns[owner] = turns.get(owner, 0) + 1
        ranked.append((turns[owner], number))
    return [due[number] for _, number in sorted(ranked)[:most]]


def is_public(address: str) -> bool:
    """Whether it is one host of the internet, whatever translates it on its way: what only looks so leads into the
    networks of a site."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    inside = [found]
    if isinstance(found, ipaddress.IPv6Address):
        inside += [each for each in (found.ipv4_mapped, found.sixtofour) if each is not None]
        inside += [*(found.teredo or ())]
        if found in _NAT64:
            inside.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if any(found in each for each in _OF_SITES):
            return False
    return all(each.is_global and not each.is_multicast for each in inside)


class _Seen(Frozen):
    counter: Counter | None
    """None where it may not try."""
    at_s: float
    address: str


class Ballot:
    """What gateways have seen."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, _Seen]] = {}
        """By gateway and target."""

    def due(self, gateway: str, targets: Sequence[Target], now_s: float) -> list[Target]:
        """Those that it is to try now; who waits longest for it, first."""
        seen = self._seen.get(gateway, {})
        found = [
            each
            for each in targets
            if each.id not in seen or now_s >= seen[each.id].at_s + _wait_s(seen[each.id], each.probe)
        ]
        return sorted(found, key=lambda each: seen[each.id].at_s if each.id in seen else -math.inf)

    def take(self, gateway: str, results: Iterable[tuple[Target, bool | None]], now_s: float) -> None:
        """What it has seen of targets that it began to try at a time; None of what it may not try."""
        seen = self._seen.setdefault(gateway, {})
        for target, good in results:
            before = seen[target.id].counter if target.id in seen else None
            counter = None if good is None else counted(before or Counter(), target.probe, good=good)
            seen[target.id] = _Seen(counter=counter, at_s=now_s, address=target.given.address)

    def keep(self, watching: Mapping[str, Collection[str]]) -> None:
        """Forget gateways and targets that are none any more: targets by gateway."""
        self._seen = {
            gateway: {target: each for target, each in seen.items() if target in watching[gateway]}
            for gateway, seen in self._seen.items()
            if gateway in watching
        }

    def votes(self, target: Target, gateways: Iterable[str], now_s: float) -> tuple[int, int]:
        """How many say up, and how many down."""
        up = down = 0
        late_s = max(SILENT_S_MAX, 3 * target.probe.interval_s)
        for gateway in gateways:
            seen = self._seen.get(gateway, {}).get(target.id)
            counter = seen.counter if seen is not None and now_s <= seen.at_s + late_s else None
            if counter is None or not counter.proven or self._cut_off(gateway):
                continue
            up += counter.state == "up"
            down += counter.state == "down"
        return up, down

    def _cut_off(self, gateway: str) -> bool:
        """Whether nothing that it tries answers: of one address alone that says nothing of the gateway."""
        tried = [(each.address, each.counter) for each in self._seen[gateway].values() if each.counter is not None]
        failing = all(counter.state == "down" or counter.failures for _, counter in tried)
        return failing and len({address for address, _ in tried}) > 1


def _wait_s(seen: _Seen, probe: Probe) -> float:
    return probe.interval_s if seen.counter is None else period_s(seen.counter, probe)
