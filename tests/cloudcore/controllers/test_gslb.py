"""Gslbs, GlobalServices and DNSEndpoints as zones that servers answer from, and as their statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import SLICES, GslbController
from cloudcore.controllers.gslb.judging import Remembering
from cloudcore.controllers.gslb.routes import addresses_of, hosts_of, parents_of, services_of
from cloudcore.dns.snapshot import zone_of_snapshot
from cloudcore.registry.objects import LocalObjects
from skerry.dns.names import name_of
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.gslb import (
    DNS_ENDPOINTS,
    DNS_SNAPSHOTS,
    DNS_ZONES,
    GATEWAY_API,
    GATEWAYS,
    GLOBAL_SERVICES,
    GSLBS,
    ISTIO_GATEWAYS,
    VIRTUAL_SERVICES,
)
from skerry.objects.ingresses import INGRESSES
from skerry.objects.meta import Key
from tests.cloudcore.worlds import World, make_world

NEW, OLD = GSLBS
RULE = {
    "host": "www.example.com",
    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web"}}}]},
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


@pytest.fixture
def controller(world: World) -> GslbController:
    return GslbController(world.tools, zone_fault)


async def zone(world: World, name: str = "example.com", **spec: Any) -> None:
    servers = [{"name": "ns1", "addresses": ["192.0.2.1"]}]
    await world.create(DNS_ZONES, {"metadata": {"name": name}, "spec": {"nameservers": servers, **spec}})


async def node(world: World, name: str, region: str, address: str) -> None:
    labels = {"topology.kubernetes.io/region": region}
    await world.create("nodes", {"metadata": {"name": name, "labels": labels}})
    await hears(world, name, "True", address)


async def hears(world: World, name: str, ready: str, address: str) -> None:
    conditions = [{"type": "Ready", "status": ready}]
    await world.set_status(
        "nodes", name, conditions=conditions, addresses=[{"type": "ExternalIP", "address": address}]
    )


async def ingress(world: World, *addresses: str, name: str = "web", **labels: str) -> None:
    meta = {"name": name, "labels": labels}
    await world.create(INGRESSES, {"metadata": meta, "spec": {"rules": [RULE]}})
    await reached(world, *addresses, name=name)


async def reached(world: World, *addresses: str, name: str = "web") -> None:
    await world.set_status(INGRESSES, name, loadBalancer={"ingress": [{"ip": each} for each in addresses]})


async def endpoints(world: World, node: str, *, ready: bool, service: str = "web") -> None:
    name, labels = f"{service}-{node}", {"kubernetes.io/service-name": service}
    rows = [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "nodeName": node}]
    if name in world.names(SLICES):
        await world.update(SLICES, name, lambda obj: {**obj, "endpoints": rows})
    else:
        body = {"metadata": {"name": name, "labels": labels}, "addressType": "IPv4", "endpoints": rows}
        await world.create(SLICES, body)


async def site(world: World) -> None:
    """Two gateways in two regions that serve one Ingress."""
    await zone(world)
    await node(world, "g1", "eu", "203.0.113.1")
    await node(world, "g2", "us", "203.0.113.2")
    await world.create("services", {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    await endpoints(world, "g1", ready=True)
    await endpoints(world, "g2", ready=True)
    await ingress(world, "203.0.113.1", "203.0.113.2", app="web")


async def gslb(world: World, resource: str = NEW, name: str = "web", strategy: Any = None, **spec: Any) -> None:
    reference = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "matchLabels": {"app": "web"}}
    body = {"strategy": strategy or {"type": "roundRobin"}, **(spec or {"resourceRef": reference})}
    world.clock.advance(1)
    await world.create(resource, {"metadata": {"name": name}, "spec": body})


def zone_fault(name: str, spec: Any) -> str:
    """As servers judge it."""
    try:
        zone_of_snapshot(name, spec)
    except InvalidError as error:
        return str(error)
    return ""


async def global_service(world: World, name: str, *hosts: str, **spec: Any) -> None:
    world.clock.advance(1)
    rows = [{"address": "203.0.113.1", "region": "eu"}]
    await world.create(
        GLOBAL_SERVICES, {"metadata": {"name": name}, "spec": {"hosts": [*hosts], "endpoints": rows, **spec}}
    )


async def endpoint(world: World, name: str, *rows: Any) -> None:
    world.clock.advance(1)
    await world.create(DNS_ENDPOINTS, {"metadata": {"name": name}, "spec": {"endpoints": [*rows]}})


def condition(world: World, resource: str, name: str, kind: str, namespace: str = "d") -> Any:
    conditions = world.get(resource, name, namespace)["status"]["conditions"]
    return next(each for each in conditions if each["type"] == kind)


def snapshot(world: World, name: str = "example.com") -> Any:
    return world.get(DNS_SNAPSHOTS, name, "")["spec"]


def service(world: World, host: str = "www.example.com.") -> Any:
    return snapshot(world)["services"]["services"][host]


def states(world: World, host: str = "www.example.com.") -> dict[str, tuple[str, str]]:
    return {each["address"]: (each["region"], each.get("state", "up")) for each in service(world, host)["endpoints"]}


def problems(world: World, name: str = "example.com") -> list[str]:
    return world.get(DNS_ZONES, name, "")["status"].get("problems", [])


@pytest.mark.parametrize("resource", GSLBS)
async def test_a_gslb_says_what_k8gb_says_and_its_host_is_answered(
    world: World, controller: GslbController, resource: str
) -> None:
    await site(world)
    await gslb(world, resource, strategy={"type": "failover", "primaryGeoTag": "us", "dnsTtlSeconds": 5})
    await world.settle(controller)
    assert world.get(resource, "web")["status"] == {
        "geoTag": "eu,us",
        "healthyRecords": {"www.example.com": ["203.0.113.2"]},
        "serviceHealth": {"www.example.com": "Healthy"},
        "hosts": "www.example.com",
        "servers": [{"host": "www.example.com", "services": [{"name": "web", "namespace": "d"}]}],
        "loadBalancer": {"exposedIps": ["203.0.113.1", "203.0.113.2"]},
    }
    assert service(world)["policy"] == "failover" and service(world)["ttl"] == 5
    assert [each["region"] for each in service(world)["endpoints"]] == ["us", "eu"], "in the order of failover"


async def test_a_region_without_ready_endpoints_is_down_and_the_serial_stays(
    world: World, controller: GslbController
) -> None:
    await site(world)
    await gslb(world)
    await world.settle(controller)
    serial = snapshot(world)["serial"]
    assert states(world) == {"203.0.113.1": ("eu", "up"), "203.0.113.2": ("us", "up")}
    await endpoints(world, "g1", ready=False)
    await world.settle(controller)
    assert states(world) == {"203.0.113.1": ("eu", "down"), "203.0.113.2": ("us", "up")}
    assert snapshot(world)["serial"] == serial, "other servers, which know no health, are told the same"
    assert world.get(NEW, "web")["status"]["healthyRecords"] == {"www.example.com": ["203.0.113.2"]}
    await endpoints(world, "g2", ready=False)
    await world.settle(controller)
    assert world.get(NEW, "web")["status"]["serviceHealth"] == {"www.example.com": "Unhealthy"}
    await reached(world, "203.0.113.2")
    await world.settle(controller)
    assert snapshot(world)["serial"] > serial


async def test_a_gateway_that_is_not_heard_is_down_until_it_is(world: World, controller: GslbController) -> None:
    await site(world)
    await gslb(world)
    await world.settle(controller)
    await hears(world, "g1", "Unknown", "203.0.113.1")
    await world.settle(controller)
    assert states(world)["203.0.113.1"] == ("eu", "down")
    assert service(world)["endpoints"][0]["reason"] == "its gateway is not heard"
    await hears(world, "g1", "True", "203.0.113.1")
    await world.settle(controller)
    assert states(world)["203.0.113.1"] == ("eu", "up")


async def test_a_service_that_is_not_there_is_not_found(world: World, controller: GslbController) -> None:
    await zone(world)
    await ingress(world, "203.0.113.1", app="web")
    await gslb(world)
    await world.settle(controller)
    assert world.get(NEW, "web")["status"]["serviceHealth"] == {"www.example.com": "NotFound"}


async def test_an_embedded_ingress_is_made_and_followed(world: World, controller: GslbController) -> None:
    await site(world)
    await gslb(
        world, name="own", ingress={"ingressClassName": "sites", "rules": [{**RULE, "host": "own.example.com"}]}
    )
    await world.settle(controller)
    made = world.get(INGRESSES, "own")
    assert made["spec"]["ingressClassName"] == "sites"
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Gslb"
    await reached(world, "203.0.113.2", name="own")
    await world.settle(controller)
    assert states(world, "own.example.com.") == {"203.0.113.2": ("us", "up")}
    await world.set_spec(NEW, "own", ingress={"rules": [{**RULE, "host": "new.example.com"}]})
    await world.settle(controller)
    assert "new.example.com." in snapshot(world)["services"]["services"]
    assert "own.example.com." not in snapshot(world)["services"]["services"]


async def test_weights_of_regions_are_shares_and_an_annotation_says_where_it_is_reached(
    world: World, controller: GslbController
) -> None:
    await site(world)
    await gslb(world, strategy={"type": "roundRobin", "weight": {"eu": 80, "us": 20}})
    await world.settle(controller)
    assert service(world)["policy"] == "weighted"
    assert {each["region"]: each["weight"] for each in service(world)["endpoints"]} == {"eu": 80, "us": 20}
    said = {"k8gb.io/exposed-ip-addresses": "198.51.100.7"}
    await world.update(NEW, "web", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": said}})
    await world.settle(controller)
    assert set(states(world)) == {"198.51.100.7"}


async def test_a_global_service_has_endpoints_of_its_own_and_drains_that_end(
    world: World, controller: GslbController
) -> None:
    await zone(world, places={"europe": ["192.0.2.0/24"]}, orders={"europe": ["eu", "us"], "default": ["us", "eu"]})
    rows = [{"address": "203.0.113.1", "region": "eu"}, {"address": "203.0.113.2", "region": "us"}]
    await world.create(
        GLOBAL_SERVICES,
        {"metadata": {"name": "api"}, "spec": {"hosts": ["api.example.com"], "endpoints": rows, "drains": []}},
    )
    await world.settle(controller)
    assert snapshot(world)["services"]["orders"]["default"] == ["us", "eu"]
    assert service(world, "api.example.com.")["policy"] == "nearest"
    until = "2026-01-01T00:10:00Z"
    assert world.clock.wall_ms() < 1767226200000, "the clock of the world is before"
    await world.set_spec(GLOBAL_SERVICES, "api", drains=[{"region": "eu", "until": until, "reason": "new switch"}])
    await world.settle(controller)
    assert states(world, "api.example.com.")["203.0.113.1"] == ("eu", "drained")
    told = world.get(GLOBAL_SERVICES, "api")["status"]
    assert told["endpoints"][0]["state"] == "Drained" and told["endpoints"][0]["reason"] == "new switch"
    assert told["conditions"][0]["status"] == "True"
    world.clock.advance(world.later["api"])
    for key in (world.key(GLOBAL_SERVICES, "api"), world.key(DNS_ZONES, "example.com")):
        await controller.reconcile(key)
    assert states(world, "api.example.com.")["203.0.113.1"] == ("eu", "up")


async def test_records_of_endpoints_are_in_the_longest_zone_and_bad_ones_are_told(
    world: World, controller: GslbController
) -> None:
    await zone(
        world, records=[{"name": "@", "type": "MX", "data": ["10 mail"]}, {"name": "x", "type": "A", "data": ["?"]}]
    )
    await zone(world, "sub.example.com")
    rows = [
        {"dnsName": "txt.example.com", "recordType": "TXT", "targets": ['a "b"'], "recordTTL": 7},
        {"dnsName": "alias.example.com", "targets": ["other.test"]},
        {"dnsName": "a.sub.example.com", "targets": ["192.0.2.9"]},
        {"dnsName": "bad.example.com", "recordType": "A", "targets": ["nowhere"]},
        {"dnsName": "ns1.example.com", "recordType": "CNAME", "targets": ["elsewhere.test"]},
    ]
    await world.create(DNS_ENDPOINTS, {"metadata": {"name": "more"}, "spec": {"endpoints": rows}})
    await world.settle(controller)
    text = snapshot(world)["zone"]
    assert "example.com. 300 IN MX 10 mail.example.com." in text
    assert 'txt.example.com. 7 IN TXT "a \\"b\\""' in text
    assert "alias.example.com. 300 IN CNAME other.test." in text
    assert "a.sub.example.com" not in text
    assert "a.sub.example.com. 300 IN A 192.0.2.9" in snapshot(world, "sub.example.com")["zone"]
    told = "\n".join(problems(world))
    assert "spec.records[1].data[0]" in told and "spec.endpoints[3]" in told
    assert "ns1.example.com is DnsZone example.com's" in told
    assert world.get(DNS_ENDPOINTS, "more")["status"] == {"observedGeneration": 1}
    (event,) = world.events("Incomplete")
    assert "spec.endpoints[3]" in event["message"] and event["involvedObject"]["name"] == "more"
    await world.set_spec(DNS_ENDPOINTS, "more", endpoints=rows[:3])
    await world.settle(controller)
    assert len(world.events("Incomplete")) == 1, "all is well"


@pytest.mark.parametrize(
    ("name", "kind", "targets", "said"),
    [
        ("app.example.com", "TYPE1", ["198.51.100.77"], "recordType: 'TYPE1' is not one of"),
        ("example.com", "TYPE2", ["ns.evil.test"], "recordType"),
        ("prod.example.com", "NS", ["ns.evil.test"], "recordType"),
        ("prod.example.com", "DNAME", ["evil.test"], "recordType"),
        ("app.example.com", "NSEC", ["z.example.com A"], "recordType"),
        ("\\097pp.example.com", "A", ["198.51.100.77"], "dnsName"),
        ("\uff41pp.example.com", "A", ["198.51.100.77"], "dnsName"),
        ("two.example.com", "CNAME", ["a.test", "b.test"], "targets: a CNAME has one"),
    ],
)
async def test_no_endpoint_takes_a_name_by_writing_it_otherwise_or_what_is_below_it(
    world: World, controller: GslbController, name: str, kind: str, targets: list[str], said: str
) -> None:
    await zone(world)
    rows = [{"dnsName": name, "recordType": kind, "targets": targets}]
    await world.create(DNS_ENDPOINTS, {"metadata": {"name": "more"}, "spec": {"endpoints": rows}})
    await world.settle(controller)
    (problem,) = problems(world)
    assert said in problem
    assert not any(target in snapshot(world)["zone"] for target in targets)


async def test_of_two_that_want_a_name_the_older_has_it(world: World, controller: GslbController) -> None:
    await site(world)
    await gslb(world, name="zebra")
    await gslb(world, name="ant", strategy={"type": "failover", "primaryGeoTag": "eu"})
    await world.settle(controller)
    assert service(world)["policy"] == "round_robin"
    assert problems(world) == ["Gslb d/ant: www.example.com is Gslb d/zebra's"]
    await world.delete(NEW, "zebra")
    await world.settle(controller)
    assert service(world)["policy"] == "failover" and problems(world) == []


async def test_what_is_settled_is_not_written_again(world: World, controller: GslbController) -> None:
    await site(world)
    await gslb(world)
    await world.settle(controller)
    before = world.seen_until
    for key in (world.key(NEW, "web"), world.key(DNS_ZONES, "example.com")):
        await controller.reconcile(key)
    assert await world.store.changes(after=before) == []


async def test_what_is_below_a_delegation_is_left_out_and_told_and_the_zone_goes_on(
    world: World, controller: GslbController
) -> None:
    """Servers refuse such a zone whole: nothing that anybody changes would be answered any more."""
    await zone(world, records=[{"name": "sub", "type": "NS", "data": ["ns.other.test."]}])
    await global_service(world, "below", "www.sub.example.com")
    await global_service(world, "beside", "www.example.com")
    await endpoint(world, "glue", {"dnsName": "ns.sub.example.com", "targets": ["203.0.113.66"]})
    await world.settle(controller)
    assert zone_fault("example.com", snapshot(world)) == ""
    assert [*snapshot(world)["services"]["services"]] == ["www.example.com."]
    assert "203.0.113.66" not in snapshot(world)["zone"], "nobody leads the other servers' clients elsewhere"
    told = condition(world, GLOBAL_SERVICES, "below", "Ready")
    assert (
        told["status"] == "False" and "sub.example.com, which the zone has given to other servers" in told["message"]
    )
    assert condition(world, GLOBAL_SERVICES, "beside", "Ready")["status"] == "True"
    whole = condition(world, DNS_ZONES, "example.com", "Complete", "")
    assert whole["status"] == "False" and whole["reason"] == "LeftOut" and "GlobalService d/below" in whole["message"]


async def test_a_host_of_an_annotation_that_is_no_name_is_left_out(world: World, controller: GslbController) -> None:
    await zone(world)
    for number, host in enumerate(
        ("a..example.com", "a\u00e9.example.com", "x" * 64 + ".example.com", "good.example.com")
    ):
        meta = {"name": f"s{number}", "labels": {"app": "x"}, "annotations": {"k8gb.io/hostname": host}}
        await world.create("services", {"metadata": meta, "spec": {"ports": [{"port": 80}]}})
        await world.set_status("services", f"s{number}", loadBalancer={"ingress": [{"ip": "203.0.113.1"}]})
    await gslb(world, resourceRef={"apiVersion": "v1", "kind": "Service", "matchLabels": {"app": "x"}})
    await world.settle(controller)
    assert [*snapshot(world)["services"]["services"]] == ["good.example.com.", "localtargets-good.example.com."]
    assert len(problems(world)) == 3 and zone_fault("example.com", snapshot(world)) == ""


async def test_more_addresses_than_servers_take_are_cut_and_told(world: World, controller: GslbController) -> None:
    await zone(world)
    rows = [{"address": f"10.0.{number >> 8}.{number & 255}"} for number in range(1001)]
    await global_service(world, "many", "www.example.com", endpoints=rows)
    await world.settle(controller)
    assert len(service(world)["endpoints"]) == 1000 and zone_fault("example.com", snapshot(world)) == ""
    assert "the first 1000 are answered" in problems(world)[0]


async def test_what_servers_refuse_for_any_other_reason_is_found_and_left_out(
    world: World, controller: GslbController
) -> None:
    await zone(world)
    for number in range(9):
        probe = (
            {"probe": {"type": "TCP", "port": 80, "intervalSeconds": 60, "timeoutSeconds": 45}}
            if number in (2, 7)
            else {}
        )
        await global_service(world, f"s{number}", f"s{number}.example.com", **probe)
    await world.settle(controller)
    assert zone_fault("example.com", snapshot(world)) == "" and len(snapshot(world)["services"]["services"]) == 7
    assert "timeoutSeconds" in condition(world, GLOBAL_SERVICES, "s2", "Ready")["message"]
    assert [each.partition(":")[0] for each in problems(world)] == ["GlobalService d/s2", "GlobalService d/s7"]


async def test_a_namespace_of_which_much_is_refused_puts_nobody_else_out(
    world: World, controller: GslbController
) -> None:
    await zone(world)
    await world.create("namespaces", {"metadata": {"name": "evil"}})
    rows = [{"address": "203.0.113.5", "region": "a"}]
    for number in range(120):
        refused = {"canary": {"region": "", "percent": 5}} if number % 2 else {}
        spec = {"hosts": [f"x{number}.example.com"], "endpoints": rows, **refused}
        await world.create(GLOBAL_SERVICES, {"metadata": {"name": f"x{number}"}, "spec": spec}, "evil")
    for number in range(3):
        await global_service(world, f"s{number}", f"s{number}.example.com")
    await world.settle(controller)
    there = snapshot(world)["services"]["services"]
    assert {f"s{number}.example.com." for number in range(3)} <= there.keys() and "x0.example.com." in there
    assert condition(world, GLOBAL_SERVICES, "s0", "Ready")["status"] == "True"


async def test_a_zone_that_is_refused_itself_is_answered_as_it_was(world: World, controller: GslbController) -> None:
    await zone(world)
    await world.settle(controller)
    before = snapshot(world)
    await world.set_spec(DNS_ZONES, "example.com", places={"europe": ["192.0.2.1/24"]})
    await world.settle(controller)
    assert snapshot(world) == before
    ready = condition(world, DNS_ZONES, "example.com", "Ready", "")
    assert ready["status"] == "False" and ready["reason"] == "Refused" and "host bits" in ready["message"]
    assert world.get(DNS_ZONES, "example.com", "")["status"]["serial"] == before["serial"]


async def test_of_different_kinds_too_the_older_has_a_name(world: World, controller: GslbController) -> None:
    await zone(world)
    await endpoint(world, "first", {"dnsName": "www.example.com", "targets": ["198.51.100.1"]})
    await global_service(world, "second", "www.example.com", "api.example.com")
    await endpoint(world, "third", {"dnsName": "api.example.com", "targets": ["198.51.100.3"]})
    await world.settle(controller)
    assert "www.example.com. 300 IN A 198.51.100.1" in snapshot(world)["zone"]
    assert [*snapshot(world)["services"]["services"]] == ["api.example.com."]
    assert sorted(problems(world)) == [
        "DNSEndpoint d/third: api.example.com is GlobalService d/second's",
        "GlobalService d/second: www.example.com is DNSEndpoint d/first's",
    ]


async def test_a_host_without_addresses_is_its_owners_and_answered_with_nothing(
    world: World, controller: GslbController
) -> None:
    await site(world)
    await gslb(world)
    await reached(world)
    await endpoint(world, "later", {"dnsName": "www.example.com", "targets": ["198.51.100.66"]})
    await world.settle(controller)
    assert "198.51.100.66" not in snapshot(world)["zone"], "nobody takes it over in a moment without addresses"
    there = zone_of_snapshot("example.com", snapshot(world))
    assert there.nodes[name_of("www.example.com")] == {}, (
        "NODATA, which is kept for shorter than that it is not there"
    )


async def test_who_is_up_is_told_without_judging_anew() -> None:
    asked: list[str] = []

    def judge(zone: str, spec: Any) -> str:
        asked.append(zone)
        return "" if spec["zone"] == "good" else "bad"

    judging = Remembering(judge)

    def services(state: str, address: str = "192.0.2.1") -> Any:
        return {"services": {"www.": {"endpoints": [{"address": address, "state": state, "reason": state}]}}}

    for state in ("up", "down"):
        assert judging("z", {"zone": "good", "services": services(state)}) == ""
    assert asked == ["z"]
    judging("z", {"zone": "good", "services": services("up", "192.0.2.2")})
    assert asked == ["z", "z"]
    assert [judging("z", {"zone": "bad", "services": {}}) for _ in range(2)] == ["bad", "bad"] and len(asked) == 3


async def test_a_wildcard_of_an_ingress_is_answered_to_each_client(world: World, controller: GslbController) -> None:
    await site(world)
    await world.update(INGRESSES, "web", lambda obj: {**obj, "spec": {"rules": [{**RULE, "host": "*.example.com"}]}})
    await gslb(world)
    await world.settle(controller)
    assert set(states(world, "*.example.com.")) == {"203.0.113.1", "203.0.113.2"} and problems(world) == []
    assert zone_fault("example.com", snapshot(world)) == ""


def test_routes_say_their_hosts_services_and_gateways() -> None:
    route: Any = {
        "metadata": {"name": "web", "namespace": "d"},
        "spec": {
            "hostnames": ["WWW.example.com"],
            "parentRefs": [{"name": "edge", "namespace": "infra"}, {"kind": "Service", "name": "mesh"}],
            "rules": [
                {"backendRefs": [{"name": "web"}, {"name": "api", "namespace": "x"}, {"kind": "Bucket", "name": "b"}]}
            ],
        },
    }
    key = Key(f"httproutes.{GATEWAY_API}", "d", "web")
    assert hosts_of(key, route) == ["www.example.com"]
    assert [*services_of(key, route)] == [Key("services", "d", "web"), Key("services", "x", "api")]
    assert parents_of(key, route) == [Key(GATEWAYS, "infra", "edge")]
    gateway: Any = {"status": {"addresses": [{"value": "192.0.2.1"}, {"type": "Hostname", "value": "lb.test"}]}}
    assert [*addresses_of([gateway])] == ["192.0.2.1"]
    virtual: Any = {
        "spec": {
            "hosts": ["www.example.com", "*"],
            "gateways": ["mesh", "edge", "infra/other"],
            "http": [
                {"route": [{"destination": {"host": "web"}}, {"destination": {"host": "a.shop.svc.cluster.local"}}]}
            ],
        }
    }
    key = Key(VIRTUAL_SERVICES, "d", "web")
    assert hosts_of(key, virtual) == ["www.example.com"]
    assert [*services_of(key, virtual)] == [Key("services", "d", "web"), Key("services", "shop", "a")]
    assert parents_of(key, virtual) == [Key(ISTIO_GATEWAYS, "d", "edge"), Key(ISTIO_GATEWAYS, "infra", "other")]


async def test_a_gslb_has_a_dnsendpoint_as_k8gb_makes_it(world: World, controller: GslbController) -> None:
    await site(world)
    await gslb(world, strategy={"type": "failover", "primaryGeoTag": "eu", "weight": {"eu": 3, "us": 1}})
    await world.settle(controller)
    made = world.get(DNS_ENDPOINTS, "web")
    uid = world.get(NEW, "web")["metadata"]["uid"]
    owner = {"apiVersion": "k8gb.io/v1beta1", "kind": "Gslb", "name": "web", "uid": uid}
    assert made["metadata"]["ownerReferences"] == [{**owner, "controller": True, "blockOwnerDeletion": True}]
    assert made["metadata"]["labels"]["k8gb.io/dnstype"] == "local"
    name, local = "www.example.com", "localtargets-www.example.com"
    common = {"recordType": "A", "recordTTL": 30}
    both = ["203.0.113.1", "203.0.113.2"]
    answered = {"strategy": "failover", "weight-eu-0-3": "203.0.113.1"}
    assert made["spec"]["endpoints"] == [
        {"dnsName": local, "targets": both, **common},
        {"dnsName": name, "targets": both[:1], "labels": answered, **common},
    ]
    assert states(world, f"{local}.") == {"203.0.113.1": ("eu", "up"), "203.0.113.2": ("us", "up")}
    assert problems(world) == [], "the names are the Gslb's, and not its DNSEndpoint's as well"
    await endpoints(world, "g1", ready=False)
    await world.settle(controller)
    rows = world.get(DNS_ENDPOINTS, "web")["spec"]["endpoints"]
    assert [row["targets"] for row in rows] == [both[1:], both[1:]]
    await endpoints(world, "g2", ready=False)
    await world.settle(controller)
    assert world.get(DNS_ENDPOINTS, "web")["spec"]["endpoints"] == []


async def test_a_dnsendpoint_of_a_gslbs_name_that_is_somebodys_is_let_be(
    world: World, controller: GslbController
) -> None:
    await site(world)
    rows = [{"dnsName": "x.example.com", "recordType": "A", "targets": ["192.0.2.9"]}]
    await world.create(DNS_ENDPOINTS, {"metadata": {"name": "web"}, "spec": {"endpoints": rows}})
    await gslb(world)
    await world.settle(controller)
    assert world.get(DNS_ENDPOINTS, "web")["spec"]["endpoints"] == rows
    assert "x.example.com. 300 IN A 192.0.2.9" in snapshot(world)["zone"]


async def annotate(world: World, **said: str | None) -> None:
    notes = {f"k8gb.io/{name.replace('_', '-')}": value for name, value in said.items() if value is not None}
    await world.update(INGRESSES, "web", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": notes}})


async def test_an_annotated_ingress_has_a_gslb_that_follows_its_annotations(
    world: World, controller: GslbController
) -> None:
    await site(world)
    await annotate(world, strategy="failover", primary_geotag="us", dns_ttl_seconds="7")
    await world.settle(controller)
    made = world.get(NEW, "web")
    assert made["spec"]["strategy"] == {"type": "failover", "dnsTtlSeconds": 7, "primaryGeoTag": "us"}
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Ingress"
    assert service(world)["policy"] == "failover" and service(world)["ttl"] == 7
    await annotate(world, strategy="roundRobin", exposed_ip_addresses="198.51.100.7")
    await world.settle(controller)
    assert set(states(world)) == {"198.51.100.7"} and service(world)["ttl"] == 30
    weighted = {**world.get(NEW, "web")["spec"]["strategy"], "weight": {"eu": 3}, "dnsTtlSeconds": 99}
    await world.set_spec(NEW, "web", strategy=weighted, serviceHealthPolicy="All")
    await world.settle(controller)
    spec = world.get(NEW, "web")["spec"]
    assert spec["strategy"] == {"type": "roundRobin", "dnsTtlSeconds": 30, "weight": {"eu": 3}}
    assert spec["serviceHealthPolicy"] == "All", "what annotations don't say is whoever's who wrote it"
    await world.delete(NEW, "web")
    await world.settle(controller)
    assert world.get(NEW, "web") is not None


async def test_annotations_that_can_not_be_meant_and_a_gslb_of_somebody_are_told_by_an_event(
    world: World, controller: GslbController
) -> None:
    await site(world)
    await annotate(world, strategy="failover")
    await world.settle(controller)
    assert world.get(NEW, "web") is None
    (event,) = world.events("GslbRefused")
    assert "k8gb.io/primary-geotag" in event["message"] and event["involvedObject"]["kind"] == "Ingress"
    await gslb(world)
    before = world.get(NEW, "web")["spec"]
    await annotate(world, strategy="roundRobin", dns_ttl_seconds="5")
    await world.settle(controller)
    assert world.get(NEW, "web")["spec"] == before and len(world.events("GslbExists")) == 1


async def test_what_a_gslb_lacks_is_told_by_an_event(world: World, controller: GslbController) -> None:
    await zone(world)
    await world.create("services", {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    await gslb(world, resourceRef={"apiVersion": "v1", "kind": "Service", "name": "web"})
    await world.settle(controller)
    (event,) = world.events("Incomplete")
    assert "k8gb.io/hostname" in event["message"]


async def test_local_targets_are_tried_as_the_host_itself(world: World, controller: GslbController) -> None:
    await site(world)
    await world.set_spec(DNS_ZONES, "example.com", probe={"type": "HTTPS", "path": "/ready"})
    await gslb(world)
    await world.settle(controller)
    probe = {"host": "www.example.com", "type": "HTTPS", "path": "/ready"}
    assert service(world)["probe"] == service(world, "localtargets-www.example.com.")["probe"] == probe


async def test_local_targets_are_nothing_while_nobody_is_up(world: World, controller: GslbController) -> None:
    """Other clusters of k8gb would lead their clients here."""
    await site(world)
    await gslb(world)
    local = "localtargets-www.example.com."
    await endpoints(world, "g1", ready=False)
    await world.settle(controller)
    assert {state for _, state in states(world, local).values()} == {"up", "down"}
    serial = snapshot(world)["serial"]
    await endpoints(world, "g2", ready=False)
    world.clock.advance(2)
    await world.settle(controller)
    assert not states(world, local) and len(states(world)) == 2, "clients are led somewhere all the same"
    assert snapshot(world)["serial"] > serial, "other servers are told"
    await endpoints(world, "g1", ready=True)
    await world.settle(controller)
    assert len(states(world, local)) == 2


async def test_who_is_refused_a_host_has_no_local_targets_of_it(world: World, controller: GslbController) -> None:
    await site(world)
    await global_service(world, "first", "www.example.com")
    await gslb(world)
    await world.settle(controller)
    assert [*snapshot(world)["services"]["services"]] == ["www.example.com."]
    assert problems(world) == ["Gslb d/web: www.example.com is GlobalService d/first's"]


async def test_of_two_groups_of_one_kind_and_name_the_older_has_a_name(
    world: World, controller: GslbController
) -> None:
    await site(world)
    await gslb(world, NEW)
    await gslb(world, OLD, strategy={"type": "failover", "primaryGeoTag": "eu"})
    await world.settle(controller)
    assert service(world)["policy"] == "round_robin"
    assert problems(world) == ["Gslb.k8gb.absa.oss d/web: www.example.com is Gslb d/web's"]


class Overtaken(LocalObjects):
    """Somebody else's write lands just before each of ours: what ours was made of is old then."""

    writes: list[Callable[[], Awaitable[Any]]]

    async def update(self, *given: Any, **named: Any) -> Any:
        if self.writes:
            await self.writes.pop()()
        return await super().update(*given, **named)


