"""What Gslbs and GlobalServices refer to: Services, routes and gateways before them; and how they are tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import GslbController
from skerry.objects.gslb import DNS_ZONES, GATEWAY_API, GLOBAL_SERVICES, GSLBS, ISTIO
from skerry.objects.json import encode_object
from tests.cloudcore.controllers.gslb_world import (
    endpoints,
    global_service,
    gslb,
    node,
    service,
    snapshot,
    states,
    zone,
    zone_fault,
)
from tests.cloudcore.worlds import World, make_world

NEW, _ = GSLBS
HTTP: Any = {"type": "HTTP", "path": "/ready"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        for group, kinds in (
            (GATEWAY_API, ("Gateway", "ListenerSet", "HTTPRoute", "UDPRoute")),
            (ISTIO, ("Gateway", "VirtualService")),
        ):
            for kind in kinds:
                made.custom.serve(definition(group, kind))
        yield made


@pytest.fixture
def controller(world: World) -> GslbController:
    return GslbController(world.tools, zone_fault)


def definition(group: str, kind: str) -> Any:
    plural = f"{kind.lower()}s"
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }


async def gateway(world: World, name: str = "edge", address: str = "203.0.113.50") -> None:
    await world.create(
        f"gateways.{GATEWAY_API}",
        {"metadata": {"name": name}, "status": {"addresses": [{"type": "IPAddress", "value": address}]}},
    )


async def route(world: World, kind: str, parent: Any, *hosts: str, **labels: str) -> None:
    rules = [{"backendRefs": [{"name": "web", "port": 80}]}]
    named = {"hostnames": [*hosts]} if hosts else {}
    await world.create(
        f"{kind.lower()}s.{GATEWAY_API}",
        {"metadata": {"name": "web", "labels": labels}, "spec": {"parentRefs": [parent], "rules": rules, **named}},
    )


async def annotated(world: World, name: str, **said: str) -> None:
    notes = {f"{key.replace('_', '.').replace('K', '/')}": value for key, value in said.items()}
    await world.update(NEW, name, lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": notes}})


async def a_service(world: World, kind: str = "LoadBalancer", **annotations: str) -> None:
    meta = {"name": "web", "annotations": {key.replace("_", "/"): value for key, value in annotations.items()}}
    await world.create("services", {"metadata": meta, "spec": {"type": kind, "ports": [{"port": 80}]}})
    await endpoints(world, "g1", ready=True)


async def test_a_gslb_names_the_host_of_a_service_and_of_a_route_that_has_none(
    world: World, controller: GslbController
) -> None:
    """k8gb looks at the Gslb's annotation, whatever the Service says."""
    await zone(world)
    await a_service(world, **{"external-dns.alpha.kubernetes.io_hostname": "other.example.com"})
    await world.set_status("services", "web", loadBalancer={"ingress": [{"ip": "203.0.113.9"}]})
    await gateway(world)
    await route(world, "UDPRoute", {"name": "edge"})
    await gslb(world, resourceRef={"apiVersion": "v1", "kind": "Service", "name": "web"})
    reference = {"apiVersion": f"{GATEWAY_API}/v1alpha2", "kind": "UDPRoute", "name": "web"}
    await gslb(world, name="udp", resourceRef=reference)
    await annotated(world, "web", k8gb_ioKhostname="lb.example.com")
    await annotated(world, "udp", k8gb_ioKhostname="udp.example.com")
    await world.settle(controller)
    assert set(states(world, "lb.example.com.")) == {"203.0.113.9"}
    assert set(states(world, "udp.example.com.")) == {"203.0.113.50"}
    assert world.get(NEW, "web")["status"]["serviceHealth"] == {"lb.example.com": "Healthy"}
    assert len(snapshot(world)["services"]["services"]) == 2 * len(("lb", "udp")), "each has its local targets beside"


async def test_a_global_service_refers_to_routes_by_labels_and_through_sets_of_listeners(
    world: World, controller: GslbController
) -> None:
    await zone(world)
    await a_service(world)
    await gateway(world, "shared")
    await world.create(
        f"listenersets.{GATEWAY_API}", {"metadata": {"name": "ours"}, "spec": {"parentRef": {"name": "shared"}}}
    )
    await route(world, "HTTPRoute", {"kind": "ListenerSet", "name": "ours"}, "*.example.com", app="web")
    reference = {"kind": "HTTPRoute", "matchLabels": {"app": "web"}}
    await global_service(world, "web", "www.example.com", "a.b.example.com", endpoints=[], resourceRef=reference)
    await world.settle(controller)
    assert set(states(world)) == set(states(world, "a.b.example.com.")) == {"203.0.113.50"}
    change: Any = {"addresses": [{"value": "203.0.113.51"}]}
    await world.update(f"gateways.{GATEWAY_API}", "shared", lambda obj: {**obj, "status": change})
    await world.settle(controller)
    assert set(states(world)) == {"203.0.113.51"}


