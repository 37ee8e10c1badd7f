"""Budgets of links: warned of when they are passed, once a day, and looked at no oftener than that takes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.budgets import AGAIN_MS, Budgets, BudgetSources
from cloudcore.store.port import Change
from skerry.errors import UnavailableError
from skerry.objects.json import Json, encode_object
from skerry.objects.meta import Key, Revision
from skerry.objects.traffic import BUDGET, DAY_MS, HOUR_MS
from tests.cloudcore.worlds import World, make_world


class Book:
    """What a node used, and since when it was asked."""

    def __init__(self) -> None:
        self.used = 0
        self.asked: list[int] = []
        self.mine = True
        self.broken = False

    async def since(self, node: str, since_ms: int) -> int:
        self.asked.append(since_ms)
        if self.broken:
            raise UnavailableError("no disk")
        return self.used


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": "default"}})
        await made.create("nodes", {"metadata": {"name": "eu-1"}})
        yield made


def budgets(world: World, book: Book, *, shared: bool = False) -> Budgets:
    sources = BudgetSources(
        node_of=lambda name: world.get("nodes", name),
        used=book.since,
        mine=lambda _node: book.mine,
        shared=shared,
    )
    return Budgets(world.clock, world.tools.recorder("hub"), sources)


def change(text: str | None, *, gone: bool = False) -> Change:
    annotations: dict[str, Json] = {} if text is None else {BUDGET: text}
    body = encode_object({"metadata": {"name": "eu-1", "annotations": annotations}})
    return Change(
        revision=Revision(2), key=Key("nodes", "", "eu-1"), uid="u", after=None if gone else body, before=None
    )


async def test_a_new_budget_is_looked_at_at_once_and_then_when_what_is_left_is_spent(world: World) -> None:
    book = Book()
    watched = budgets(world, book)
    watched.apply(change("daily=1kB"))
    book.used = 900
    await watched.look()
    await watched.look()
    assert len(book.asked) == 1 and world.events("TrafficOverBudget") == []
    watched.spend("eu-1", 100)
    await watched.look()
    assert len(book.asked) == 1, "1,000 bytes are within 1 kB"
    watched.spend("eu-1", 1)
    book.used = 1001
    await watched.look()
    (event,) = world.events("TrafficOverBudget")
    assert event["message"].startswith("1.0 kB since ") and event["message"].endswith("the daily budget of 1.0 kB")


async def test_what_is_passed_is_said_once_a_day_and_a_changed_budget_anew(world: World) -> None:
    book = Book()
    book.used = 5000
    watched = budgets(world, book)
    watched.apply(change("daily=1kB"))
    for _ in range(3):
        await watched.look()
        world.clock.advance(AGAIN_MS / 1000)
    (event,) = world.events("TrafficOverBudget")
    assert event["count"] == 1
    world.clock.advance(DAY_MS / 1000)
    await watched.look()
    assert len(world.events("TrafficOverBudget")) == 2
    watched.apply(change("daily=2kB"))
    await watched.look()
    assert len(world.events("TrafficOverBudget")) == 3


async def test_a_passed_month_does_not_hide_the_day(world: World) -> None:
    book = Book()
    book.used = 5000
    watched = budgets(world, book)
    watched.apply(change("daily=6kB,monthly=4kB"))
    await watched.look()
    assert len(world.events("TrafficOverBudget")) == 1
    watched.spend("eu-1", 1001)
    book.used = 6001
    await watched.look()
    assert {event["message"].split("over the ")[1] for event in world.events("TrafficOverBudget")} == {
        "monthly budget of 4.0 kB",
        "daily budget of 6.0 kB",
    }


async def test_windows_are_whole_hours_of_a_day_and_whole_days_of_a_month(world: World) -> None:
    book = Book()
    watched = budgets(world, book)
    watched.apply(change("daily=1kB,monthly=1kB"))
    await watched.look()
    day_ms, month_ms = book.asked
    now_ms = world.clock.wall_ms()
    assert day_ms % HOUR_MS == 0 and DAY_MS - HOUR_MS < now_ms - day_ms <= DAY_MS
    assert month_ms % DAY_MS == 0 and 29 * DAY_MS < now_ms - month_ms <= 30 * DAY_MS


async def test_a_budget_that_makes_no_sense_is_said_once(world: World) -> None:
    book = Book()
    watched = budgets(world, book)
    watched.apply(change("weekly=1kB"))
    for _ in range(2):
        await watched.look()
        watched.spend("eu-1", 10)
    (event,) = world.events("TrafficBudgetInvalid")
    assert "part 1 ('weekly=1kB'): write daily=SIZE" in event["message"] and event["count"] == 1
    assert book.asked == []


async def test_a_budget_comes_changes_and_goes(world: World) -> None:
    watched = budgets(world, Book())
    watched.apply(change(None))
    assert not watched.has("eu-1")
    watched.apply(change("daily=1kB"))
    assert watched.has("eu-1")
    watched.apply(change(""))
    assert not watched.has("eu-1")
    watched.apply(change("daily=1kB"))
    watched.apply(change(None, gone=True))
    assert not watched.has("eu-1")
    watched.apply(change("daily=1kB"))
    watched.load(())
    assert not watched.has("eu-1")


async def test_of_several_hubs_one_speaks_and_asks_again_what_the_others_counted(world: World) -> None:
    book = Book()
    book.mine = False
    watched = budgets(world, book, shared=True)
    watched.apply(change("daily=1kB"))
    await watched.look()
    assert book.asked == []
    book.mine = True
    await watched.look()
    await watched.look()
    assert len(book.asked) == 1
    world.clock.advance(AGAIN_MS / 1000)
    await watched.look()
    assert len(book.asked) == 2


async def test_a_store_that_is_away_is_asked_again(world: World) -> None:
    book = Book()
    book.used, book.broken = 5000, True
    watched = budgets(world, book)
    watched.apply(change("daily=1kB"))
    await watched.look()
    assert world.events("TrafficOverBudget") == []
    book.broken = False
    await watched.look()
    assert len(world.events("TrafficOverBudget")) == 1
