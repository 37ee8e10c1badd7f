"""Which devices a node has or had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.placement.controller import DEVICES, PlacementController
from cloudcore.registry.placements import DEVICES_MAX, has_device, has_name, record_key, with_devices
from skerry.objects.json import JsonObject, map_at
from tests.cloudcore.worlds import World, make_world

NODE: JsonObject = {"metadata": {"name": "eu-1", "uid": "n1"}}
T0_MS = 1_790_000_000_000


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


def of(world: World, node: str) -> Any:
    return world.get("configmaps", record_key(node).name, "kube-system")


async def place(world: World, name: str, node: str) -> str:
    device = await world.create(DEVICES, {"metadata": {"name": name}, "spec": {"nodeName": node}})
    return device["metadata"]["uid"]


async def test_a_device_that_moves_or_goes_stays_in_the_record_of_its_nodes(world: World) -> None:
    for node in ("eu-1", "us-1", "idle"):
        await world.create("nodes", {"metadata": {"name": node}})
    controller = PlacementController(world.tools)
    uid = await place(world, "plc", "eu-1")
    await world.settle(controller)
    await world.set_spec(DEVICES, "plc", nodeName="us-1")
    await world.settle(controller)
    await world.delete(DEVICES, "plc")
    again = await place(world, "plc", "us-1")
    await world.settle(controller)
    assert has_device(of(world, "eu-1"), uid=uid, namespace="d", name="plc")
    assert not has_device(of(world, "eu-1"), uid=again, namespace="d", name="plc")
    for life in (uid, again):
        assert has_device(of(world, "us-1"), uid=life, namespace="d", name="plc")
    assert of(world, "idle") is None, "a node without devices costs nothing"


async def test_a_device_that_came_and_went_before_anybody_looked_is_recorded(world: World) -> None:
    await world.create("nodes", {"metadata": {"name": "eu-1"}})
    uid = await place(world, "plc", "eu-1")
    await world.delete(DEVICES, "plc")
    await world.settle(PlacementController(world.tools))
    assert has_device(of(world, "eu-1"), uid=uid, namespace="d", name="plc")


async def test_a_device_that_is_placed_before_its_node_exists_is_recorded_with_it(world: World) -> None:
    controller = PlacementController(world.tools)
    uid = await place(world, "plc", "eu-1")
    await world.settle(controller)
    assert of(world, "eu-1") is None
    await world.create("nodes", {"metadata": {"name": "eu-1"}})
    await world.settle(controller)
    assert has_device(of(world, "eu-1"), uid=uid, namespace="d", name="plc")


async def test_what_a_gateway_tells_of_its_device_writes_nothing(world: World) -> None:
    await world.create("nodes", {"metadata": {"name": "eu-1"}})
    await place(world, "plc", "eu-1")
    await world.settle(PlacementController(world.tools))
    held = of(world, "eu-1")["metadata"]["resourceVersion"]
    world.clock.advance(60)
    await world.set_status(DEVICES, "plc", state="online")
    await world.settle(PlacementController(world.tools))
    assert of(world, "eu-1")["metadata"]["resourceVersion"] == held


async def test_a_node_that_is_made_anew_begins_anew(world: World) -> None:
    controller = PlacementController(world.tools)
    await world.create("nodes", {"metadata": {"name": "eu-1"}})
    old = await place(world, "old", "eu-1")
    await world.settle(controller)
    await world.delete(DEVICES, "old")
    await world.settle(controller)
    await world.delete("nodes", "eu-1")
    node = await world.create("nodes", {"metadata": {"name": "eu-1"}})
    new = await place(world, "new", "eu-1")
    await world.settle(controller)
    assert not has_device(of(world, "eu-1"), uid=old, namespace="d", name="old")
    assert has_device(of(world, "eu-1"), uid=new, namespace="d", name="new")
    (owner,) = of(world, "eu-1")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Node", node["metadata"]["uid"])


def test_a_record_is_of_uid_and_name_together() -> None:
    record = with_devices({}, NODE, placed={"u1": "ns/plc"}, left={}, now_ms=T0_MS)
    assert has_device(record, uid="u1", namespace="ns", name="plc")
    assert not has_device(record, uid="u1", namespace="ns", name="plc-2")
    assert not has_device(record, uid="u2", namespace="ns", name="plc")
    assert has_name(record, namespace="ns", name="plc")
    assert not has_name(record, namespace="n", name="plc")
    assert not has_name(None, namespace="ns", name="plc")
    assert with_devices(record, NODE, placed={"u1": "ns/plc"}, left={}, now_ms=T0_MS + 1000) is record


def test_the_newest_are_kept_and_who_left_is_new() -> None:
    first = with_devices({}, NODE, placed={f"a{n}": f"ns/a{n}" for n in range(DEVICES_MAX)}, left={}, now_ms=T0_MS)
    left = with_devices(first, NODE, placed={}, left={"a0": "ns/a0"}, now_ms=T0_MS + 1000)
    full = with_devices(left, NODE, placed={"b": "ns/b"}, left={}, now_ms=T0_MS + 2000)
    assert len(map_at(full, "data")) == DEVICES_MAX
    for uid in ("a0", "b"):
        assert has_device(full, uid=uid, namespace="ns", name=uid)


def test_the_name_of_a_record_is_a_name() -> None:
    assert record_key("eu-1").name == "skerry-devices.eu-1"
    long = {record_key(f"{'n' * 250}{end}").name for end in ("a", "b")}
    assert len(long) == 2 and all(len(name) <= 253 for name in long)
