"""Where members serve a Service, as records, DNSEndpoints and zones say it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import GslbController
from cloudcore.dns.snapshot import zone_of_snapshot
from cloudcore.federation.dns_controller import MulticlusterDnsController
from skerry.errors import InvalidError
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, Target, row_name
from skerry.objects.gslb import DNS_SNAPSHOTS, DNS_ZONES
from skerry.objects.multicluster_dns import DOMAINS, ENDPOINTS, INGRESS_RECORDS, SERVICE_RECORDS
from tests.cloudcore.worlds import World, make_world

KINDS = {"Service": "v1", "Ingress": "networking.k8s.io/v1"}
NAME = "web.shop.fed.svc"


class Stage:
    def __init__(self, world: World) -> None:
        self.world = world
        self.resolved: dict[str, list[str]] = {}
        self.dns = MulticlusterDnsController(world.tools, self._resolve)
        self.zones = GslbController(world.tools, _fault)

    async def _resolve(self, host: str) -> Sequence[str]:
        return self.resolved.get(host, [])

    async def settle(self) -> None:
        await self.world.settle(self.dns, self.zones)

    async def member(self, name: str, region: str, *zones: str) -> None:
        await self.world.create(MEMBERS, {"metadata": {"name": name}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
        await self.hear(name, "True", region=region, zones=[*zones])

    async def hear(self, name: str, ready: str, **more: Any) -> None:
        conditions = [{"type": "Ready", "status": ready}]
        key = self.world.key(MEMBERS, name, NAMESPACE)

        def told(obj: Any) -> Any:
            return {**obj, "status": {**obj.get("status", {}), "conditions": conditions, **more}}

        await self.world.objects.update(self.world.kind(MEMBERS), key, told, subresource="status")

    async def row(self, member: str, kind: str = "Service", **spec: Any) -> None:
        where = {"apiVersion": KINDS[kind], "kind": kind, "namespace": "shop", "name": "web"}
        name = row_name(member, Target(api_version=KINDS[kind], kind=kind, namespace="shop", name="web"))
        source = {"resource": "x", "namespace": "shop", "name": "web", "uid": "u"}
        body = {"member": member, "object": where, "source": source, "revision": 1, **spec}
        await self.world.create(MEMBER_OBJECTS, {"metadata": {"name": name}, "spec": body})

    async def tells(self, member: str, *ingress: Any, backed: bool | None = True, kind: str = "Service") -> None:
        name = row_name(member, Target(api_version=KINDS[kind], kind=kind, namespace="shop", name="web"))
        told: Any = {"revision": 1, "remote": {"loadBalancer": {"ingress": [*ingress]}}, "observedAt": "T"}
        if backed is not None:
            told["backed"] = backed
        await self.world.update(MEMBER_OBJECTS, name, lambda obj: {**obj, "status": told}, subresource="status")

    async def record(self, resource: str = SERVICE_RECORDS, **spec: Any) -> None:
        await self.world.create(resource, {"metadata": {"name": "web"}, "spec": spec or {"domainRef": "fed"}}, "shop")

    def status(self, resource: str = SERVICE_RECORDS) -> Any:
        return self.world.get(resource, "web", "shop").get("status", {})

    def endpoint(self, name: str = "service-web") -> Any:
        return self.world.get(ENDPOINTS, name, "shop")

    @property
    def targets(self) -> dict[str, list[str]]:
        found = self.endpoint()["spec"]["endpoints"]
        return {each["dnsName"].removesuffix(".example.com"): each["targets"] for each in found}

    @property
    def zone(self) -> Any:
        spec = self.world.get(DNS_SNAPSHOTS, "example.com", "")["spec"]
        return spec["zone"], spec["services"].get("services", {})


def _fault(name: str, spec: Any) -> str:
    try:
        zone_of_snapshot(name, spec)
    except InvalidError as error:
        return str(error)
    return ""


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with make_world(real_rules=True) as world:
        for name in (NAMESPACE, "shop"):
            await world.create("namespaces", {"metadata": {"name": name}})
        made = Stage(world)
        await world.create(DOMAINS, {"metadata": {"name": "fed"}, "domain": "example.com"}, NAMESPACE)
        servers = [{"name": "ns1", "addresses": ["192.0.2.1"]}]
        await world.create(DNS_ZONES, {"metadata": {"name": "example.com"}, "spec": {"nameservers": servers}})
        await made.member("north", "eu", "eu-1")
        await made.member("south", "us", "us-1")
        for member in ("north", "south"):
            await made.row(member)
        yield made


async def test_what_members_tell_is_gathered_and_answered(stage: Stage) -> None:
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.tells("south", {"ip": "203.0.113.2"})
    await stage.record()
    await stage.settle()
    assert stage.status()["domain"] == "example.com"
    assert stage.status()["dns"] == [
        {
            "cluster": "north",
            "region": "eu",
            "zones": ["eu-1"],
            "loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]},
            "observedAt": "T",
        },
        {
            "cluster": "south",
            "region": "us",
            "zones": ["us-1"],
            "loadBalancer": {"ingress": [{"ip": "203.0.113.2"}]},
            "observedAt": "T",
        },
    ]
    assert stage.targets[NAME] == ["203.0.113.1", "203.0.113.2"]
    assert stage.targets[f"{NAME}.eu-1.eu"] == ["203.0.113.1"]
    _, services = stage.zone
    everywhere = services[f"{NAME}.example.com."]
    assert everywhere["policy"] == "nearest"
    assert {each["region"] for each in everywhere["endpoints"]} == {"eu", "us"}
    assert services[f"{NAME}.eu.example.com."]["tiers"] == [["eu"], ["us+1"]], "the others while nobody is up there"


async def test_a_silent_member_keeps_what_it_told_last(stage: Stage) -> None:
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.tells("south", {"ip": "203.0.113.2"})
    await stage.record()
    await stage.settle()
    before = stage.targets
    await stage.hear("north", "False")
    await stage.settle()
    assert stage.targets == before
    row = stage.status()["dns"][0]
    assert row["observedAt"] == "T"


async def test_a_member_that_comes_and_goes_writes_no_record(stage: Stage) -> None:
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.record()
    await stage.settle()
    before = stage.world.get(SERVICE_RECORDS, "web", "shop")["metadata"]["resourceVersion"]
    for ready in ("False", "True", "Unknown"):
        await stage.hear("north", ready)
        await stage.settle()
    assert stage.world.get(SERVICE_RECORDS, "web", "shop")["metadata"]["resourceVersion"] == before


async def test_a_member_that_tells_thousands_of_names_holds_up_no_other(stage: Stage) -> None:
    stage.resolved["lb.south.example"] = ["203.0.113.9"]
    asked: list[str] = []
    never = asyncio.Event()

    async def slow(host: str) -> Sequence[str]:
        asked.append(host)
        if host.startswith("n"):
            await never.wait()
        return stage.resolved.get(host, [])

    dns = MulticlusterDnsController(stage.world.tools, slow, within_s=0.2)
    await stage.tells("north", *({"hostname": f"n{number}.example"} for number in range(1000)))
    await stage.tells("south", {"hostname": "lb.south.example"})
    await stage.record()
    await stage.world.settle(dns)
    north, south = stage.status()["dns"]
    assert len(asked) == 17
    assert len(north["loadBalancer"]["ingress"]) == 16
    assert south["addresses"] == ["203.0.113.9"]


async def test_who_says_that_nothing_is_ready_is_taken_out(stage: Stage) -> None:
    await stage.tells("north", {"ip": "203.0.113.1"}, backed=False)
    await stage.tells("south", {"ip": "203.0.113.2"})
    await stage.record()
    await stage.settle()
    assert stage.status()["dns"][0]["loadBalancer"] == {}
    assert stage.targets[NAME] == ["203.0.113.2"]
    assert stage.targets[f"{NAME}.eu"] == [f"{NAME}.example.com"]
    text, services = stage.zone
    assert f"{NAME}.eu.example.com. 180 IN CNAME {NAME}.example.com." in text
    assert f"{NAME}.eu.example.com." not in services
    await stage.tells("north", {"ip": "203.0.113.1"}, backed=None)
    await stage.settle()
    assert stage.targets[NAME] == ["203.0.113.1", "203.0.113.2"], "one of an older release does not say"


async def test_what_is_to_go_there_is_out_at_once(stage: Stage) -> None:
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.tells("south", {"ip": "203.0.113.2"})
    await stage.record(domainRef="fed", allowServiceWithoutEndpoints=True)
    await stage.settle()
    name = row_name("north", Target(api_version="v1", kind="Service", namespace="shop", name="web"))
    await stage.world.set_spec(MEMBER_OBJECTS, name, remove="Delete", revision=2)
    await stage.settle()
    assert stage.targets[NAME] == ["203.0.113.2"]


async def test_names_of_load_balancers_are_resolved_and_kept_while_the_resolver_is_away(stage: Stage) -> None:
    await stage.tells("north", {"hostname": "lb.example.net"})
    await stage.record()
    await stage.settle()
    assert stage.status()["dns"][0]["message"] == "no address is known of lb.example.net"
    stage.resolved["lb.example.net"] = ["203.0.113.9"]
    stage.world.clock.advance(stage.world.later["web"])
    await stage.dns.reconcile(stage.world.key(SERVICE_RECORDS, "web", "shop"))
    assert stage.targets[NAME] == ["203.0.113.9"]
    stage.resolved.clear()
    stage.world.clock.advance(60)
    await stage.dns.reconcile(stage.world.key(SERVICE_RECORDS, "web", "shop"))
    assert stage.targets[NAME] == ["203.0.113.9"]


async def test_a_service_without_a_load_balancer_is_reached_at_its_external_addresses(stage: Stage) -> None:
    name = row_name("north", Target(api_version="v1", kind="Service", namespace="shop", name="web"))
    await stage.world.set_spec(MEMBER_OBJECTS, name, manifest={"spec": {"externalIPs": ["203.0.113.7"]}})
    await stage.tells("north")
    await stage.record()
    await stage.settle()
    assert stage.targets[NAME] == ["203.0.113.7"]


async def test_an_endpoint_that_somebody_changed_is_put_back_and_goes_with_its_record(stage: Stage) -> None:
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.record()
    await stage.settle()
    key = stage.world.key(ENDPOINTS, "service-web", "shop")
    await stage.world.objects.update(stage.world.kind(ENDPOINTS), key, lambda obj: {**obj, "spec": {}})
    await stage.settle()
    assert stage.targets[NAME] == ["203.0.113.1"]
    owner = stage.endpoint()["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("ServiceDNSRecord", "web")


async def test_a_record_without_its_domain_has_no_names(stage: Stage) -> None:
    await stage.record(domainRef="other")
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.settle()
    assert stage.endpoint()["spec"]["endpoints"] == []
    await stage.world.create(DOMAINS, {"metadata": {"name": "other"}, "domain": "example.com"}, NAMESPACE)
    await stage.settle()
    assert "web.shop.other.svc" in stage.targets


async def test_hosts_of_an_ingress_are_answered_and_probed_as_an_annotation_says(stage: Stage) -> None:
    await stage.row("north", "Ingress")
    await stage.tells("north", {"ip": "203.0.113.1"}, kind="Ingress", backed=None)
    await stage.world.create(
        INGRESS_RECORDS,
        {
            "metadata": {"name": "web", "annotations": {"skerry.dev/probe": '{"type":"TCP","port":80}'}},
            "spec": {"hosts": ["shop.example.com"], "recordTTL": 30},
        },
        "shop",
    )
    await stage.settle()
    made = stage.endpoint("ingress-web")["spec"]["endpoints"]
    row = {"dnsName": "shop.example.com", "recordTTL": 30, "recordType": "A", "targets": ["203.0.113.1"]}
    assert made == [row]
    _, services = stage.zone
    assert services["shop.example.com."]["probe"] == {"host": "shop.example.com", "type": "TCP", "port": 80}


async def test_an_endpoint_of_somebodys_own_is_answered_as_it_is(stage: Stage) -> None:
    rows = [{"dnsName": "own.example.com", "recordType": "TXT", "targets": ["hello"], "recordTTL": 60}]
    await stage.world.create(ENDPOINTS, {"metadata": {"name": "own"}, "spec": {"endpoints": rows}}, "shop")
    await stage.settle()
    assert 'own.example.com. 60 IN TXT "hello"' in stage.zone[0]
    assert stage.endpoint("own")["status"]["observedGeneration"] == 1


async def test_a_domain_that_changes_moves_the_names_in_its_zones(stage: Stage) -> None:
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.record()
    await stage.settle()
    assert any(name.startswith("web.shop.fed.svc.") for name in stage.zone[1])
    key = stage.world.key(DOMAINS, "fed", NAMESPACE)
    moved = {"domain": "sub.example.com"}
    await stage.world.objects.update(stage.world.kind(DOMAINS), key, lambda obj: {**obj, **moved})
    await stage.settle()
    names = [name for name in stage.zone[1] if name.startswith(f"{NAME}.")]
    assert names and all(name.endswith(".sub.example.com.") for name in names)


async def test_names_move_when_a_record_says_its_new_domain_after_its_endpoint_was_written(stage: Stage) -> None:
    """Who makes zones may look between the two: what is said last has to wake him."""
    await stage.tells("north", {"ip": "203.0.113.1"})
    await stage.record()
    await stage.settle()
    told = {**stage.status(), "domain": "sub.example.com"}
    key = stage.world.key(SERVICE_RECORDS, "web", "shop")
    kind = stage.world.kind(SERVICE_RECORDS)
    await stage.world.objects.update(kind, key, lambda obj: {**obj, "status": told}, subresource="status")
    await stage.world.settle(stage.zones)
    names = [name for name in stage.zone[1] if name.startswith(f"{NAME}.")]
    assert names and all(name.endswith(".sub.example.com.") for name in names)
