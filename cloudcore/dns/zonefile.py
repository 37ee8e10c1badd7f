"""Master files in and out (RFC 1035 section 5, 3597), by dnspython, off the path of packets.

Keeps nothing. A file is the zone that its name says (`example.com.zone`), or that its `$ORIGIN` says before any
record.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, cast

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.transaction
import dns.zonefile

from cloudcore.dns.servicefile import SUFFIX as SERVICES
from cloudcore.dns.servicefile import read_services, records_of
from cloudcore.dns.steering import SIZES, Service
from cloudcore.dns.zone import Zone, build
from skerry.dns.names import canonical, is_within, labels, name_of, text_of
from skerry.dns.numbers import SOA
from skerry.dns.records import Record
from skerry.errors import InvalidError, UnavailableError

SUFFIX: Final = ".zone"
RECORDS_MAX: Final = 5_000_000
"""Of one zone; `$GENERATE` makes many with few words."""
_ORIGIN: Final = re.compile(r"^\$ORIGIN[ \t]+(\S+)", re.IGNORECASE)


def read_zone(path: Path) -> Zone:
    """Raises `InvalidError` that names file and line, `UnavailableError` where it can't be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark before the first line
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"{path}: is not text in UTF-8") from error
    try:
        origin = origin_of(path, text)
        beside = services_beside(path)
        if not beside.exists():
            return parse_zone(text, origin)
        return with_services(parse_records(text, origin), origin, read_services(beside, origin))
    except InvalidError as error:
        raise InvalidError(f"{path}: {error}") from error


def origin_of(path: Path, text: str) -> bytes:
    """Which zone a file is. Raises `InvalidError`."""
    for line in text.splitlines():
        said = line.partition(";")[0].rstrip()
        if found := _ORIGIN.match(said):
            if not found[1].endswith("."):
                raise InvalidError(f"$ORIGIN {found[1]} must end in a dot")
            return name_of(found[1]).lower()
        if said and not said.startswith("$"):
            break
    stem = path.name.removesuffix(SUFFIX)
    if stem == path.name:
        raise InvalidError(f"must be called ORIGIN{SUFFIX}, or begin with $ORIGIN")
    # A name of a file has no slash: reverse zones without classes write it as a dash by custom, or say $ORIGIN.
    return name_of(stem).lower()


def parse_zone(text: str, origin: bytes) -> Zone:
    """Raises `InvalidError`. `$INCLUDE` is not followed: a zone is one file."""
    return build(origin, parse_records(text, origin))


def services_beside(path: Path) -> Path:
    """The file with the services of a zone file."""
    return path.with_name(path.name.removesuffix(SUFFIX) + SERVICES)


def with_services(records: list[Record], origin: bytes, services: dict[bytes, Service]) -> Zone:
    """Raises `InvalidError` where a service is in the way of records."""
    for record in records:
        if record.owner in services and record.type in SIZES:
            raise InvalidError(f"{text_of(record.owner)} has addresses here, and is a service")
    zone = build(origin, [*records, *records_of(services.values())], services)
    for name in services:
        if any(cut != origin and is_within(name, cut) for cut in zone.cuts):
            raise InvalidError(f"the service {text_of(name)} is at or below a delegation, which has the say")
    return zone


def parse_records(text: str, origin: bytes) -> list[Record]:
    """Raises `InvalidError`."""
    into = _Into()
    reader = dns.zonefile.Reader(
        dns.tokenizer.Tokenizer(text),
        dns.rdataclass.IN,
        cast("dns.transaction.Transaction", into),
        allow_include=False,
    )
    reader.current_origin = dns.name.Name([*labels(origin), b""])
    try:
        reader.read()
    except dns.exception.DNSException as error:
        raise InvalidError(str(error).replace("<string>:", "line ") or type(error).__name__) from error
    except (ValueError, OverflowError) as error:
        raise InvalidError(str(error)) from error
    return into.records


class _Into:
    """Takes what the reader reads, as a transaction of dnspython's would, and loses nothing: its own zones drop what
    is outside of them, and all but the last of two aliases."""

    def __init__(self) -> None:
        self.manager = self
        self.records: list[Record] = []

    def origin_information(self) -> tuple[dns.name.Name, bool, dns.name.Name]:
        return dns.name.root, False, dns.name.root

    def check_put_rdataset(self, check: object) -> None:
        """What it looks for, `build` does."""

    def add(self, name: dns.name.Name, ttl: int, rdata: dns.rdata.Rdata) -> None:
        owner, wire = name.to_wire(), rdata.to_wire()
        assert owner is not None and wire is not None, "without a file they are given back"
        if len(self.records) >= RECORDS_MAX:
            raise InvalidError(f"has more than {RECORDS_MAX} records")
        self.records.append(Record(owner=owner.lower(), type=int(rdata.rdtype), ttl=ttl, rdata=wire))

    def _set_origin(self, origin: object) -> None:
        """`$ORIGIN` changes what is relative, not which zone it is."""


def type_text(kind: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(kind))


def type_of(text: str) -> int:
    """Raises `InvalidError`."""
    try:
        return int(dns.rdatatype.from_text(text))
    except (dns.exception.DNSException, ValueError) as error:
        raise InvalidError(f"{text!r} is no type of records") from error


def rdata_text(kind: int, rdata: bytes) -> str:
    """As master files write it."""
    made = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), rdata, 0, len(rdata))
    return made.to_text()


def write_zone(zone: Zone) -> str:
    """A master file of the whole zone, in canonical order, its SOA first."""
    lines = [f"$ORIGIN {text_of(zone.origin)}", _line(zone.origin, SOA, zone.soa.ttl, zone.soa.rdatas[0])]
    for owner in sorted(zone.nodes, key=canonical):
        for kind, rrset in sorted(zone.nodes[owner].items()):
            if kind != SOA:
                lines += [_line(owner, kind, rrset.ttl, rdata) for rdata in rrset.rdatas]
    return "\n".join(lines) + "\n"


def _line(owner: bytes, kind: int, ttl: int, rdata: bytes) -> str:
    return f"{text_of(owner)}\t{ttl}\tIN\t{type_text(kind)}\t{rdata_text(kind, rdata)}"
