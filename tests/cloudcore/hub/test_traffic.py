"""The hub's book of bytes: one record a node an hour, over restarts, and a warning beyond a budget."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.traffic import TrafficLedger, TrafficSources, series_of_node
from cloudcore.store.failing import FailingStore, Fault
from skerry.errors import UnavailableError
from skerry.objects.traffic import BUDGET, HOUR_MS, Usage
from tests.cloudcore.hub.fleet import a_fleet, eventually
from tests.cloudcore.worlds import World, make_world


class Session:
    node = "eu-1"

    def __init__(self) -> None:
        self.waiting = Usage()

    def take_usage(self) -> Usage:
        taken, self.waiting = self.waiting, Usage()
        return taken


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": "default"}})
        await made.create("nodes", {"metadata": {"name": "eu-1", "annotations": {BUDGET: "daily=1kB"}}})
        yield made


def ledger(world: World, *sessions: Session) -> TrafficLedger:
    sources = TrafficSources(sessions=lambda: sessions, node_of=lambda name: world.get("nodes", name))
    return TrafficLedger(world.store, world.clock, world.tools.recorder("hub"), sources)


async def test_what_a_session_counted_is_one_record_and_read_with_what_waits(world: World) -> None:
    session = Session()
    book = ledger(world, session)
    session.waiting = Usage(up={"live": 3}, wire_up=30)
    book.note("eu-1", Usage(up={"live": 1}, wire_up=10))
    await book.write()
    await book.write()
    assert len(await world.store.records(series_of_node("eu-1"))) == 1
    session.waiting = Usage(wire_up=2)
    since_ms = world.clock.wall_ms() - 2 * HOUR_MS
    assert (await book.book("eu-1", since_ms)).since(since_ms).wire_up == 42
    again = ledger(world)  # the hub after a restart: what waited is gone, what was written is not
    assert (await again.book("eu-1", since_ms)).since(since_ms).wire_up == 40


async def test_a_node_beyond_its_budget_is_warned_of_once_a_day(world: World) -> None:
    book = ledger(world)
    book.note("eu-1", Usage(wire_up=900))
    await book.write()
    assert world.events("TrafficOverBudget") == []
    for _ in range(2):
        book.note("eu-1", Usage(wire_down=200))
        await book.write()
    (event,) = world.events("TrafficOverBudget")
    assert "over the daily budget of 1.0 kB" in event["message"] and event["count"] == 1


async def test_a_budget_that_makes_no_sense_is_said(world: World) -> None:
    await world.update(
        "nodes", "eu-1", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": {BUDGET: "x"}}}
    )
    book = ledger(world)
    book.note("eu-1", Usage(wire_up=1))
    await book.write()
    (event,) = world.events("TrafficBudgetInvalid")
    assert "write daily=SIZE" in event["message"]


async def test_what_can_not_be_written_waits(world: World) -> None:
    failing = FailingStore(
        world.store,
        lambda what, number: Fault(error=UnavailableError("no disk")) if (what, number) == ("commit", 1) else None,
    )
    sources = TrafficSources(sessions=list, node_of=lambda _name: None)
    book = TrafficLedger(failing, world.clock, world.tools.recorder("hub"), sources)
    book.note("eu-1", Usage(wire_up=5))
    await book.write()
    assert await world.store.records(series_of_node("eu-1")) == []
    await book.write()
    assert len(await world.store.records(series_of_node("eu-1"))) == 1


async def test_a_real_session_is_counted_on_both_ends() -> None:
    async with a_fleet() as fleet, fleet.gateway() as gateway:
        await gateway.tell_node()
        await eventually(lambda: fleet.now("nodes", "eu-1"))
        there = (await fleet.hub.traffic.book("eu-1", 0)).since(0)
        assert there.up["prompt"] > 0 and there.down["session"] > 0 and there.wire > 0
        shown = gateway.link.traffic()
        assert shown["hours"] and shown["days"]


async def test_what_was_counted_of_a_node_that_left_is_written_and_of_one_elsewhere_is_asked_for(
    world: World,
) -> None:
    async def elsewhere(node: str) -> Usage:
        return Usage(wire_up=7) if node == "eu-1" else Usage()

    stays = Session()
    stays.node = "us-1"
    sources = TrafficSources(sessions=lambda: [stays], node_of=lambda _name: None, elsewhere=elsewhere)
    book = TrafficLedger(world.store, world.clock, world.tools.recorder("hub"), sources)
    book.note("eu-1", Usage(wire_up=30))
    book.note("us-1", Usage(wire_up=1))
    await book.write_departed()
    assert len(await world.store.records(series_of_node("eu-1"))) == 1
    assert await world.store.records(series_of_node("us-1")) == []
    since_ms = world.clock.wall_ms() - 2 * HOUR_MS
    assert (await book.book("eu-1", since_ms)).since(since_ms).wire_up == 37
    assert (book.waiting("eu-1"), book.waiting("us-1")) == (Usage(), Usage(wire_up=1))