async def test_weights_that_are_written_while_annotations_change_are_kept(world: World) -> None:
    writes: list[Callable[[], Awaitable[Any]]] = []
    shared = {name: getattr(world.objects, name) for name in ("store", "cache", "rules", "clock", "ids", "steps")}
    controller = GslbController(replace(world.tools, objects=Overtaken(**shared, writes=writes)), zone_fault)
    await site(world)
    await annotate(world, strategy="roundRobin")
    await world.settle(controller)
    await annotate(world, strategy="roundRobin", dns_ttl_seconds="7")

    async def weigh() -> None:
        strategy = {**world.get(NEW, "web")["spec"]["strategy"], "weight": {"eu": 3}}
        await world.set_spec(NEW, "web", strategy=strategy)

    writes.append(weigh)
    await controller.reconcile(world.key(INGRESSES, "web"))
    assert not writes
    strategy = {"type": "roundRobin", "dnsTtlSeconds": 7, "weight": {"eu": 3}}
    assert world.get(NEW, "web")["spec"]["strategy"] == strategy


async def test_what_somebody_does_to_a_gslbs_dnsendpoint_is_put_right(
    world: World, controller: GslbController
) -> None:
    await site(world)
    await gslb(world)
    await world.settle(controller)
    made = world.get(DNS_ENDPOINTS, "web")["spec"]
    await world.set_spec(DNS_ENDPOINTS, "web", endpoints=[])
    await world.settle(controller)
    assert world.get(DNS_ENDPOINTS, "web")["spec"] == made
    await world.delete(DNS_ENDPOINTS, "web")
    await world.settle(controller)
    assert world.get(DNS_ENDPOINTS, "web")["spec"] == made