async def test_a_global_service_refers_to_a_virtual_service(world: World, controller: GslbController) -> None:
    await zone(world)
    await a_service(world)
    meta = {"name": "ingress", "labels": {"istio": "in"}}
    await world.create("services", {"metadata": meta, "spec": {"externalIPs": ["203.0.113.60"]}})
    await world.create(f"gateways.{ISTIO}", {"metadata": {"name": "edge"}, "spec": {"selector": {"istio": "in"}}})
    way = [{"route": [{"destination": {"host": "web"}}]}]
    spec = {"hosts": ["www.example.com"], "gateways": ["edge"], "http": way}
    await world.create(f"virtualservices.{ISTIO}", {"metadata": {"name": "web"}, "spec": spec})
    reference = {"kind": "VirtualService", "name": "web"}
    await global_service(world, "web", "www.example.com", endpoints=[], resourceRef=reference)
    await world.settle(controller)
    assert set(states(world)) == {"203.0.113.60"}


async def test_ports_of_nodes_are_reached_at_the_gateways_that_have_endpoints(
    world: World, controller: GslbController
) -> None:
    await zone(world)
    await node(world, "g1", "eu", "203.0.113.1")
    await node(world, "g2", "us", "203.0.113.2")
    await node(world, "g3", "us", "203.0.113.3")
    await a_service(world, "NodePort")
    await endpoints(world, "g2", ready=False)
    await global_service(
        world, "web", "www.example.com", endpoints=[], resourceRef={"kind": "Service", "name": "web"}
    )
    await world.settle(controller)
    assert states(world) == {"203.0.113.1": ("eu", "up"), "203.0.113.2": ("us", "down")}
    addresses = [{"type": "InternalIP", "address": "10.0.0.9"}, {"type": "ExternalIP", "address": "203.0.113.99"}]
    await world.set_status("nodes", "g1", addresses=addresses)
    await world.settle(controller)
    assert set(states(world)) == {"203.0.113.99", "203.0.113.2"}


async def test_how_a_gslb_is_tried_is_its_own_word_or_the_zones(world: World, controller: GslbController) -> None:
    await zone(world)
    await a_service(world)
    await world.set_status("services", "web", loadBalancer={"ingress": [{"ip": "203.0.113.9"}]})
    await gslb(world, resourceRef={"apiVersion": "v1", "kind": "Service", "name": "web"})
    await annotated(world, "web", k8gb_ioKhostname="www.example.com")
    await world.settle(controller)
    assert "probe" not in service(world) and "endpoints" not in world.get(NEW, "web")["status"]
    await world.set_spec(DNS_ZONES, "example.com", probe={"type": "TCP", "port": 443})
    await world.settle(controller)
    assert service(world)["probe"] == {"host": "www.example.com", "type": "TCP", "port": 443}
    rows = [{"host": "www.example.com", "address": "203.0.113.9", "state": "Up"}]
    assert world.get(NEW, "web")["status"]["endpoints"] == rows
    said = encode_object(HTTP).decode()
    await annotated(world, "web", k8gb_ioKhostname="www.example.com", skerry_devKprobe=said)
    await world.settle(controller)
    assert service(world)["probe"] == {"host": "www.example.com", **HTTP}
    await annotated(world, "web", k8gb_ioKhostname="www.example.com", skerry_devKprobe="none")
    await global_service(world, "api", "api.example.com", probe={"type": "None"})
    await global_service(world, "all", "all.example.com")
    await world.settle(controller)
    assert "probe" not in service(world) and "endpoints" not in world.get(NEW, "web")["status"]
    assert "probe" not in service(world, "api.example.com.")
    assert service(world, "all.example.com.")["probe"]["port"] == 443
    assert "port" not in world.get(GLOBAL_SERVICES, "all")["spec"], "nothing is written into what somebody else says"


async def test_sets_of_listeners_that_name_each_other_stop_nothing(world: World, controller: GslbController) -> None:
    await zone(world)
    await a_service(world)
    for name, parent in (("ours", "theirs"), ("theirs", "ours"), ("self", "self")):
        spec = {"parentRef": {"kind": "ListenerSet", "name": parent}}
        await world.create(f"listenersets.{GATEWAY_API}", {"metadata": {"name": name}, "spec": spec})
    await route(world, "HTTPRoute", {"kind": "ListenerSet", "name": "ours"}, "*.example.com")
    reference = {"kind": "HTTPRoute", "name": "web"}
    await global_service(world, "web", "www.example.com", endpoints=[], resourceRef=reference)
    await global_service(world, "other", "other.example.com")
    await world.settle(controller)
    assert states(world) == {} and set(states(world, "other.example.com.")) == {"203.0.113.1"}


async def test_a_service_that_an_istio_gateway_selects_may_come_later(
    world: World, controller: GslbController
) -> None:
    await zone(world)
    await a_service(world)
    await world.create(f"gateways.{ISTIO}", {"metadata": {"name": "edge"}, "spec": {"selector": {"istio": "in"}}})
    way = [{"route": [{"destination": {"host": "web"}}]}]
    spec = {"hosts": ["www.example.com"], "gateways": ["edge"], "http": way}
    await world.create(f"virtualservices.{ISTIO}", {"metadata": {"name": "web"}, "spec": spec})
    reference = {"kind": "VirtualService", "name": "web"}
    await global_service(world, "web", "www.example.com", endpoints=[], resourceRef=reference)
    await world.settle(controller)
    assert states(world) == {}
    meta = {"name": "ingress", "labels": {"istio": "in"}}
    await world.create("services", {"metadata": meta, "spec": {"externalIPs": ["203.0.113.60"]}})
    await world.settle(controller)
    assert set(states(world)) == {"203.0.113.60"}
