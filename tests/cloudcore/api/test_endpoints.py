"""default/kubernetes has the addresses of the replicas that live, and no others."""

from __future__ import annotations

from typing import Any

from cloudcore.api.bootstrap import Address, bootstrap
from cloudcore.api.endpoints import ApiEndpoints, Reached, endpoints_of, reached_at, slices_of
from skerry.objects.json import JsonObject, str_at
from tests.cloudcore.worlds import World, make_world

HERE = Reached(version=4, port=6443, host="10.0.0.1")
THERE = Reached(version=4, port=6443, host="10.0.0.2")
OTHER = Reached(version=4, port=7443, host="10.0.0.3")
SIXTH = Reached(version=6, port=6443, host="fd00::1")


def test_an_address_is_taken_apart_and_loopback_is_none() -> None:
    assert reached_at("10.0.0.1:6443", instead="10.96.0.1") == HERE
    assert reached_at("[fd00::1]:6443", instead="10.96.0.1") == SIXTH
    assert reached_at("127.0.0.1:6443", instead="10.96.0.1") == Reached(version=4, port=6443, host="10.96.0.1")
    for text in ("", "host:6443", "10.0.0.1", "10.0.0.1:x"):
        assert reached_at(text, instead="10.96.0.1") is None


def test_endpoints_are_grouped_by_what_they_have_in_common() -> None:
    endpoints: Any = endpoints_of([OTHER, THERE, HERE, HERE])
    assert [[each["ip"] for each in subset["addresses"]] for subset in endpoints["subsets"]] == [
        ["10.0.0.1", "10.0.0.2"],
        ["10.0.0.3"],
    ]
    assert [subset["ports"][0]["port"] for subset in endpoints["subsets"]] == [6443, 7443]
    slices: Any = slices_of([SIXTH, OTHER, THERE, HERE])
    assert [(each["metadata"]["name"], each["addressType"], len(each["endpoints"])) for each in slices] == [
        ("kubernetes", "IPv4", 2),
        ("kubernetes-ipv4-7443", "IPv4", 1),
        ("kubernetes-ipv6-6443", "IPv6", 1),
    ]
    assert [each["ports"][0]["port"] for each in slices] == [6443, 7443, 6443]


def _address_of(lease: JsonObject) -> str:
    return str_at(lease, "metadata", "annotations", "at")


async def lease(world: World, name: str, at: str) -> None:
    obj = {"metadata": {"name": name, "annotations": {"at": at}}, "spec": {"holderIdentity": name}}
    await world.create("leases.coordination.k8s.io", obj, namespace="kube-system")


def hosts(world: World) -> list[str]:
    endpoints = world.get("endpoints", "kubernetes", namespace="default")
    return [each["ip"] for subset in endpoints["subsets"] for each in subset["addresses"]]


async def test_addresses_come_and_go_with_the_replicas() -> None:
    async with make_world(real_rules=True) as world:
        await world.create("namespaces", {"metadata": {"name": "kube-system"}})
        await world.create("namespaces", {"metadata": {"name": "default"}})
        await bootstrap(world.objects, world.scheme, Address(host="10.0.0.9", port=6443))
        controller = ApiEndpoints(world.tools, service_cidr="10.96.0.0/16", address_of=_address_of)
        await world.settle(controller)
        assert hosts(world) == ["10.0.0.9"], "nobody says where it is"
        await lease(world, "a", "10.0.0.1:6443")
        await lease(world, "b", "10.0.0.3:7443")
        await lease(world, "other", "")
        await world.settle(controller)
        assert hosts(world) == ["10.0.0.1", "10.0.0.3"]
        slices = world.names("endpointslices.discovery.k8s.io")
        assert slices == ["kubernetes", "kubernetes-ipv4-7443"]
        kind = world.kind("leases.coordination.k8s.io")
        await world.objects.delete(kind, kind.key("kube-system", "b"))
        await world.settle(controller)
        assert hosts(world) == ["10.0.0.1"]
        assert world.names("endpointslices.discovery.k8s.io") == ["kubernetes"]


async def test_what_somebody_else_wrote_there_is_set_right() -> None:
    async with make_world(real_rules=True) as world:
        await world.create("namespaces", {"metadata": {"name": "kube-system"}})
        controller = ApiEndpoints(world.tools, service_cidr="10.96.0.0/16", address_of=_address_of)
        await world.create("namespaces", {"metadata": {"name": "default"}})
        await lease(world, "a", "10.0.0.1:6443")
        await world.settle(controller)
        kind = world.kind("endpoints")
        await world.objects.update(kind, kind.key("default", "kubernetes"), lambda obj: {**obj, "subsets": []})
        await world.settle(controller)
        assert hosts(world) == ["10.0.0.1"]
        await world.objects.delete(kind, kind.key("default", "kubernetes"))
        await world.settle(controller)
        assert hosts(world) == ["10.0.0.1"]
