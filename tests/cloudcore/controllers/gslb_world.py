"""A cloud with zones, sites and what wants names in them, for tests of the controller that makes zones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import SLICES, GslbController
from cloudcore.dns.snapshot import zone_of_snapshot
from cloudcore.registry.objects import LocalObjects
from skerry.errors import InvalidError
from skerry.objects.gslb import (
    DNS_ENDPOINTS,
    DNS_SNAPSHOTS,
    DNS_ZONES,
    GLOBAL_SERVICES,
    GSLBS,
)
from skerry.objects.ingresses import INGRESSES
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


async def annotate(world: World, **said: str | None) -> None:
    notes = {f"k8gb.io/{name.replace('_', '-')}": value for name, value in said.items() if value is not None}
    await world.update(INGRESSES, "web", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": notes}})


class Overtaken(LocalObjects):
    """Somebody else's write lands just before each of ours: what ours was made of is old then."""

    writes: list[Callable[[], Awaitable[Any]]]

    async def update(self, *given: Any, **named: Any) -> Any:
        if self.writes:
            await self.writes.pop()()
        return await super().update(*given, **named)
