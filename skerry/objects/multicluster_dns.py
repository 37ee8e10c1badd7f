"""KubeFed's kinds for names of what several members serve (`multiclusterdns.kubefed.io/v1alpha1`), taken apart. Pure.

A record's status has a row for each member: where it is, and the addresses of its load balancer while the Service has
an endpoint there. Of these come names on three levels, of a zone, of a region and of all; one with nobody of its own
is an alias of the next wider one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.hosts import is_address
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, name_of, namespace_of

GROUP: Final = "multiclusterdns.kubefed.io"
DOMAINS: Final = f"domains.{GROUP}"
SERVICE_RECORDS: Final = f"servicednsrecords.{GROUP}"
INGRESS_RECORDS: Final = f"ingressdnsrecords.{GROUP}"
RECORDS: Final = (SERVICE_RECORDS, INGRESS_RECORDS)
ENDPOINTS: Final = f"dnsendpoints.{GROUP}"
PREFIXES: Final = {SERVICE_RECORDS: "service", INGRESS_RECORDS: "ingress"}
"""Of the names of DNSEndpoints that are made of records."""
TTL_DEFAULT_S: Final = 180
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class Shard(Frozen):
    """What one member has of it."""

    member: str
    region: str
    zones: tuple[str, ...]
    addresses: tuple[str, ...]


class Placed(Frozen):
    """An address, and how a name sees it: 0 is what the name means itself, 1 what is around that, and so on."""

    address: str
    region: str
    level: int


class Name(Frozen):
    """A name of DNS with what it leads to."""

    name: str
    addresses: tuple[str, ...] = ()
    alias: str = ""
    """In place of addresses."""
    placed: tuple[Placed, ...] = ()
    """Every address of the record, with those that `addresses` has at level 0."""


def hosts_of(balancer: JsonObject) -> tuple[str, ...]:
    """Addresses and names of a `loadBalancer`, sorted."""
    rows = maps_at(balancer, "ingress")
    found = {str_at(row, field) for row in rows for field in ("ip", "hostname")}
    return tuple(sorted(found - {""}))


def shards_of(record: JsonObject) -> tuple[Shard, ...]:
    """Of a record's status."""
    found: list[Shard] = []
    for row in maps_at(record, "status", "dns"):
        told = strs_at(row, "addresses") or [*hosts_of(map_at(row, "loadBalancer"))]
        found.append(
            Shard(
                member=str_at(row, "cluster"),
                region=str_at(row, "region"),
                zones=tuple(dict.fromkeys(strs_at(row, "zones"))),
                addresses=tuple(dict.fromkeys(each for each in told if is_address(each))),
            )
        )
    return tuple(found)


def ttl_of(record: JsonObject) -> int:
    return int_at(record, "spec", "recordTTL") or TTL_DEFAULT_S


def names_of(key: Key, record: JsonObject) -> list[Name]:
    """What a record comes to, in order of name."""
    if key.resource == INGRESS_RECORDS:
        return _of_ingress(record)
    domain = _domain_of(record)
    return _of_service(record, domain) if domain else []


def _domain_of(record: JsonObject) -> str:
    return str_at(record, "status", "domain").lower().rstrip(".")


def _of_ingress(record: JsonObject) -> list[Name]:
    shards = shards_of(record)
    hosts = dict.fromkeys(host.lower().rstrip(".") for host in strs_at(record, "spec", "hosts"))
    made = [_name(host, shards, "") for host in hosts if host]
    return sorted((each for each in made if each.addresses), key=lambda each: each.name)


def _of_service(record: JsonObject, domain: str) -> list[Name]:
    shards = shards_of(record)
    first = str_at(record, "spec", "externalName") or name_of(record)
    common = f"{first}.{namespace_of(record)}.{str_at(record, 'spec', 'domainRef')}.svc".lower()
    everywhere = f"{common}.{domain}"
    found: dict[str, Name] = {everywhere: _name(everywhere, shards, "")}
    for region in dict.fromkeys(shard.region.lower() for shard in shards):
        if not _LABEL.fullmatch(region):
            continue
        wider = f"{common}.{region}.{domain}"
        found[wider] = _name(wider, shards, everywhere, region=region)
        there = [shard for shard in shards if shard.region.lower() == region]
        for zone in dict.fromkeys(zone.lower() for shard in there for zone in shard.zones):
            if _LABEL.fullmatch(zone):
                name = f"{common}.{zone}.{region}.{domain}"
                found[name] = _name(name, shards, wider, region=region, zone=zone)
    if prefix := str_at(record, "spec", "dnsPrefix").lower():
        found.setdefault(f"{prefix}.{domain}", Name(name=f"{prefix}.{domain}", alias=everywhere))
    return sorted((each for each in found.values() if each.addresses or each.alias), key=lambda each: each.name)


def _level(shard: Shard, region: str, zone: str) -> int:
    """How far it is from what a name means."""
    if region and shard.region.lower() != region:
        return 2 if zone else 1
    return 1 if zone and zone not in (each.lower() for each in shard.zones) else 0


def _name(name: str, shards: Iterable[Shard], wider: str, *, region: str = "", zone: str = "") -> Name:
    """One that leads to nobody of its own is an alias of the wider one."""
    placed: dict[str, Placed] = {}
    for shard in shards:
        level = _level(shard, region, zone)
        for address in shard.addresses:
            known = placed.get(address)
            if known is None or level < known.level:
                placed[address] = Placed(address=address, region=shard.region or shard.member, level=level)
    own = tuple(sorted(each.address for each in placed.values() if each.level == 0))
    if not own:
        return Name(name=name, alias=wider)
    return Name(name=name, addresses=own, placed=tuple(placed[each] for each in sorted(placed)))


def endpoints_of(key: Key, record: JsonObject) -> list[Json]:
    """Of the DNSEndpoint that is made of a record, as KubeFed makes it; IPv6 is apart, as AAAA."""
    ttl, made = ttl_of(record), list[Json]()
    prefixed = f"{str_at(record, 'spec', 'dnsPrefix')}.{_domain_of(record)}".lower()
    labels: JsonObject = {"serviceName": name_of(record)} if str_at(record, "spec", "externalName") else {}
    for each in names_of(key, record):
        kinds: Sequence[tuple[str, list[Json]]] = (
            ("A", [address for address in each.addresses if ":" not in address]),
            ("AAAA", [address for address in each.addresses if ":" in address]),
            ("CNAME", [each.alias] if each.alias else []),
        )
        for kind, targets in kinds:
            if targets:
                row: JsonObject = {"dnsName": each.name, "recordTTL": ttl, "recordType": kind, "targets": targets}
                if labels and each.name != prefixed:
                    row["labels"] = labels
                made.append(row)
    return made
