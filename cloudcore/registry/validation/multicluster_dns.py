"""What a Domain, a ServiceDNSRecord and an IngressDNSRecord may say. Pure.

Only what could never work is refused: KubeFed's own validation is its schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudcore.registry.validation.gslb import annotated_probe
from skerry.errors import Cause
from skerry.objects.json import JsonObject, int_at, str_at, strs_at
from skerry.objects.names import label_1123_faults, subdomain_faults
from skerry.validation.faults import invalid, named, required, too_many

HOSTS_MAX: Final = 100
TTL_MAX_S: Final = 604_800


def validate_domain(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    yield from named("domain", str_at(obj, "domain").lower().rstrip("."), subdomain_faults)


def validate_service_record(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    if not str_at(obj, "spec", "domainRef"):
        yield required("spec.domainRef", "the name of a Domain")
    yield from named("spec.dnsPrefix", str_at(obj, "spec", "dnsPrefix").lower(), subdomain_faults, needed=False)
    yield from named(
        "spec.externalName", str_at(obj, "spec", "externalName").lower(), label_1123_faults, needed=False
    )
    yield from _ttl(obj)
    yield from annotated_probe(obj)


def validate_ingress_record(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    hosts = strs_at(obj, "spec", "hosts")
    if len(hosts) > HOSTS_MAX:
        yield too_many("spec.hosts", len(hosts), HOSTS_MAX)
    for at, host in enumerate(hosts[:HOSTS_MAX]):
        name = host.lower().rstrip(".").removeprefix("*.")
        yield from named(f"spec.hosts[{at}]", name, subdomain_faults)
    yield from _ttl(obj)
    yield from annotated_probe(obj)


def _ttl(obj: JsonObject) -> Iterator[Cause]:
    ttl = int_at(obj, "spec", "recordTTL")
    if not 0 <= ttl <= TTL_MAX_S:
        yield invalid("spec.recordTTL", ttl, f"must be between 0 and {TTL_MAX_S}, inclusive")
