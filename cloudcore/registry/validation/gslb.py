"""What a Gslb, a GlobalService, a DNSEndpoint and a DnsZone may say. Pure.

Of kinds of others only what could never work is refused: their own validation is their schema. Data of records is
tried by who makes zones of it (`cloudcore.controllers.gslb`), which says what is wrong in the zone's status.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final

from skerry.errors import BadRequestError, Cause, InvalidError
from skerry.objects.gslb import GROUPS, NO_PROBE, POLICIES, PROBE, REFERRED, STRATEGIES, probe_annotated
from skerry.objects.hosts import is_address
from skerry.objects.json import JsonObject, int_at, list_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import annotations_of
from skerry.objects.names import subdomain_faults
from skerry.objects.select import label_selector
from skerry.objects.times import parse_time
from skerry.probing.probe import probe_of
from skerry.validation.faults import (
    duplicate,
    forbidden,
    invalid,
    named,
    one_of,
    port_number,
    required,
    too_many,
    unsupported,
)

HOSTS_MAX: Final = 100
ENDPOINTS_MAX: Final = 1000
RECORDS_MAX: Final = 10_000
NETWORKS_MAX: Final = 100_000
WEIGHT_MAX: Final = 1_000_000
TTL_MAX_S: Final = 604_800
PROBES: Final = ("TCP", "TLS", "HTTP", "HTTPS", "GRPC", "ICMP")
_TYPE: Final = re.compile(r"[A-Z][A-Z0-9-]{0,15}")
_OWNER: Final = re.compile(r"@|(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*|\*")
_STATUSES: Final = re.compile(r"([1-5][0-9]{2})(-([1-5][0-9]{2}))?")
_RANGES: Final = (
    ("intervalSeconds", 1, 3600),
    ("timeoutSeconds", 1, 30),
    ("downThreshold", 1, 100),
    ("upThreshold", 1, 100),
    ("okThreshold", 1, 100),
    ("certificateDaysMin", 0, 3650),
)


def validate_gslb(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    strategy = map_at(spec, "strategy")
    yield from one_of("spec.strategy.type", str_at(strategy, "type"), STRATEGIES)
    if str_at(strategy, "type") == "failover" and not str_at(strategy, "primaryGeoTag"):
        yield required("spec.strategy.primaryGeoTag", "the region that failover begins with")
    yield from _between("spec.strategy", strategy, "dnsTtlSeconds", 0, TTL_MAX_S)
    yield from _weights("spec.strategy.weight", map_at(strategy, "weight"))
    yield from one_of("spec.serviceHealthPolicy", str_at(spec, "serviceHealthPolicy"), ("Any", "All"), needed=False)
    ingress, reference = map_at(spec, "ingress"), map_at(spec, "resourceRef")
    if bool(ingress) == bool(reference):
        words = "must have exactly one of ingress and resourceRef"
        yield invalid("spec", [*spec], words) if ingress else required("spec", words)
    if reference:
        yield from _gslb_reference(reference, str_at(obj, "metadata", "namespace"))
    for number, rule in enumerate(maps_at(ingress, "rules")):
        if not str_at(rule, "host"):
            yield required(f"spec.ingress.rules[{number}].host", "the name that DNS answers for")
        if not maps_at(rule, "http", "paths"):
            yield required(f"spec.ingress.rules[{number}].http.paths", "the Services behind the host")
    yield from annotated_probe(obj)


def annotated_probe(obj: JsonObject) -> Iterator[Cause]:
    """Of what says by an annotation how its addresses are tried."""
    try:
        if probe := probe_annotated(obj):
            probe_of(probe, "it", "host")
    except InvalidError as error:
        yield invalid(f"metadata.annotations[{PROBE}]", annotations_of(obj)[PROBE][:200], str(error))


def _gslb_reference(reference: JsonObject, namespace: str) -> Iterator[Cause]:
    group, _, version = str_at(reference, "apiVersion").rpartition("/")
    kinds = [kind for _, kind in REFERRED]
    if not version:
        yield required("spec.resourceRef.apiVersion")
    elif (group, str_at(reference, "kind")) not in REFERRED:
        yield unsupported("spec.resourceRef.kind", str_at(reference, "kind"), kinds)
    if str_at(reference, "namespace") not in ("", namespace):
        yield forbidden("spec.resourceRef.namespace", "only objects of the Gslb's own namespace can be referred to")
    yield from _chosen(reference)


def _chosen(reference: JsonObject) -> Iterator[Cause]:
    """By name or by labels."""
    by_name = bool(str_at(reference, "name"))
    by_labels = bool(reference.get("matchLabels") or reference.get("matchExpressions"))
    if by_name == by_labels:
        yield required("spec.resourceRef", "must have a name, or matchLabels or matchExpressions, and not both")
    try:
        label_selector({name: reference[name] for name in ("matchLabels", "matchExpressions") if reference.get(name)})
    except (BadRequestError, InvalidError) as error:
        yield invalid("spec.resourceRef.matchExpressions", list_at(reference, "matchExpressions"), str(error))


def validate_global_service(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    hosts = strs_at(spec, "hosts")
    if not hosts:
        yield required("spec.hosts", "the names that DNS answers for")
    if len(hosts) > HOSTS_MAX:
        yield too_many("spec.hosts", len(hosts), HOSTS_MAX)
    for at, host in enumerate(hosts[:HOSTS_MAX]):
        yield from named(f"spec.hosts[{at}]", host.lower().rstrip(".").removeprefix("*."), subdomain_faults)
        if host in hosts[:at]:
            yield duplicate(f"spec.hosts[{at}]", host)
    yield from one_of("spec.policy", str_at(spec, "policy"), POLICIES, needed=False)
    if str_at(spec, "policy") == "Failover" and not strs_at(spec, "regionOrder"):
        yield required("spec.regionOrder", "the regions in the order in which Failover takes them")
    yield from _between("spec", spec, "ttlSeconds", 0, TTL_MAX_S)
    yield from _weights("spec.weights", map_at(spec, "weights"))
    yield from one_of("spec.healthPolicy", str_at(spec, "healthPolicy"), ("Any", "All"), needed=False)
    endpoints = maps_at(spec, "endpoints")
    if "resourceRef" not in spec and not endpoints:
        yield required("spec.endpoints", "addresses, or spec.resourceRef that they come from")
    if "resourceRef" in spec:
        yield from _global_reference(map_at(spec, "resourceRef"))
    yield from _endpoints(endpoints)
    if str_at(spec, "policy") == "Tiers" and not spec.get("tiers"):
        yield required("spec.tiers", "the groups of regions in the order in which Tiers takes them")
    if "canary" in spec and not str_at(spec, "canary", "region"):
        yield required("spec.canary.region", "the region that some clients are led to")
    if "canary" in spec and "percent" not in map_at(spec, "canary"):
        yield required("spec.canary.percent", "how much of the clients is led there")
    yield from _between("spec.canary", map_at(spec, "canary"), "percent", 0, 100)
    yield from _between("spec", spec, "minUpPercent", 0, 100)
    if "probe" in spec:
        yield from _probe(map_at(spec, "probe"))
    yield from _drains(maps_at(spec, "drains"))


def _global_reference(reference: JsonObject) -> Iterator[Cause]:
    kind, said = str_at(reference, "kind"), str_at(reference, "apiVersion")
    yield from one_of("spec.resourceRef.kind", kind, GROUPS)
    if said and kind in GROUPS and said.rpartition("/")[0] != GROUPS[kind]:
        yield invalid("spec.resourceRef.apiVersion", said, f"{kind} is of the group {GROUPS[kind] or 'core'}")
    if name := str_at(reference, "name"):
        yield from named("spec.resourceRef.name", name, subdomain_faults)
    yield from _chosen(reference)


def _endpoints(endpoints: Sequence[JsonObject]) -> Iterator[Cause]:
    if len(endpoints) > ENDPOINTS_MAX:
        yield too_many("spec.endpoints", len(endpoints), ENDPOINTS_MAX)
        return
    seen: set[str] = set()
    for at, each in enumerate(endpoints):
        field = f"spec.endpoints[{at}]"
        address = str_at(each, "address")
        yield from _address(f"{field}.address", address)
        if is_address(address):
            yield from _one_host(f"{field}.address", address)
            address = str(ipaddress.ip_address(address))
        if address in seen:
            yield duplicate(f"{field}.address", address)
        seen.add(address)
        yield from _between(field, each, "weight", 0, WEIGHT_MAX)


def _one_host(field: str, address: str) -> Iterator[Cause]:
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        yield invalid(field, address, f"is IPv4 in a form of IPv6: write {found.ipv4_mapped}")
    elif found.is_unspecified or found.is_multicast or found == ipaddress.IPv4Address("255.255.255.255"):
        yield invalid(field, address, "must be the address of one host")


def global_service_warnings(obj: JsonObject) -> Iterator[str]:
    """Regions that are named and that nothing is in, where all that there will be is written here."""
    spec = map_at(obj, "spec")
    if "resourceRef" in spec:
        return
    there = {str_at(each, "region") for each in maps_at(spec, "endpoints")}
    named = [(f"spec.regionOrder[{at}]", region) for at, region in enumerate(strs_at(spec, "regionOrder"))]
    named += [(f"spec.weights.{region}", region) for region in map_at(spec, "weights")]
    for at, tier in enumerate(list_at(spec, "tiers")):
        regions = strs_at({"of": tier}, "of")
        named += [(f"spec.tiers[{at}][{number}]", region) for number, region in enumerate(regions)]
    named += [("spec.canary.region", region)] if (region := str_at(spec, "canary", "region")) else []
    named += [
        (f"spec.drains[{at}].region", region)
        for at, each in enumerate(maps_at(spec, "drains"))
        if (region := str_at(each, "region"))
    ]
    yield from [f"{field}: no endpoint is in the region {region}" for field, region in named if region not in there][
        :10
    ]


def _drains(drains: Sequence[JsonObject]) -> Iterator[Cause]:
    for at, each in enumerate(drains):
        field = f"spec.drains[{at}]"
        region, address = str_at(each, "region"), str_at(each, "address")
        if bool(region) == bool(address):
            yield required(field, "must have exactly one of region and address")
        if address:
            yield from _address(f"{field}.address", address)
        if until := str_at(each, "until"):
            try:
                parse_time(until)
            except (BadRequestError, InvalidError, ValueError):
                yield invalid(f"{field}.until", until, "must be a time as 2026-01-31T12:00:00Z")


def _probe(probe: JsonObject) -> Iterator[Cause]:
    kind = str_at(probe, "type")
    yield from one_of("spec.probe.type", kind, (*PROBES, NO_PROBE))
    yield from port_number("spec.probe.port", probe.get("port"))
    if kind == "TCP" and "port" not in probe:
        yield required("spec.probe.port", "the port that is tried")
    for name, low, high in _RANGES:
        yield from _between("spec.probe", probe, name, low, high)
    if host := str_at(probe, "host"):
        yield from named("spec.probe.host", host, subdomain_faults)
    path = str_at(probe, "path")
    if path and (not path.startswith("/") or any(char <= " " or char > "~" for char in path)):
        yield invalid("spec.probe.path", path, "must begin with / and have no spaces")
    for at, text in enumerate(strs_at(probe, "statuses")):
        if not _STATUSES.fullmatch(text):
            yield invalid(f"spec.probe.statuses[{at}]", text, "must be a status as 200, or statuses as 200-299")
    interval = int_at(probe, "intervalSeconds", default=5)
    if int_at(probe, "timeoutSeconds", default=0) > interval > 0:
        yield invalid("spec.probe.timeoutSeconds", int_at(probe, "timeoutSeconds"), "must not be above the interval")


def validate_dns_endpoint(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    endpoints = maps_at(obj, "spec", "endpoints")
    if len(endpoints) > RECORDS_MAX:
        yield too_many("spec.endpoints", len(endpoints), RECORDS_MAX)
    for at, each in enumerate(endpoints[:RECORDS_MAX]):
        ttl = int_at(each, "recordTTL")
        if not 0 <= ttl <= 0x7FFFFFFF:
            yield invalid(f"spec.endpoints[{at}].recordTTL", ttl, "must be between 0 and 2147483647, inclusive")


def validate_dns_zone(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    zone = str_at(obj, "metadata", "name")
    servers = maps_at(spec, "nameservers")
    if not servers:
        yield required("spec.nameservers", "the servers that answer for the zone")
    for at, each in enumerate(servers):
        yield from _nameserver(f"spec.nameservers[{at}]", each, zone)
    yield from _between("spec", spec, "ttlSeconds", 0, TTL_MAX_S)
    yield from _between("spec", spec, "negativeTTLSeconds", 0, TTL_MAX_S)
    records = maps_at(spec, "records")
    if len(records) > RECORDS_MAX:
        yield too_many("spec.records", len(records), RECORDS_MAX)
    for at, each in enumerate(records[:RECORDS_MAX]):
        yield from _records(f"spec.records[{at}]", each)
    yield from _places(map_at(spec, "places"))
    if "probe" in spec:
        yield from _probe(map_at(spec, "probe"))
    yield from _between("spec.observers", map_at(spec, "observers"), "count", 1, 9)
    places = {*map_at(spec, "places"), "default"}
    for place in map_at(spec, "orders"):
        if place not in places:
            yield invalid(f"spec.orders[{place}]", place, "is no place of spec.places, and not default")


def _nameserver(field: str, server: JsonObject, zone: str) -> Iterator[Cause]:
    name = str_at(server, "name")
    yield from named(f"{field}.name", name.lower().rstrip("."), subdomain_faults)
    inside = not name.endswith(".") or f".{name}".endswith(f".{zone}.")
    addresses = strs_at(server, "addresses")
    if inside and not addresses:
        yield required(f"{field}.addresses", "a server with a name in the zone is found by its addresses alone")
    if addresses and not inside:
        yield forbidden(f"{field}.addresses", "a name outside of the zone has its addresses elsewhere")
    for number, address in enumerate(addresses):
        yield from _address(f"{field}.addresses[{number}]", address)


def _records(field: str, records: JsonObject) -> Iterator[Cause]:
    name, kind = str_at(records, "name"), str_at(records, "type")
    if not _OWNER.fullmatch(name):
        yield invalid(f"{field}.name", name, "must be a name in the zone, without a dot at its end, or @")
    if not _TYPE.fullmatch(kind) or kind in ("SOA", "RRSIG", "NSEC", "NSEC3", "DNSKEY", "OPT", "ANY", "TSIG"):
        yield invalid(f"{field}.type", kind, "must be a type of records as A, MX or TXT, and none that servers make")
    yield from _between(field, records, "ttlSeconds", 0, TTL_MAX_S)
    if not strs_at(records, "data"):
        yield required(f"{field}.data", "a record at least")
    for number, data in enumerate(strs_at(records, "data")):
        if any(char in data for char in "\n\r\0") or len(data) > 16_384:
            yield invalid(f"{field}.data[{number}]", data[:100], "must be a line of a master file")


def _places(places: JsonObject) -> Iterator[Cause]:
    seen: dict[str, str] = {}
    for place in places:
        networks = strs_at(places, place)
        if place == "default" or not place:
            yield invalid("spec.places", place, "a place has a word of its own; default is where nothing else fits")
        for number, text in enumerate(networks):
            field = f"spec.places[{place}][{number}]"
            try:
                network = str(ipaddress.ip_network(text))
            except ValueError as error:
                yield invalid(field, text, str(error))
                continue
            if seen.setdefault(network, place) != place:
                yield invalid(field, text, f"is in {seen[network]} as well")
    if len(seen) > NETWORKS_MAX:
        yield too_many("spec.places", len(seen), NETWORKS_MAX)


def _address(field: str, address: str) -> Iterator[Cause]:
    if not address:
        yield required(field)
    elif not is_address(address) or "%" in address:
        yield invalid(field, address, "must be an IP address")


def _weights(field: str, weights: JsonObject) -> Iterator[Cause]:
    for region in weights:
        yield from _between(field, weights, region, 0, WEIGHT_MAX)


def _between(field: str, obj: JsonObject, name: str, low: int, high: int) -> Iterator[Cause]:
    value = obj.get(name)
    if isinstance(value, int) and not low <= value <= high:
        yield invalid(f"{field}.{name}", value, f"must be between {low} and {high}, inclusive")