async def test_a_ttl_of_thousands_of_digits_is_told_and_shortened(world: World, controller: GslbController) -> None:
    await site(world)
    await annotate(world, strategy="roundRobin", dns_ttl_seconds="9" * 5000)
    await world.settle(controller)
    (event,) = world.events("GslbRefused")
    assert "k8gb.io/dns-ttl-seconds" in event["message"] and len(event["message"]) < 200


async def test_one_wish_that_nothing_can_be_made_of_is_told_and_stops_no_zone(
    world: World, controller: GslbController
) -> None:
    await zone(world)
    await global_service(world, "bad", "bad.example.com", drains=[{"region": "eu", "until": "never"}])
    await global_service(world, "web", "www.example.com")
    await controller.reconcile(world.key(DNS_ZONES, "example.com"))
    assert set(states(world)) == {"203.0.113.1"}
    (problem,) = problems(world)
    assert "GlobalService d/bad: nothing can be made of it" in problem


async def test_a_gslb_whose_annotation_is_taken_away_stays_and_that_is_told(
    world: World, controller: GslbController
) -> None:
    """As k8gb leaves it."""
    await site(world)
    await annotate(world, strategy="roundRobin")
    await world.settle(controller)
    await annotate(world)
    await world.settle(controller)
    assert world.get(NEW, "web") is not None and set(states(world))
    (event,) = world.events("GslbStays")
    assert "delete it" in event["message"] and event["involvedObject"]["kind"] == "Ingress"
    await world.delete(NEW, "web")
    await world.settle(controller)
    assert world.get(NEW, "web") is None, "nobody asks for it any more"


