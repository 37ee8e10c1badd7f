"""Names of what members of a federation serve, as KubeFed's records say it, in the form of who makes zones. Pure.

A name that means all leads each client to the nearest region; one that means a region or a zone leads to that, and
while nobody there is up, to what is around it: DNS servers see that by themselves, with the cloud away as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloudcore.controllers.gslb.draft import Draft, Endpoint, Host
from cloudcore.controllers.gslb.plan import Listed, Wished
from skerry.objects.gslb import HEALTHY, Wish, probe_for, probe_said
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.meta import Key, controller_of
from skerry.objects.multicluster_dns import ENDPOINTS, RECORDS, Name, names_of, ttl_of

_MADERS: Final = ("ServiceDNSRecord", "IngressDNSRecord")


def is_made(key: Key, endpoint: JsonObject) -> bool:
    """Of a DNSEndpoint: a record stands for it."""
    owner = controller_of(endpoint)
    return key.resource == ENDPOINTS and owner is not None and owner.kind in _MADERS


def sources_of(key: Key, record: JsonObject, zone: JsonObject) -> Iterable[Wished | Listed]:
    """`zone` is what the spec of the zone says, of which they are."""
    assert key.resource in RECORDS, "only records have names of members"
    age = str_at(record, "metadata", "creationTimestamp")
    aliases: list[Json] = []
    probe = probe_for(probe_said(key, record), zone)
    for name in names_of(key, record):
        if name.alias:
            row: JsonObject = {"dnsName": name.name, "recordType": "CNAME", "targets": [name.alias]}
            aliases.append(row | {"recordTTL": ttl_of(record)})
        else:
            yield Wished(wish=_wish(key, record, name), draft=_draft(name, probe), age=age)
    if aliases:
        yield Listed(key=key, obj={"spec": {"endpoints": aliases}}, age=age)


def _wish(key: Key, record: JsonObject, name: Name) -> Wish:
    levels = sorted({each.level for each in name.placed})
    tiers: list[Json] = []
    for level in levels:
        inside: list[Json] = [*sorted({_region(each.region, level) for each in name.placed if each.level == level})]
        tiers.append(inside)
    spread = len(levels) > 1
    return Wish(
        key=key,
        policy="tiers" if spread else "nearest",
        ttl=ttl_of(record),
        hosts=(name.name,),
        blend={"tiers": tiers} if spread else {},
    )


def _draft(name: Name, probe: JsonObject | None) -> Draft:
    spread = len({each.level for each in name.placed}) > 1
    endpoints = tuple(
        Endpoint(
            address=each.address,
            region=_region(each.region, each.level) if spread else each.region,
            weight=1,
            state="Up",
        )
        for each in name.placed
    )
    return Draft(hosts=(Host(name=name.name, health=HEALTHY, services=(), endpoints=endpoints, probe=probe),))


def _region(region: str, level: int) -> str:
    """Regions are told apart by how far they are from what the name means; of one region a zone is nearer."""
    return f"{region}+{level}" if level else region
