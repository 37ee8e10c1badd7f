"""A session's key is its Node's: who was replaced or sent away is out at once, stays out, and brings nothing back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.keys import TOLD_AGAIN_S, NodeKeys
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.runtime.events import EventRecorder
from cloudcore.store.memory import MemoryState
from edgecore.store.memory import MemoryEdgeStore
from skerry.clocks import ManualClock, SystemClock
from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, int_at, map_at, str_at
from tests.cloudcore.hub.fleet import Fleet, Replica, SharedMemoryStore, a_fleet, eventually

KEY, OTHER_KEY = "k" * 43, "o" * 43


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet() as fleet:
        yield fleet


def keyed(key: str) -> JsonObject:
    return {"annotations": {"skerry.dev/node-key": key}}


async def a_node(fleet: Fleet, key: str = KEY, name: str = "eu-1") -> JsonObject:
    kind = fleet.kind("nodes")
    metadata: JsonObject = {"name": name, **(keyed(key) if key else {})}
    return (await fleet.objects.create(kind, "", {"metadata": metadata})).obj


async def joins_again(fleet: Fleet, key: str) -> None:
    def with_key(node: JsonObject) -> JsonObject:
        return {**node, "metadata": {**map_at(node, "metadata"), **keyed(key)}}

    await fleet.update("nodes", "eu-1", with_key)


def refusals(fleet: Fleet) -> list[JsonObject]:
    events = [fleet.cache.obj(stored) for stored in fleet.cache.select("events")]
    return [event for event in events if str_at(event, "reason") == "GatewayRefused"]


async def test_the_key_that_joined_is_admitted_and_another_is_told_why_not(fleet: Fleet) -> None:
    await a_node(fleet)
    async with fleet.gateway(key=OTHER_KEY) as thief, fleet.gateway("eu-1", key=KEY) as gateway:
        await eventually(lambda: gateway.link.connected)
        await eventually(lambda: "has joined again with another key since" in thief.link.status.last_error)
        assert not thief.link.connected
        await eventually(lambda: refusals(fleet))
    (event,) = refusals(fleet)
    assert str_at(event, "type") == "Warning"
    assert str_at(event, "involvedObject", "name") == "eu-1"


async def test_who_is_refused_does_not_end_the_session_of_the_nodes_own_gateway(fleet: Fleet) -> None:
    await a_node(fleet)
    async with fleet.gateway(key=KEY) as gateway:
        await eventually(lambda: gateway.link.connected)
        session = gateway.link.status.session
        async with fleet.gateway(key=OTHER_KEY) as thief:
            await eventually(lambda: thief.link.status.last_error)
        assert gateway.link.connected
        assert gateway.link.status.session == session


async def test_a_gateway_that_is_replaced_is_out_at_once_and_stays_out(fleet: Fleet) -> None:
    await a_node(fleet)
    store = MemoryEdgeStore(incarnation="old", clock=SystemClock())
    async with fleet.gateway(key=KEY, store=store) as old:
        await eventually(lambda: old.link.connected)
        await joins_again(fleet, OTHER_KEY)
        await eventually(lambda: "another key" in old.link.status.last_error)
        async with fleet.gateway(key=OTHER_KEY) as new:
            await eventually(lambda: new.link.connected)
            await fleet.pod("web", "eu-1")
            await eventually(lambda: new.holds("pods", "web"))
            assert not old.link.connected
            assert not old.holds("pods", "web")


async def test_a_node_that_is_deleted_ends_its_session_and_what_is_still_told_brings_it_not_back(
    fleet: Fleet,
) -> None:
    await a_node(fleet)
    async with fleet.gateway(key=KEY) as gateway:
        await gateway.tell_node()
        await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        kind = fleet.kind("nodes")
        await fleet.objects.delete(kind, kind.key("", "eu-1"))
        await gateway.tell_node(ready="False")
        await eventually(lambda: "is not known any more" in gateway.link.status.last_error)
        assert not gateway.link.connected
        assert fleet.now("nodes", "eu-1") is None
        await a_node(fleet)
        await eventually(lambda: gateway.link.connected and not gateway.store.outbox(after=0, limit=1))
        assert fleet.now("nodes", "eu-1") is not None


async def test_a_node_without_a_key_admits_whoever_has_its_certificate(fleet: Fleet) -> None:
    await a_node(fleet, key="")
    async with fleet.gateway(key=KEY) as gateway:
        await eventually(lambda: gateway.link.connected)


async def test_who_signed_a_gateways_certificate_is_noted_when_its_session_opens(fleet: Fleet) -> None:
    def noted() -> str:
        return str_at(fleet.now("nodes", "eu-1"), "metadata", "annotations", "skerry.dev/node-authority")

    await a_node(fleet)
    async with fleet.gateway(key=KEY) as gateway:
        for issuer, authority in (("aa", "first"), ("aa", "first"), ("cc", "first"), ("bb", "second")):
            await gateway.link.cut()
            await eventually(lambda: not fleet.hub.connected)
            before = fleet.now("nodes", "eu-1")
            known = noted()
            gateway.issuer = issuer
            await gateway.link.heal()
            await eventually(lambda: gateway.link.connected)
            assert noted() == authority, "before it is welcomed"
            if authority == known:
                assert fleet.now("nodes", "eu-1") == before, "what is known is not written again"


async def test_a_node_that_joined_through_another_replica_just_now_is_let_in() -> None:
    state = MemoryState(epoch="e1")
    async with (
        a_fleet(SharedMemoryStore(state), leadership=Replica("north", leading=False)) as north,
        a_fleet(SharedMemoryStore(state), leadership=Replica("south", leading=False)) as south,
        south.gateway(key=KEY) as gateway,
    ):
        await a_node(north)
        await eventually(lambda: gateway.link.connected)


async def test_refusals_are_told_once_a_minute_and_again_when_the_store_did_not_take_it(fleet: Fleet) -> None:
    await a_node(fleet)
    clock = ManualClock()
    event = builtin_scheme().of_resource("events")
    assert event is not None
    recorder = EventRecorder(fleet.objects, event, clock, component="test")
    keys = NodeKeys(fleet.cache, recorder, clock)
    for _ in range(3):
        await keys.tell("eu-1", "why")
    assert [int_at(said, "count") for said in refusals(fleet)] == [1]
    clock.advance(TOLD_AGAIN_S)
    await keys.tell("eu-1", "why")
    await eventually(lambda: [int_at(said, "count") for said in refusals(fleet)] == [2])
    await keys.tell("nobody", "why")
    assert len(refusals(fleet)) == 1
