"""Where each address and port of a service leads to. Pure: from the directory to a table of backends.

Ready endpoints of this gateway and of its site come first, all alike; with `trafficDistribution: PreferSameNode`
those of this gateway before others of the site. Endpoints of other sites, known where a Service asks for it, are for
when there are none nearer. Where nobody is ready, those that end and still serve are used (KEP-1669). With a traffic
policy `Local` only this gateway's count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from edgecore.network.directory import Directory, Name, addresses_of
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, int_at, maps_at, str_at, strs_at
from skerry.objects.members import Family, Member, family_of

STICKY_S: Final = 10_800


class Backend(Frozen, order=True):
    """One endpoint of one port."""

    address: str
    port: int


class Front(Frozen, order=True):
    """One port of one service, in one family of addresses."""

    service: str
    """Namespace/name:port, for people and for names that stay."""
    family: Family
    protocol: str
    """tcp, udp or sctp."""
    port: int
    addresses: tuple[str, ...]
    """Inside."""
    outside: tuple[str, ...]
    """`externalIPs` and those of balancers."""
    node_port: int
    """0: none."""
    sticky_s: int
    """How long a client stays with its backend; 0: not at all."""
    inside_backends: tuple[Backend, ...]
    outside_backends: tuple[Backend, ...]
    keeps_source: bool
    """What comes from outside has its own address before the backends (externalTrafficPolicy Local)."""


class FrontTable:
    """Of every service with an address, in an order that stays. A change costs the services that it concerns: with a
    thousand of them the rest of the agent would wait for a third of a second otherwise."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._made: dict[Name, tuple[object, list[Front]]] = {}

    def fronts(self) -> list[Front]:
        before, self._made = self._made, {}
        for name, service in self._directory.services():
            version = self._directory.version_of(name)
            kept = before.get(name)
            made = kept[1] if kept is not None and kept[0] == version else _of_service(self._directory, name, service)
            self._made[name] = (version, made)
        return [front for _, made in self._made.values() for front in made]


def _of_service(directory: Directory, name: Name, service: JsonObject) -> list[Front]:
    if str_at(service, "spec", "type") == "ExternalName" or not addresses_of(service):
        return []
    members, found = directory.members(*name), list[Front]()
    for port in maps_at(service, "spec", "ports"):
        found += _fronts(directory, f"{name[0]}/{name[1]}:{str_at(port, 'name')}", service, port, members)
    return sorted(found)


def _fronts(
    directory: Directory, label: str, service: JsonObject, port: JsonObject, members: Sequence[Member]
) -> Iterator[Front]:
    spec = service["spec"]
    protocol = str_at(port, "protocol", default="TCP")
    external = [*strs_at(spec, "externalIPs")]
    external += [str_at(each, "ip") for each in maps_at(service, "status", "loadBalancer", "ingress")]
    outside_local = str_at(spec, "externalTrafficPolicy") == "Local"
    sticky_s = 0
    if str_at(spec, "sessionAffinity") == "ClientIP":
        sticky_s = int_at(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds", default=STICKY_S)
    for family in dict.fromkeys(family_of(address) for address in addresses_of(service)):
        here = [each for each in members if family_of(each.address) == family]
        near = str_at(spec, "trafficDistribution") == "PreferSameNode"
        inside = nearest(directory, here, near=near, local=str_at(spec, "internalTrafficPolicy") == "Local")
        outside = nearest(directory, here, near=near, local=outside_local)
        yield Front(
            service=label,
            family=family,
            protocol=protocol.lower(),
            port=int_at(port, "port"),
            addresses=tuple(each for each in addresses_of(service) if family_of(each) == family),
            outside=tuple(dict.fromkeys(each for each in external if family_of(each) == family)),
            node_port=int_at(port, "nodePort"),
            sticky_s=sticky_s,
            inside_backends=_backends(inside, str_at(port, "name"), protocol),
            outside_backends=_backends(outside, str_at(port, "name"), protocol),
            keeps_source=outside_local,
        )


def nearest(directory: Directory, members: Sequence[Member], *, near: bool, local: bool) -> list[Member]:
    """Those to be used."""
    for fit in (
        [each for each in members if each.ready],
        [each for each in members if each.serving and each.terminating],
    ):
        tiers: dict[int, list[Member]] = {0: [], 1: [], 2: []}
        for each in fit:
            tiers[_distance(directory, each)].append(each)
        if local:
            tiers = {0: tiers[0]}
        elif not near:
            tiers = {0: tiers[0] + tiers[1], 2: tiers[2]}
        found = next((tier for tier in tiers.values() if tier), list[Member]())
        if found:
            return found
    return []


def _distance(directory: Directory, member: Member) -> int:
    """0 this gateway, 1 its site, 2 another; who is on no node was told by hand, for those who are told."""
    if member.node == directory.node:
        return 0
    same = bool(member.zone) and member.zone == directory.zone
    return 1 if same or not member.node else 2


def _backends(members: Iterable[Member], name: str, protocol: str) -> tuple[Backend, ...]:
    return tuple(
        sorted(
            {
                Backend(address=each.address, port=port.number)
                for each in members
                for port in each.ports
                if port.name == name and port.protocol == protocol
            }
        )
    )


class Flow(Frozen, order=True):
    """Datagrams that the kernel would lead on as before: it remembers them while they come."""

    family: Family
    address: str
    """Where they are sent; "" for a node port."""
    port: int
    backend: str
    """Where they are led; "" for anywhere."""


def stale_flows(before: Iterable[Front], after: Iterable[Front]) -> list[Flow]:
    """Of UDP: to backends that are none any more, and to services that had none so far."""
    now = {(each.service, each.family): each for each in after if each.protocol == "udp"}
    found: set[Flow] = set()
    for old in before:
        if old.protocol != "udp":
            continue
        new = now.get((old.service, old.family))
        had = {*old.inside_backends, *old.outside_backends}
        has = {*new.inside_backends, *new.outside_backends} if new is not None else set[Backend]()
        gone = sorted({each.address for each in had} - {each.address for each in has}) if had else [""] if has else []
        places = [(address, old.port) for address in (*old.addresses, *old.outside)]
        places += [("", old.node_port)] if old.node_port else []
        found |= {
            Flow(family=old.family, address=address, port=port, backend=backend)
            for backend in gone
            for address, port in places
        }
    return sorted(found)
