"""The caps of a gateway: its own, its Node's, over restarts, and what becomes of a plan that nobody understands."""

from __future__ import annotations

import asyncio

import pytest

from edgecore.link.bandwidth import META_BANDWIDTH, Caps, own_plan
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.errors import InvalidError
from skerry.objects.bandwidth import BANDWIDTH
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.transport.gate import Gate


def put(store: AsyncEdgeStore, text: str | None, name: str = "eu-1") -> EdgeBatch:
    """The Node comes as the cloud has it."""
    annotations: JsonObject = {} if text is None else {BANDWIDTH: text}
    body = encode_object({"metadata": {"name": name, "annotations": annotations}})
    batch = EdgeBatch(puts=(Held(key=Key("nodes", "", name), stamp=Stamp("u", Revision(1)), body=body),))
    asyncio.run(store.apply(batch))
    return batch


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> AsyncEdgeStore:
    return AsyncEdgeStore(MemoryEdgeStore(incarnation="one", clock=clock))


def caps(store: AsyncEdgeStore, clock: ManualClock, own: str = "") -> tuple[Caps, Gate]:
    gate = Gate("up", clock)
    made = Caps("eu-1", own_plan(own), store, gate)
    gate.look()
    return made, gate


def test_the_lower_of_the_setting_and_the_annotation_is_in_force(store: AsyncEdgeStore, clock: ManualClock) -> None:
    made, gate = caps(store, clock, "up 64kbit")
    assert gate.rate == 8000 and not made.peer_is_capped
    batch = put(store, "up 16kbit down 1mbit")
    assert made.touches(batch) and made.reread()
    gate.look()
    assert gate.rate == 2000 and made.peer_is_capped
    assert made.shown() == {"plan": "up 64kbit and up 16kbit down 1mbit", "up": "16kbit", "down": "1mbit"}
    put(store, None)
    assert made.reread() and not made.reread()
    gate.look()
    assert gate.rate == 8000


def test_other_objects_say_nothing_of_this_node(store: AsyncEdgeStore, clock: ManualClock) -> None:
    made, _ = caps(store, clock)
    assert not made.touches(put(store, "16kbit", "eu-2"))
    assert not made.reread()


def test_what_makes_no_sense_changes_nothing_and_is_said_once(
    store: AsyncEdgeStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "16kbit")
    made, gate = caps(store, clock)
    put(store, "sixteen")
    assert not made.reread() and not made.reread()
    assert gate.rate == 2000
    assert sum("not understood" in record.message for record in caplog.records) == 1


async def test_the_last_plan_that_was_understood_outlives_a_restart(clock: ManualClock) -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="one", clock=clock))
    made, _ = caps(store, clock)
    keeping = asyncio.create_task(made.run())
    for text in ("16kbit", "sixteen"):
        body = encode_object({"metadata": {"name": "eu-1", "annotations": {BANDWIDTH: text}}})
        held = Held(key=Key("nodes", "", "eu-1"), stamp=Stamp("u", Revision(1)), body=body)
        await store.apply(EdgeBatch(puts=(held,)))
        made.reread()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while store.meta(META_BANDWIDTH) != "16kbit":
            await asyncio.sleep(0)
    keeping.cancel()
    _, gate = caps(store, clock)
    assert gate.rate == 2000


def test_a_zone_that_is_not_known_here_is_as_strict_as_the_plan_can_be(
    store: AsyncEdgeStore, clock: ManualClock
) -> None:
    put(store, "zone Mars/Olympus; 06:00-07:00 16kbit; else unlimited")
    _, gate = caps(store, clock)
    assert gate.rate == 2000


def test_a_gateway_can_not_limit_what_comes_down() -> None:
    with pytest.raises(InvalidError, match="--bandwidth: a gateway can't limit what comes down; write up RATE"):
        own_plan("64kbit")
    with pytest.raises(InvalidError, match="--bandwidth, part 1"):
        own_plan("64")
    assert own_plan("") is None
