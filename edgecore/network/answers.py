"""What the gateway answers to a question about the cluster's names. Pure; the data are the directory's.

Kubernetes DNS-Based Service Discovery 1.1.0, and where that leaves a choice the answers of CoreDNS's kubernetes
plugin: TTL 5 s, names by address for endpoints without hostname, `pods insecure` (the address that a pod's name
spells is given back), SRV weights that share a hundred. What is not the cluster's is for others to answer (`None`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from edgecore.network.directory import Directory, addresses_of
from edgecore.network.wire import (
    AAAA,
    ANY,
    CNAME,
    IN,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    PTR,
    REFUSED,
    SRV,
    A,
    Query,
    Record,
    Reply,
    address_record,
    authority_record,
    is_name,
    name_record,
    read_name,
    service_record,
    text_record,
)
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.objects.members import Member, family_of, is_headless
from skerry.objects.names import label_1123_faults

TTL_S: Final = 5
VERSION: Final = "1.1.0"
"""Of the specification."""
_REVERSE: Final = (".in-addr.arpa", ".ip6.arpa")


class Names:
    """Answers for one zone. `serial` is for its SOA: seconds since 1970."""

    def __init__(self, directory: Directory, zone: str, serial: Callable[[], int]) -> None:
        self._directory = directory
        self._zone = zone.lower().strip(".")
        self._serial = serial

    def answer(self, query: Query) -> Reply | None:
        """None: it is not for this zone to answer, nor refused."""
        if query.opcode != 0:
            return Reply(code=NOTIMP, authoritative=False)
        if query.kind not in (IN, ANY):
            return Reply(code=REFUSED, authoritative=False)
        if query.name == self._zone or query.name.endswith(f".{self._zone}"):
            return self._in_zone(query)
        if query.name.endswith(_REVERSE):
            return self._reverse(query)
        return None

    def _in_zone(self, query: Query) -> Reply:
        labels = query.name.removesuffix(self._zone).rstrip(".").split(".") if query.name != self._zone else []
        found = self._named(labels, query)
        if found is None:
            return self._nothing(NXDOMAIN)
        answers = [record for record in found if query.type in (record.type, ANY) or record.type == CNAME]
        if not answers:
            return self._nothing(NOERROR)
        return Reply(answers=tuple(answers), extra=tuple(self._beside(answers)))

    def _nothing(self, code: int) -> Reply:
        return Reply(code=code, authority=(authority_record(self._zone, self._serial(), TTL_S),))

    def _named(self, labels: Sequence[str], query: Query) -> list[Record] | None:
        """Every record of a name; [] for a name below which there are some; None for one that is not there."""
        match labels:
            case []:
                return [authority_record(self._zone, self._serial(), TTL_S)]
            case ["dns-version"]:
                return [text_record(query.name, VERSION, TTL_S)]
            case ["svc"] | ["pod"]:
                return []
            case [namespace, "svc" | "pod"]:
                return [] if self._directory.has_namespace(namespace) else None
            case [address, _namespace, "pod"]:
                return _of_pod(query.name, address)
            case [*before, name, namespace, "svc"]:
                service = self._directory.service(namespace, name)
                return None if service is None else self._of_service(before, namespace, name, service, query)
            case _:
                return None

    def _of_service(
        self, before: Sequence[str], namespace: str, name: str, service: JsonObject, query: Query
    ) -> list[Record] | None:
        if str_at(service, "spec", "type") == "ExternalName":
            target = str_at(service, "spec", "externalName").rstrip(".")
            return [name_record(query.name, CNAME, target, TTL_S)] if not before and is_name(target) else None
        headless = is_headless(service)
        members = [each for each in self._directory.members(namespace, name) if each.ready] if headless else []
        match before:
            case []:
                addresses = [each.address for each in members] if headless else addresses_of(service)
                records = _addresses(query.name, addresses)
                # Asked without port and protocol, CoreDNS tells of all ports.
                return records + self._ports(namespace, name, service, members, query.name, "", "")
            case [hostname] if hostname.startswith("_"):
                known = {f"_{str_at(port, 'protocol', default='TCP').lower()}" for port in _ports(service)}
                return [] if hostname in known else None
            case [hostname] if headless:
                named = [each.address for each in members if _hostname(each) == hostname]
                return _addresses(query.name, named) if named else None
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                found = self._ports(namespace, name, service, members, query.name, port[1:], protocol[1:])
                return found or None
            case _:
                return None

    def _ports(
        self,
        namespace: str,
        name: str,
        service: JsonObject,
        members: Sequence[Member],
        asked: str,
        port: str,
        protocol: str,
    ) -> list[Record]:
        """SRV records; `port` and `protocol` "" for all."""
        home = f"{name}.{namespace}.svc.{self._zone}"
        if not is_headless(service):
            found = [
                (home, int_at(each, "port"))
                for each in _ports(service)
                if _fits(str_at(each, "name"), str_at(each, "protocol", default="TCP"), port, protocol)
            ]
        else:
            found = [
                (f"{_hostname(each)}.{home}", at.number)
                for each in members
                for at in each.ports
                if _fits(at.name, at.protocol, port, protocol)
            ]
        weight = max(1, 100 // max(1, len(found)))
        return [service_record(asked, target, number, weight=weight, ttl_s=TTL_S) for target, number in found]

    def _beside(self, answers: Iterable[Record]) -> list[Record]:
        """The addresses of the names that SRV records point to."""
        found: list[Record] = []
        for target in dict.fromkeys(_target_of(record) for record in answers if record.type == SRV):
            labels = target.removesuffix(self._zone).rstrip(".").split(".")
            asked = Query(
                id=0,
                opcode=0,
                wants_recursion=False,
                name=target,
                type=ANY,
                kind=IN,
                question=b"",
                udp_bytes=0,
                edns=False,
            )
            found += [record for record in self._named(labels, asked) or () if record.type in (A, AAAA)]
        return found

    def _reverse(self, query: Query) -> Reply | None:
        """The name of a service's address, or of an endpoint with a hostname. What is left is others' to name."""
        address = _address_in(query.name)
        if address is None:
            return None
        names: dict[str, None] = {}
        for (namespace, name), service in self._directory.services():
            home = f"{name}.{namespace}.svc.{self._zone}"
            if address in addresses_of(service):
                names[home] = None
            elif is_headless(service):
                for each in self._directory.members(namespace, name):
                    if each.ready and each.address == address:
                        names[f"{_hostname(each)}.{home}"] = None
        if not names:
            # Nobody else knows the pods of this site; who asks others waits for them while there is no link.
            return self._nothing(NXDOMAIN) if self._directory.is_of_pods(address) else None
        if query.type not in (PTR, ANY):
            return self._nothing(NOERROR)
        return Reply(answers=tuple(name_record(query.name, PTR, name, TTL_S) for name in names))


def _of_pod(name: str, spelled: str) -> list[Record] | None:
    """The address that a pod's name spells: dots, or the colons of IPv6, as dashes."""
    for text in (spelled.replace("-", "."), spelled.replace("-", ":")):
        if family_of(text):
            return [address_record(name, text, TTL_S)]
    return None


def _addresses(name: str, addresses: Iterable[str]) -> list[Record]:
    return [address_record(name, address, TTL_S) for address in dict.fromkeys(addresses) if family_of(address)]


def _hostname(member: Member) -> str:
    """The label of an endpoint below its service."""
    if member.hostname and not label_1123_faults(member.hostname):
        return member.hostname
    return member.address.replace(".", "-").replace(":", "-")


def _ports(service: JsonObject) -> list[JsonObject]:
    return maps_at(service, "spec", "ports")


def _fits(name: str, protocol: str, port_asked: str, protocol_asked: str) -> bool:
    if not port_asked and not protocol_asked:
        return True
    return name.lower() == port_asked and protocol.lower() == protocol_asked


def _target_of(record: Record) -> str:
    return read_name(record.data, 6)[0]


def _address_in(name: str) -> str | None:
    """The address that a reverse name spells."""
    try:
        if name.endswith(".in-addr.arpa"):
            labels = name.removesuffix(".in-addr.arpa").split(".")
            return str(ipaddress.IPv4Address(".".join(reversed(labels)))) if len(labels) == 4 else None
        digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
        return str(ipaddress.IPv6Address(bytes.fromhex(digits))) if len(digits) == 32 else None
    except ValueError:
        return None