async def test_an_annotated_service_has_a_gslb_while_it_balances_load(
    world: World, controller: GslbController
) -> None:
    await site(world)
    notes = {"k8gb.io/strategy": "roundRobin"}

    async def write(kind: str) -> None:
        def changed(obj: Any) -> Any:
            spec = {**obj["spec"], "type": kind}
            return {**obj, "metadata": {**obj["metadata"], "annotations": {**notes}}, "spec": spec}

        await world.update("services", "web", changed)
        await world.settle(controller)

    await write("LoadBalancer")
    (event,) = world.events("GslbRefused")
    assert "k8gb.io/hostname" in event["message"] and event["involvedObject"]["kind"] == "Service"
    notes["k8gb.io/hostname"] = "lb.example.com"
    await write("LoadBalancer")
    made = world.get(NEW, "web")
    assert made["spec"]["resourceRef"] == {"apiVersion": "v1", "kind": "Service", "name": "web"}
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Service"
    assert made["metadata"]["annotations"] == {"k8gb.io/hostname": "lb.example.com"}
    await world.set_status("services", "web", loadBalancer={"ingress": [{"ip": "203.0.113.9"}]})
    await world.settle(controller)
    assert set(states(world, "lb.example.com.")) == {"203.0.113.9"}
    await write("ClusterIP")
    (event,) = world.events("GslbStays")
    assert "no LoadBalancer" in event["message"]


async def test_addresses_of_an_annotation_that_are_none_are_told(world: World, controller: GslbController) -> None:
    await site(world)
    await gslb(world)
    notes = {"k8gb.io/exposed-ip-addresses": "203.0.113.1,nowhere", "k8gb.io/exposed-hostnames": "a.test"}
    await world.update(NEW, "web", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": notes}})
    await world.settle(controller)
    (event,) = world.events("Incomplete")
    assert "'nowhere' is no IP address" in event["message"] and "k8gb.io/exposed-hostnames" in event["message"]
