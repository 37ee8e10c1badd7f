"""What other programs go by at a Gslb: annotated Ingresses and Services, DNSEndpoints as k8gb makes them, Events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cloudcore.controllers.gslb.controller import GslbController
from skerry.frozen import replace
from skerry.objects.gslb import (
    DNS_ENDPOINTS,
    DNS_ZONES,
)
from skerry.objects.ingresses import INGRESSES
from tests.cloudcore.controllers.gslb_world import (
    NEW,
    OLD,
    Overtaken,
    annotate,
    controller,
    endpoints,
    global_service,
    gslb,
    problems,
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
