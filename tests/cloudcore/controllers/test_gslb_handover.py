"""A Gslb of k8gb's older group that moves to the newer one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import SLICES, GslbController
from cloudcore.controllers.gslb.handover import given_up
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.gslb import DNS_ENDPOINTS, DNS_SNAPSHOTS, DNS_ZONES, GSLBS
from skerry.objects.ingresses import INGRESSES
from tests.cloudcore.worlds import World, make_world

NEW, OLD = GSLBS
PATHS = [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web"}}}]
EMBEDDED = {"ingress": {"rules": [{"host": "www.example.com", "http": {"paths": PATHS}}]}}
SERVICE_LABEL = "kubernetes.io/service-name"
REFERRED = {"resourceRef": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        servers = [{"name": "ns1", "addresses": ["192.0.2.1"]}]
        await made.create(DNS_ZONES, {"metadata": {"name": "example.com"}, "spec": {"nameservers": servers}})
        yield made


@pytest.fixture
def controller(world: World) -> GslbController:
    return GslbController(world.tools, lambda *_: "")


async def old(world: World, spec: Any = EMBEDDED, **labels: str) -> None:
    named = {name.replace("_", "-"): value for name, value in labels.items()}
    meta = {"name": "web", "labels": {f"k8gb.io/{name}": value for name, value in named.items()}}
    meta["annotations"] = {"k8gb.io/exposed-ip-addresses": "203.0.113.1"}
    body = {"strategy": {"type": "failover", "primaryGeoTag": "eu"}, **spec}
    await world.create(OLD, {"metadata": meta, "spec": body})


async def label(world: World, **labels: str) -> None:
    named = {f"k8gb.io/{name.replace('_', '-')}": value for name, value in labels.items()}
    await world.update(
        OLD,
        "web",
        lambda obj: {
            **obj,
            "metadata": {**obj["metadata"], "labels": {**obj["metadata"].get("labels", {}), **named}},
        },
    )


def owners(world: World, resource: str) -> list[tuple[str, str]]:
    found = world.get(resource, "web")["metadata"].get("ownerReferences", [])
    return [(each["apiVersion"], each["uid"]) for each in found]


async def serve(world: World) -> None:
    await world.create("services", {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    labels, rows = {SERVICE_LABEL: "web"}, [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
    await world.create(SLICES, {"metadata": {"name": "web-1", "labels": labels}, "endpoints": rows})


def strategies(world: World) -> set[str]:
    """Of what the DNSEndpoint says."""
    rows = world.get(DNS_ENDPOINTS, "web")["spec"]["endpoints"]
    return {row["labels"]["strategy"] for row in rows if row.get("labels")}


def in_turn(gslb: dict[str, Any]) -> dict[str, Any]:
    return {**gslb, "spec": {**gslb["spec"], "strategy": {"type": "roundRobin"}}}


def services(world: World) -> dict[str, Any]:
    return world.get(DNS_SNAPSHOTS, "example.com", "")["spec"]["services"].get("services", {})


async def test_who_is_asked_to_move_leaves_its_ingress_and_its_dnsendpoint(
    world: World, controller: GslbController
) -> None:
    await old(world)
    await world.settle(controller)
    assert owners(world, INGRESSES) and owners(world, DNS_ENDPOINTS)[0][0] == "k8gb.absa.oss/v1beta1"
    answered = services(world)
    await label(world, migration_requested="true")
    await world.settle(controller)
    made = world.get(NEW, "web")
    assert made["spec"]["resourceRef"] == REFERRED["resourceRef"] and "ingress" not in made["spec"]
    assert made["spec"]["strategy"]["primaryGeoTag"] == "eu" and not made["metadata"].get("labels")
    assert made["metadata"]["annotations"] == {"k8gb.io/exposed-ip-addresses": "203.0.113.1"}
    assert owners(world, DNS_ENDPOINTS) == [("k8gb.io/v1beta1", made["metadata"]["uid"])]
    assert not owners(world, INGRESSES)
    assert world.get(OLD, "web")["metadata"]["labels"]["k8gb.io/migrated-to-k8gb-io"] == "true"
    assert services(world) == answered and len(world.events("LegacyMigrated")) == 1
    await label(world, migrated_to_k8gb_io="false")
    await world.settle(controller)
    assert world.get(OLD, "web")["metadata"]["labels"]["k8gb.io/migrated-to-k8gb-io"] == "true", "again"
    await world.delete(OLD, "web")
    await world.settle(controller)
    assert services(world) == answered and world.get(INGRESSES, "web") is not None


async def test_who_moves_before_it_had_an_ingress_has_one_made_that_is_nobodys(
    world: World, controller: GslbController
) -> None:
    await old(world, migration_requested="true")
    await world.settle(controller)
    assert world.get(INGRESSES, "web")["spec"]["rules"][0]["host"] == "www.example.com"
    assert not owners(world, INGRESSES) and "www.example.com." in services(world)


async def test_one_of_the_newer_group_that_is_there_stays_as_it_is(world: World, controller: GslbController) -> None:
    body = {"strategy": {"type": "roundRobin"}, **REFERRED}
    await world.create(NEW, {"metadata": {"name": "web"}, "spec": body})
    await old(world, REFERRED, migration_requested="true")
    await world.settle(controller)
    assert world.get(NEW, "web")["spec"]["strategy"]["type"] == "roundRobin"
    assert world.get(OLD, "web")["metadata"]["labels"]["k8gb.io/migrated-to-k8gb-io"] == "true"


async def test_the_heir_has_what_it_was_handed_as_it_is_itself(world: World, controller: GslbController) -> None:
    body = {"strategy": {"type": "roundRobin"}, **REFERRED}
    await serve(world)
    await world.create(INGRESSES, {"metadata": {"name": "web"}, "spec": EMBEDDED["ingress"]})
    await old(world, REFERRED)
    await world.settle(controller)
    meta = {"name": "web", "annotations": {"k8gb.io/exposed-ip-addresses": "203.0.113.1"}}
    await world.create(NEW, {"metadata": meta, "spec": body})
    await world.settle(controller)
    assert strategies(world) == {"failover"}
    await label(world, migration_requested="true")
    await world.settle(controller)
    assert owners(world, DNS_ENDPOINTS)[0][0] == "k8gb.io/v1beta1" and strategies(world) == {"roundRobin"}


async def test_who_can_not_be_moved_has_its_hosts_as_before(world: World) -> None:
    class Refusing:
        """The world's objects, of which none of the newer group is taken."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.objects, name)

        async def create(self, kind: Any, *args: Any) -> Any:
            if kind.resource == NEW:
                raise InvalidError("spec: must be otherwise")
            return await world.objects.create(kind, *args)

    refusing: Any = Refusing()
    controller = GslbController(replace(world.tools, objects=refusing), lambda *_: "")
    await serve(world)
    await old(world)
    await world.settle(controller)
    await label(world, migration_requested="true")
    await world.update(OLD, "web", in_turn)
    await world.settle(controller)
    assert len(world.events("LegacyRefused")) == 1 and world.get(NEW, "web") is None
    assert strategies(world) == {"roundRobin"} and "www.example.com." in services(world)


async def test_of_who_has_moved_nothing_is_made_and_that_is_told(world: World, controller: GslbController) -> None:
    await old(world, migrated_to_k8gb_io="true")
    await world.settle(controller)
    assert world.get(NEW, "web") is None and world.get(INGRESSES, "web") is None and not services(world)
    assert len(world.events("LegacyIgnored")) == 1


def test_what_was_not_its_own_is_not_given_up() -> None:
    before = {"metadata": {"uid": "1"}}
    others = {"metadata": {"name": "x", "ownerReferences": [{"uid": "2"}]}}
    assert given_up(others, before, None) is others  # type: ignore[arg-type]
