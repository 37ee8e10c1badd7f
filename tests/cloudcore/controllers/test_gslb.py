"""Gslbs, GlobalServices and DNSEndpoints as zones that servers answer from, and as their statuses."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import GslbController
from cloudcore.controllers.gslb.judging import Remembering
from cloudcore.controllers.gslb.routes import addresses_of, hosts_of, parents_of, services_of
from cloudcore.dns.snapshot import zone_of_snapshot
from skerry.dns.names import name_of
from skerry.objects.gslb import (
    DNS_ENDPOINTS,
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
from tests.cloudcore.controllers.gslb_world import (
    NEW,
    RULE,
    condition,
    controller,
    endpoint,
    endpoints,
    global_service,
    gslb,
    hears,
    ingress,
    problems,
    reached,
    service,
    site,
    snapshot,
    states,
    world,
    zone,
    zone_fault,
)
from tests.cloudcore.worlds import World

__all__ = ["controller", "world"]


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
