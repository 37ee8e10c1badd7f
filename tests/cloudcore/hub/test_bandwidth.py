"""The hub's caps: by the annotation of each Node, at once, and what is said of one that makes no sense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.bandwidth import Bandwidths
from cloudcore.store.port import Change, Stored
from skerry.objects.bandwidth import BANDWIDTH
from skerry.objects.json import Json, JsonObject, encode_object, map_at
from skerry.objects.meta import Key, Revision
from tests.cloudcore.hub.fleet import a_fleet, eventually
from tests.cloudcore.worlds import World, make_world


def body(text: str | None, name: str = "eu-1") -> bytes:
    annotations: dict[str, Json] = {} if text is None else {BANDWIDTH: text}
    return encode_object({"metadata": {"name": name, "annotations": annotations}})


def change(text: str | None, *, gone: bool = False) -> Change:
    after = None if gone else body(text)
    return Change(revision=Revision(2), key=Key("nodes", "", "eu-1"), uid="u", after=after, before=None)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": "default"}})
        await made.create("nodes", {"metadata": {"name": "eu-1"}})
        yield made


def bandwidths(world: World) -> Bandwidths:
    return Bandwidths(world.clock, world.tools.recorder("hub"), lambda name: world.get("nodes", name))


async def test_a_plan_comes_changes_and_goes(world: World) -> None:
    caps = bandwidths(world)
    assert caps.apply(change(None)) is None and caps.gate("eu-1") is None and caps.shown("eu-1") == {}
    assert caps.apply(change("down 16kbit")) == "eu-1"
    gate = caps.gate("eu-1")
    assert gate is not None and gate.look() and gate.rate == 2000
    assert caps.apply(change("down 16kbit")) is None
    assert caps.apply(change("down 32kbit")) == "eu-1"
    assert caps.gate("eu-1") is gate and gate.look() and gate.rate == 4000
    assert caps.shown("eu-1") == {"plan": "down 32kbit", "up": "unlimited", "down": "32kbit"}
    assert caps.apply(change(None)) == "eu-1"
    assert caps.gate("eu-1") is None and gate.look() and gate.rate is None, "who still has it finds it open"


async def test_a_node_that_is_gone_is_forgotten(world: World) -> None:
    caps = bandwidths(world)
    caps.apply(change("16kbit"))
    assert caps.apply(change(None, gone=True)) is None
    assert caps.gate("eu-1") is None


async def test_all_nodes_are_read_at_once_and_again(world: World) -> None:
    caps = bandwidths(world)
    nodes = [
        Stored(key=Key("nodes", "", name), uid="u", revision=Revision(1), body=body(text, name))
        for name, text in (("eu-1", "16kbit"), ("eu-2", None), ("eu-3", "1mbit"))
    ]
    assert caps.load(nodes) == ["eu-1", "eu-3"]
    kept = caps.gate("eu-1")
    assert caps.load(nodes[:2]) == []
    assert caps.gate("eu-1") is kept and caps.gate("eu-3") is None


async def test_of_a_plan_that_makes_no_sense_an_event_tells_and_the_one_before_stays(world: World) -> None:
    caps = bandwidths(world)
    caps.apply(change("down 16kbit"))
    assert caps.apply(change("sixteen")) is None
    gate = caps.gate("eu-1")
    assert gate is not None and gate.look() and gate.rate == 2000
    assert "is no rate" in str(caps.shown("eu-1")["invalid"])
    telling = asyncio.create_task(caps.run())
    await eventually(lambda: world.events("BandwidthInvalid"))
    telling.cancel()
    (event,) = world.events("BandwidthInvalid")
    assert "the plan before stays in force" in event["message"]
    assert caps.apply(change("down 32kbit")) == "eu-1"
    assert "invalid" not in caps.shown("eu-1")


async def test_one_replica_is_enough_to_tell_it(world: World) -> None:
    caps = Bandwidths(world.clock, world.tools.recorder("hub"), lambda name: world.get("nodes", name), lambda: False)
    caps.apply(change("sixteen"))
    telling = asyncio.create_task(caps.run())
    for _ in range(20):
        await asyncio.sleep(0)
    telling.cancel()
    assert world.events("BandwidthInvalid") == []


async def test_what_never_made_sense_limits_nothing(world: World) -> None:
    caps = bandwidths(world)
    assert caps.apply(change("sixteen")) is None
    gate = caps.gate("eu-1")
    assert gate is not None and not gate.look() and gate.rate is None
    assert set(caps.shown("eu-1")) == {"invalid"}
    assert caps.apply(change(None)) == "eu-1"


async def test_both_ends_of_a_session_follow_the_annotation() -> None:
    """Down it holds at the hub, up at the gateway, which is told by its Node like of everything else."""

    def annotated(obj: JsonObject, text: str) -> JsonObject:
        annotations: JsonObject = {BANDWIDTH: text} if text else {}
        return {**obj, "metadata": {**map_at(obj, "metadata"), "annotations": annotations}}

    async with a_fleet() as fleet:
        await fleet.create("nodes", "eu-1")
        async with fleet.gateway() as gateway:
            await eventually(lambda: gateway.link.connected)
            await fleet.update("nodes", "eu-1", lambda obj: annotated(obj, "up 16kbit down pause"))
            await eventually(lambda: gateway.link.bandwidth().get("up") == "16kbit")
            await fleet.create("configmaps", "settings", data={"a": "b"})
            await fleet.pod("p", "eu-1", "settings")
            shown = fleet.hub.traffic.bandwidth("eu-1")
            assert (shown["up"], shown["down"]) == ("16kbit", "pause")
            session = fleet.hub._slots["eu-1"].session
            assert session is not None
            await eventually(
                lambda: session._machine.waiting and session._driver._gate_s is not None,
                "the pod and what it needs to wait at the gate",
            )
            assert not gateway.holds("configmaps", "settings"), "paused"
            await fleet.update("nodes", "eu-1", lambda obj: annotated(obj, ""))
            await eventually(lambda: gateway.holds("configmaps", "settings"))
            await eventually(lambda: gateway.link.bandwidth() == {})
