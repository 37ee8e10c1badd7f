"""The hub's book of bytes: written when the hour is over or much waits, kept over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.traffic import (
    PROMPT_BYTES,
    SOON_BYTES,
    SOON_MS,
    Account,
    TrafficLedger,
    TrafficSources,
    is_due,
    series_of_node,
)
from cloudcore.store.failing import FailingStore, Fault
from cloudcore.store.port import Batch, Record
from skerry.errors import UnavailableError
from skerry.objects.json import decode_object, encode_object
from skerry.objects.traffic import BUDGET, HOUR_MS, Usage, whole_since
from tests.cloudcore.hub.fleet import a_fleet, eventually
from tests.cloudcore.worlds import World, make_world


class Session:
    node = "eu-1"

    def __init__(self) -> None:
        self.waiting = Usage()

    @property
    def counted(self) -> int:
        return sum(self.waiting.up.values()) + sum(self.waiting.down.values())

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


@pytest.mark.parametrize(
    ("size", "age_ms", "written", "due"),
    [
        (0, 2 * HOUR_MS, 0, False),
        (1, 0, 0, False),
        (1, HOUR_MS, 0, True),
        (PROMPT_BYTES - 1, 0, 0, False),
        (PROMPT_BYTES, 0, 0, True),
        (PROMPT_BYTES, 0, 9 * PROMPT_BYTES, False),
        (2 * PROMPT_BYTES, 0, 9 * PROMPT_BYTES, True),
        (SOON_BYTES, SOON_MS - 1, 0, False),
        (SOON_BYTES, SOON_MS, 0, True),
        (SOON_BYTES - 1, SOON_MS, 0, False),
    ],
)
def test_much_is_written_at_once_some_after_minutes_and_little_with_the_hour(
    size: int, age_ms: int, written: int, due: bool
) -> None:
    begin_ms = 500_000 * HOUR_MS
    assert is_due(Account(since_ms=begin_ms, written=written), size, begin_ms + age_ms) is due


async def test_a_busy_session_is_written_at_the_next_look_and_a_quiet_one_with_the_hour(world: World) -> None:
    busy, quiet = Session(), Session()
    quiet.node = "us-1"
    book = ledger(world, busy, quiet)
    await book.look()
    busy.waiting = Usage(down={"objects": 3 * PROMPT_BYTES}, wire_down=3 * PROMPT_BYTES)
    quiet.waiting = Usage(up={"session": 4}, wire_up=60)
    await book.look()
    (record,) = await world.store.records(series_of_node("eu-1"))
    assert decode_object(record.body)["wireDown"] == 3 * PROMPT_BYTES
    assert await world.store.records(series_of_node("us-1")) == []
    world.clock.advance(3600)
    await book.look()
    assert len(await world.store.records(series_of_node("us-1"))) == 1
    assert len(await world.store.records(series_of_node("eu-1"))) == 1


async def test_an_hour_s_bytes_count_for_that_hour_though_they_are_written_in_the_next(world: World) -> None:
    session = Session()
    book = ledger(world, session)
    begin_ms = whole_since(world.clock.wall_ms(), world.clock.wall_ms())
    world.clock.advance((begin_ms + HOUR_MS - world.clock.wall_ms()) / 1000)  # on the hour
    await book.look()
    session.waiting = Usage(up={"session": 4}, wire_up=60)
    world.clock.advance(3605)
    await book.look()
    shown = await book.book("eu-1", begin_ms)
    assert shown.begin_ms == begin_ms + HOUR_MS and shown.since(begin_ms + 2 * HOUR_MS) == Usage()


async def test_a_record_of_an_earlier_version_is_of_the_hour_before_it(world: World) -> None:
    hour_ms = whole_since(world.clock.wall_ms(), world.clock.wall_ms())
    body = encode_object(Usage(wire_up=9).shown())
    record = Record(series=series_of_node("eu-1"), at_ms=hour_ms + HOUR_MS // 4, body=body)
    await world.store.commit(Batch(records=(record,)))
    assert (await ledger(world).book("eu-1", hour_ms)).begin_ms == hour_ms - HOUR_MS


async def test_what_was_ever_counted_is_known(world: World) -> None:
    book = ledger(world)
    assert not await book.known("eu-1")
    book.note("eu-1", Usage(wire_up=1))
    assert await book.known("eu-1")
    await book.write()
    assert await ledger(world).known("eu-1")


async def test_a_budget_that_is_passed_by_a_session_s_bytes_is_said_at_the_next_look(world: World) -> None:
    session = Session()
    book = ledger(world, session)
    book.budgets.load(world.cache.select("nodes"))
    session.waiting = Usage(wire_up=900)
    await book.look()
    assert world.events("TrafficOverBudget") == []
    session.waiting = Usage(wire_down=200)
    await book.look()
    (event,) = world.events("TrafficOverBudget")
    assert event["message"].startswith("1.1 kB since ") and "over the daily budget of 1.0 kB" in event["message"]
    assert await world.store.records(series_of_node("eu-1")) == []


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
    await book.look()
    assert len(await world.store.records(series_of_node("eu-1"))) == 1
    assert await world.store.records(series_of_node("us-1")) == []
    since_ms = world.clock.wall_ms() - 2 * HOUR_MS
    assert (await book.book("eu-1", since_ms)).since(since_ms).wire_up == 37
    assert (book.waiting("eu-1"), book.waiting("us-1")) == (Usage(), Usage(wire_up=1))
