"""Addresses and node ports of services: an admission step that gives out what no other service has.

Keeps no data: what is taken is read from the cached services each time, so a crash can't leave an address that
belongs to nobody or to two. Two services must not pass this step at once; the registry writes services one at a
time, and the store refuses one that was decided without a service that another process has written meanwhile
(`LocalObjects.exclusive`). Which address a service gets follows from its name, so that a restored fleet or a
re-created service tends to get the same one. Texts: `pkg/registry/core/service` of Kubernetes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from typing import Final, NoReturn

from cloudcore.registry.admission import Reader, Request
from cloudcore.registry.refusals import invalid
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, strs_at
from skerry.validation import faults

NODE_PORT_FIRST: Final = 30_000
NODE_PORT_LAST: Final = 32_767
_STATIC_MAX: Final = 256
"""At most so many addresses at the start of the range are left to those who ask for one (KEP-3070)."""
_HEADLESS: Final = "None"
_WITH_PORTS: Final = ("NodePort", "LoadBalancer")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Taken(Frozen):
    """What other services have."""

    addresses: frozenset[str]
    ports: frozenset[tuple[str, int]]
    """(protocol, port): one number may serve TCP and UDP."""


class ServiceAddresses:
    """The step, for a range of addresses, or for one of each family: then services may have both (dual stack)."""

    def __init__(self, *cidrs: str) -> None:
        """The first is of what services have who say nothing."""
        networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
        self._networks: dict[str, Network] = {f"IPv{each.version}": each for each in networks}
        self._family = f"IPv{networks[0].version}"

    def __call__(self, request: Request, reader: Reader) -> JsonObject:
        """The service with its addresses and node ports. Raises `InvalidError` for those that can't be given,
        `UnavailableError` when none is left."""
        if request.kind.resource != "services" or request.operation == "DELETE" or request.subresource:
            return request.obj
        old = map_at(request.old, "spec") if request.old is not None else {}
        spec: JsonObject = dict(map_at(request.obj, "spec"))
        taken = _taken_by_others(request, reader)
        _drop_what_the_type_left(spec, old)
        if str_at(spec, "type") != "ExternalName":
            self._address(request, spec, old, taken)
        given = set(taken.ports)
        spec["ports"] = [*_ports(request, spec, old, given)]
        if not spec["ports"]:
            del spec["ports"]
        _check_health(request, spec, old, given)
        return {**request.obj, "spec": spec}

    def _address(self, request: Request, spec: JsonObject, old: JsonObject, taken: _Taken) -> None:
        listed = _trimmed(spec, old)
        before = str_at(old, "clusterIP")
        said = str_at(spec, "clusterIP")
        if said and listed and before in (said, listed[0]) and listed[0] != said:
            listed = [] if listed[0] == before else listed  # a writer of one field alone means the other as well
            said = "" if said == before else said
        if said and listed and listed[0] != said:
            self._refuse(request, "spec.clusterIPs", [*listed], "first value must match `clusterIP`")
        first = said or (listed[0] if listed else "") or before
        wanted = [first, *listed[1:]] if first else []
        headless = first == _HEADLESS
        families = self._families(request, spec, old, [] if headless else wanted, headless=headless)
        if headless:
            spec["clusterIP"], spec["clusterIPs"] = _HEADLESS, [_HEADLESS]
            return
        kept = {_family_of(each): each for each in strs_at(old, "clusterIPs") or [before] if each}
        found: list[Json] = []
        for index, family in enumerate(families):
            address = wanted[index] if index < len(wanted) else kept.get(family, "")
            if not address:
                address = self._free(f"{request.key.namespace}/{request.key.name}", family, taken.addresses)
            elif address not in kept.values():
                self._check(request, address, taken)
            found.append(address)
        spec["clusterIP"], spec["clusterIPs"] = found[0], found

    def _families(
        self, request: Request, spec: JsonObject, old: JsonObject, wanted: list[str], *, headless: bool
    ) -> list[str]:
        """Of the service, as it says, as its addresses say, or as it had; with its policy (KEP-563)."""
        free = headless and not spec.get("selector")
        families = strs_at(spec, "ipFamilies") or strs_at(old, "ipFamilies")
        for index, address in enumerate(wanted):
            family = _family_of(address)
            if index >= len(families) and family:
                families = [*families, family]
            elif family and families[index] != family:
                why = f"expected an {families[index]} value as indicated by `ipFamilies[{index}]`"
                self._refuse(request, f"spec.clusterIPs[{index}]", address, why)
        policy = str_at(spec, "ipFamilyPolicy") or str_at(old, "ipFamilyPolicy")
        if not policy:
            # Endpoints of a service without selector are somebody's own, of whatever family.
            policy = "RequireDualStack" if free and not families else "SingleStack"
        if policy == "SingleStack" and len(families) > 1:
            why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple `ipFamilies` are specified"
            self._refuse(request, "spec.ipFamilyPolicy", policy, why)
        families = families or [self._family]
        for index, family in enumerate(families):
            if family in ("IPv4", "IPv6") and family not in self._networks and not free:
                self._refuse(request, f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
            if family in families[:index]:
                raise invalid(request.kind, request.key.name, [faults.duplicate(f"spec.ipFamilies[{index}]", family)])
        if policy == "RequireDualStack" and len(self._networks) < 2 and not free:
            self._refuse(request, "spec.ipFamilyPolicy", policy, "Cluster is not configured for dual stack services")
        both = ("IPv4", "IPv6") if free else tuple(self._networks)
        if policy in ("RequireDualStack", "PreferDualStack"):
            families = [*families, *(each for each in both if each not in families)][:2]
        spec["ipFamilies"], spec["ipFamilyPolicy"] = [*families], policy
        return families

    def _refuse(self, request: Request, field: str, value: Json, why: str) -> NoReturn:
        raise invalid(request.kind, request.key.name, [faults.invalid(field, value, why)])

    def _check(self, request: Request, wanted: str, taken: _Taken) -> None:
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError:
            return  # validation has the words for it
        network = self._networks.get(f"IPv{address.version}")
        if network is None or address not in network:
            why = (
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {network or self._networks[self._family]}"
            )
        elif wanted in taken.addresses:
            why = f"failed to allocate IP {wanted}: provided IP is already allocated"
        else:
            return
        raise invalid(request.kind, request.key.name, [faults.invalid("spec.clusterIPs", [wanted], why)])

    def _free(self, name: str, family: str, taken: frozenset[str]) -> str:
        """An address from the part of the range that nobody asks for by number, else from the rest of it."""
        network = self._networks[family]
        count = network.num_addresses - 2
        static = min(max(16, count // 16), _STATIC_MAX, count)
        first = _number_of(name) % max(1, count - static)
        for band, size, start in ((static, count - static, first), (0, static, 0)):
            for step in range(size):
                # The first address of the network is its own; address 1 is offset 0.
                address = str(network.network_address + 1 + band + (start + step) % size)
                if address not in taken:
                    return address
        raise UnavailableError(f"no address is left in the service range {network}")


def _family_of(address: str) -> str:
    """ "" for what is no address."""
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""


def _trimmed(spec: JsonObject, old: JsonObject) -> list[str]:
    """The addresses that are asked for. Who makes a service of both families one of the first alone by its policy
    sends the rest as it was."""
    listed, families = strs_at(spec, "clusterIPs"), strs_at(spec, "ipFamilies")
    if str_at(spec, "ipFamilyPolicy") == "SingleStack" != str_at(old, "ipFamilyPolicy"):
        if listed == strs_at(old, "clusterIPs"):
            listed = listed[:1]
        if families == strs_at(old, "ipFamilies") and families:
            spec["ipFamilies"] = [*families[:1]]
    return listed


def _number_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _taken_by_others(request: Request, reader: Reader) -> _Taken:
    addresses: set[str] = set()
    ports: set[tuple[str, int]] = set()
    for stored in reader.select("services"):
        if stored.key == request.key:
            continue
        spec = map_at(reader.obj(stored), "spec")
        addresses.update(address for address in strs_at(spec, "clusterIPs") if address != _HEADLESS)
        ports.update((str_at(port, "protocol"), int_at(port, "nodePort")) for port in maps_at(spec, "ports"))
        ports.add(("TCP", int_at(spec, "healthCheckNodePort")))
    return _Taken(addresses=frozenset(addresses), ports=frozenset(ports))


def _drop_what_the_type_left(spec: JsonObject, old: JsonObject) -> None:
    """A service that changed its type gives back what it had by the old one, unless its writer insists (and is told):
    clients that change the type alone send the rest as it was."""

    def drop(*names: str) -> None:
        for name in names:
            if name in spec and spec[name] == old.get(name):
                del spec[name]

    kind = str_at(spec, "type")
    if kind == "ExternalName":
        if str_at(old, "clusterIP"):
            drop("clusterIP", "clusterIPs")
        drop("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if kind not in _WITH_PORTS and not spec.get("externalIPs"):
        drop("externalTrafficPolicy")
    if kind != "LoadBalancer":
        drop("allocateLoadBalancerNodePorts", "loadBalancerClass")
    if not needs_health_port(spec):
        drop("healthCheckNodePort")


def needs_health_port(spec: JsonObject) -> bool:
    """Whether balancers outside are to ask each node if it has endpoints."""
    return str_at(spec, "type") == "LoadBalancer" and str_at(spec, "externalTrafficPolicy") == "Local"


def _check_health(request: Request, spec: JsonObject, old: JsonObject, given: set[tuple[str, int]]) -> None:
    """`healthCheckNodePort`: kept from before, as asked for, or new."""
    if not needs_health_port(spec):
        return
    kept = int_at(old, "healthCheckNodePort")
    asked = int_at(spec, "healthCheckNodePort")
    if asked and asked != kept:
        _check_port(request, "spec.healthCheckNodePort", ("TCP", asked), given)
    number = asked or kept
    if not number:
        number = _free_port(f"{request.key.namespace}/{request.key.name}/health", "TCP", given)
    spec["healthCheckNodePort"] = number


def _ports(request: Request, spec: JsonObject, old: JsonObject, given: set[tuple[str, int]]) -> Iterator[Json]:
    """The ports with their node ports: kept from before, as asked for, or new; all are added to `given`."""
    wants = str_at(spec, "type") == "NodePort" or (
        str_at(spec, "type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )
    before = {_port_id(port): int_at(port, "nodePort") for port in maps_at(old, "ports")}
    for index, port in enumerate(maps_at(spec, "ports")):
        asked, kept = int_at(port, "nodePort"), before.get(_port_id(port), 0)
        protocol = str_at(port, "protocol", default="TCP")
        if str_at(spec, "type") not in _WITH_PORTS:
            # A service that is no longer on the nodes gives its ports back, unless its writer insists (and is told).
            if asked == kept:
                port = {name: value for name, value in port.items() if name != "nodePort"}
            yield port
            continue
        if asked and asked != kept:
            _check_port(request, f"spec.ports[{index}].nodePort", (protocol, asked), given)
        number = asked or kept
        if not number and wants:
            number = _free_port(f"{request.key.namespace}/{request.key.name}/{index}", protocol, given)
        given.add((protocol, number))
        yield {**port, "nodePort": number} if number else port


def _port_id(port: JsonObject) -> tuple[str, int]:
    return str_at(port, "protocol", default="TCP"), int_at(port, "port")


def _check_port(request: Request, field: str, asked: tuple[str, int], given: set[tuple[str, int]]) -> None:
    number = asked[1]
    if not NODE_PORT_FIRST <= number <= NODE_PORT_LAST:
        span = f"{NODE_PORT_FIRST}-{NODE_PORT_LAST}"
        why = f"provided port is not in the valid range. The range of valid ports is {span}"
    elif asked in given:
        why = "provided port is already allocated"
    else:
        return
    raise invalid(request.kind, request.key.name, [faults.invalid(field, number, why)])


def _free_port(name: str, protocol: str, given: set[tuple[str, int]]) -> int:
    count = NODE_PORT_LAST - NODE_PORT_FIRST + 1
    start = _number_of(name) % count
    for step in range(count):
        number = NODE_PORT_FIRST + (start + step) % count
        if (protocol, number) not in given:
            return number
    raise UnavailableError("no node port is left")
