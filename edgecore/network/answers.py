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
from edgecore.network.replies import (
    Reply,
    address_record,
    authority_record,
    name_record,
    service_record,
    text_record,
)
from skerry.dns.names import ROOT, is_within, labels, name_of
from skerry.dns.numbers import AAAA, ANY, CNAME, IN, NOERROR, NOTIMP, NXDOMAIN, PTR, REFUSED, SRV, A
from skerry.dns.queries import Query
from skerry.dns.records import Record
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.objects.members import Member, family_of, is_headless
from skerry.objects.names import label_1123_faults

TTL_S: Final = 5
VERSION: Final = "1.1.0"
"""Of the specification."""
_REVERSE_4: Final = name_of("in-addr.arpa")
_REVERSE_6: Final = name_of("ip6.arpa")


class Names:
    """Answers for one zone. `serial` is for its SOA: seconds since 1970."""

    def __init__(self, directory: Directory, zone: str, serial: Callable[[], int]) -> None:
        self._directory = directory
        self._zone = name_of(zone.lower().strip("."))
        self._serial = serial
        self._named_of = -1
        self._named_by: dict[str, dict[bytes, None]] = {}
        """Names by address, of that generation of the directory."""

    @property
    def generation(self) -> int:
        """Of what the answers are made from."""
        return self._directory.generation

    def answer(self, query: Query) -> Reply | None:
        """None: it is not for this zone to answer, nor refused."""
        if query.opcode != 0:
            return Reply(code=NOTIMP, authoritative=False)
        if query.cls not in (IN, ANY):
            return Reply(code=REFUSED, authoritative=False)
        if is_within(query.name, self._zone):
            return self._in_zone(query)
        if query.name.endswith((_REVERSE_4, _REVERSE_6)):
            return self._reverse(query)
        return None

    def _in_zone(self, query: Query) -> Reply:
        found = self._named(query.name)
        if found is None:
            return self._nothing(NXDOMAIN)
        answers = [record for record in found if query.type in (record.type, ANY) or record.type == CNAME]
        if not answers:
            return self._nothing(NOERROR)
        return Reply(answers=tuple(answers), extra=tuple(self._beside(answers)))

    def _nothing(self, code: int) -> Reply:
        return Reply(code=code, authority=(authority_record(self._zone, self._serial(), TTL_S),))

    def _named(self, asked: bytes) -> list[Record] | None:
        """Every record of a name; [] for a name below which there are some; None for one that is not there."""
        match _texts(asked.removesuffix(self._zone) + ROOT):
            case []:
                return [authority_record(self._zone, self._serial(), TTL_S)]
            case ["dns-version"]:
                return [text_record(asked, VERSION, TTL_S)]
            case ["svc"] | ["pod"]:
                return []
            case [namespace, "svc" | "pod"]:
                return [] if self._directory.has_namespace(namespace) else None
            case [address, _namespace, "pod"]:
                return _of_pod(asked, address)
            case [*before, name, namespace, "svc"]:
                service = self._directory.service(namespace, name)
                return None if service is None else self._of_service(before, namespace, name, service, asked)
            case _:
                return None

    def _of_service(
        self, before: Sequence[str], namespace: str, name: str, service: JsonObject, asked: bytes
    ) -> list[Record] | None:
        if str_at(service, "spec", "type") == "ExternalName":
            target = _alias(service)
            return [name_record(asked, CNAME, target, TTL_S)] if target and not before else None
        headless = is_headless(service)
        members = [each for each in self._directory.members(namespace, name) if each.ready] if headless else []
        match before:
            case []:
                addresses = [each.address for each in members] if headless else addresses_of(service)
                records = _addresses(asked, addresses)
                # Asked without port and protocol, CoreDNS tells of all ports.
                return records + self._ports(namespace, name, service, members, asked, "", "")
            case [hostname] if hostname.startswith("_"):
                known = {f"_{str_at(port, 'protocol', default='TCP').lower()}" for port in _ports(service)}
                return [] if hostname in known else None
            case [hostname] if headless:
                named = [each.address for each in members if _hostname(each) == hostname]
                return _addresses(asked, named) if named else None
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                found = self._ports(namespace, name, service, members, asked, port[1:], protocol[1:])
                return found or None
            case _:
                return None

    def _ports(
        self,
        namespace: str,
        name: str,
        service: JsonObject,
        members: Sequence[Member],
        asked: bytes,
        port: str,
        protocol: str,
    ) -> list[Record]:
        """SRV records; `port` and `protocol` "" for all."""
        home = self._home(namespace, name)
        if not is_headless(service):
            found = [
                (home, int_at(each, "port"))
                for each in _ports(service)
                if _fits(str_at(each, "name"), str_at(each, "protocol", default="TCP"), port, protocol)
            ]
        else:
            found = [
                (_below(_hostname(each), home), at.number)
                for each in members
                for at in each.ports
                if _fits(at.name, at.protocol, port, protocol)
            ]
        weight = max(1, 100 // max(1, len(found)))
        return [service_record(asked, target, number, weight=weight, ttl_s=TTL_S) for target, number in found]

    def _beside(self, answers: Iterable[Record]) -> list[Record]:
        """The addresses of the names that SRV records point to."""
        found: list[Record] = []
        for target in dict.fromkeys(record.rdata[6:] for record in answers if record.type == SRV):
            found += [record for record in self._named(target) or () if record.type in (A, AAAA)]
        return found

    def _home(self, namespace: str, name: str) -> bytes:
        return _below(name, _below(namespace, _below("svc", self._zone)))

    def _reverse(self, query: Query) -> Reply | None:
        """The name of a service's address, or of an endpoint with a hostname. What is left is others' to name."""
        address = _address_in(query.name)
        if address is None:
            return None
        names = self._names_of(address)
        if not names:
            # Nobody else knows the pods of this site; who asks others waits for them while there is no link.
            return self._nothing(NXDOMAIN) if self._directory.is_of_pods(address) else None
        if query.type not in (PTR, ANY):
            return self._nothing(NOERROR)
        return Reply(answers=tuple(name_record(query.name, PTR, name, TTL_S) for name in names))

    def _names_of(self, address: str) -> Iterable[bytes]:
        """Found for all addresses at once: who asks for one, as for each line of a log, asks for others."""
        if self._named_of != self._directory.generation:
            self._named_by, self._named_of = {}, self._directory.generation
            for (namespace, name), service in self._directory.services():
                home = self._home(namespace, name)
                for each in addresses_of(service):
                    self._named_by.setdefault(each, {})[home] = None
                for member in self._directory.members(namespace, name) if is_headless(service) else ():
                    if member.ready:
                        self._named_by.setdefault(member.address, {})[_below(_hostname(member), home)] = None
        return self._named_by.get(address, {})


def _texts(name: bytes) -> list[str]:
    """Its labels, to be compared with names of objects: those have no dots."""
    return [label.decode("latin-1") for label in labels(name)]


def _below(label: str, name: bytes) -> bytes:
    """Labels are names of objects, which the API has checked."""
    return bytes((len(label),)) + label.encode() + name


def _alias(service: JsonObject) -> bytes:
    """Of an ExternalName; b"" where it is no name that DNS could tell."""
    try:
        return name_of(str_at(service, "spec", "externalName"))
    except InvalidError:
        return b""


def _of_pod(name: bytes, spelled: str) -> list[Record] | None:
    """The address that a pod's name spells: dots, or the colons of IPv6, as dashes."""
    for text in (spelled.replace("-", "."), spelled.replace("-", ":")):
        if family_of(text):
            return [address_record(name, text, TTL_S)]
    return None


def _addresses(name: bytes, addresses: Iterable[str]) -> list[Record]:
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


def _address_in(name: bytes) -> str | None:
    """The address that a reverse name spells."""
    parts = _texts(name)[:-2]
    try:
        if name.endswith(_REVERSE_4):
            return str(ipaddress.IPv4Address(".".join(reversed(parts)))) if len(parts) == 4 else None
        digits = "".join(reversed(parts))
        return str(ipaddress.IPv6Address(bytes.fromhex(digits))) if len(digits) == 32 else None
    except ValueError:
        return None
