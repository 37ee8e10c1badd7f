"""What k8gb writes of each Gslb beside its status: a DNSEndpoint, for external-dns and for other clusters. Pure.

For each host it has the addresses that this cloud itself serves it at, while they are up, as `localtargets-HOST`, by
which other clusters of k8gb ask for them, and what is answered to clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudcore.controllers.gslb.draft import Draft, Host, healthy_records, up_endpoints
from cloudcore.controllers.gslb.plan import Wished
from skerry.frozen import replace
from skerry.objects.gslb import DNS_ENDPOINTS, Wish, embedded_ingress
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, controller_of, name_of, uid_of

KIND: Final = "Gslb"
LOCAL: Final = "localtargets-"
_LABEL_LENGTH_MAX: Final = 63
_MARKS: Final[JsonObject] = {"k8gb.io/dnstype": "local", "k8gb.absa.oss/dnstype": "local"}


def is_exposed(key: Key, endpoint: JsonObject) -> bool:
    """Of a DNSEndpoint: a Gslb made it, which has its names by itself."""
    owner = controller_of(endpoint)
    return key.resource == DNS_ENDPOINTS and owner is not None and owner.kind == KIND


def owner_of(gslb: JsonObject) -> JsonObject:
    """As what a Gslb made has it."""
    return {
        "apiVersion": str_at(gslb, "apiVersion"),
        "kind": KIND,
        "name": name_of(gslb),
        "uid": uid_of(gslb),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def ingress_of(gslb: JsonObject) -> JsonObject:
    """The Ingress of a Gslb that embeds one."""
    made = embedded_ingress(gslb)
    map_at(made, "metadata")["ownerReferences"] = [owner_of(gslb)]
    return made


def endpoint_of(gslb: JsonObject, wish: Wish, made: Draft) -> JsonObject:
    """The DNSEndpoint of a Gslb."""
    rows: list[Json] = []
    labels: JsonObject = {"strategy": str_at(gslb, "spec", "strategy", "type")}
    for host in made.hosts:
        rows += _local_rows(wish, host)
        answered = healthy_records(wish, host)
        told: JsonObject = {**labels, **_weights(wish, host, answered)}
        labelled: list[Json] = [{**row, "labels": told} for row in _rows(host.name, answered, wish)]
        rows += labelled
    metadata: JsonObject = {
        "name": name_of(gslb),
        "labels": {**_MARKS},
        "annotations": {**_MARKS},
        "ownerReferences": [owner_of(gslb)],
    }
    api_version = f"{DNS_ENDPOINTS.partition('.')[2]}/v1alpha1"
    return {"apiVersion": api_version, "kind": "DNSEndpoint", "metadata": metadata, "spec": {"endpoints": rows}}


def local_targets(wish: Wish, made: Draft, age: str) -> Wished:
    """For the zones: what other clusters ask for. All of it is answered that is up, and nothing while nobody is:
    others take what is answered for what works. Who is down moves no serial, but for the last."""
    hosts = tuple(
        _renamed(host if up_endpoints(wish, host) else replace(host, endpoints=()), name)
        for host in made.hosts
        if (name := _local_name(host))
    )
    votes = {(f"{LOCAL}{name}", address): count for (name, address), count in wish.votes.items()}
    asked = Wish(key=wish.key, policy="round_robin", ttl=wish.ttl, votes=votes)
    return Wished(wish=asked, draft=replace(made, hosts=hosts), age=age, prefix=LOCAL)


def _renamed(host: Host, name: str) -> Host:
    """What is asked in a probe stays the host itself: web servers know no other, and one target is tried once."""
    probe: JsonObject | None = {"host": host.name, **host.probe} if host.probe is not None else None
    return replace(host, name=name, probe=probe)


def with_spec(current: JsonObject, wanted: JsonObject, gslb: JsonObject) -> JsonObject:
    """What is there, as the Gslb is to have it; what is somebody else's as it is."""
    owners = maps_at(current, "metadata", "ownerReferences")
    is_its = any(str_at(each, "uid") == uid_of(gslb) for each in owners)
    if not is_its or map_at(current, "spec") == map_at(wanted, "spec"):
        return current
    return {**current, "spec": wanted["spec"]}


def _local_rows(wish: Wish, host: Host) -> Sequence[JsonObject]:
    name = _local_name(host)
    return _rows(name, sorted({each.address for each in up_endpoints(wish, host)}), wish) if name else ()


def _local_name(host: Host) -> str:
    """ "" where there can be none."""
    name = f"{LOCAL}{host.name}"
    return "" if host.name.startswith("*") or len(name.partition(".")[0]) > _LABEL_LENGTH_MAX else name


def _rows(name: str, addresses: Sequence[str], wish: Wish) -> Sequence[JsonObject]:
    found: list[JsonObject] = []
    for kind in ("A", "AAAA"):
        targets: list[Json] = [each for each in addresses if (":" in each) == (kind == "AAAA")]
        if targets:
            found.append({"dnsName": name, "recordType": kind, "recordTTL": wish.ttl, "targets": targets})
    return found


def _weights(wish: Wish, host: Host, answered: Sequence[str]) -> JsonObject:
    """`weight-REGION-NUMBER-WEIGHT` of each address, as k8gb's own DNS server reads them."""
    found: JsonObject = {}
    for region, weight in wish.weights.items():
        there = sorted({each.address for each in host.endpoints if each.region == region} & {*answered})
        for number, address in enumerate(there):
            found[f"weight-{region}-{number}-{weight}"] = address
    return found
