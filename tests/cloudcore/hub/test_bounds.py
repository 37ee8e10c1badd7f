"""How much a node may tell, and what of its refusals is said."""

from __future__ import annotations

import logging

import pytest

from cloudcore.hub.bounds import Bounds, BoundSettings
from skerry.clocks import ManualClock
from skerry.objects.meta import Key

SETTINGS = BoundSettings(events_burst=3, events_per_s=0.5, events_max=10, departed_max=2)


def bounds(clock: ManualClock, kept: int = 0) -> Bounds:
    return Bounds(
        clock=clock, events_of=lambda _node: kept, messages_of=lambda _node: (kept, 10 * kept), settings=SETTINGS
    )


def test_a_node_has_a_burst_and_after_that_a_pace() -> None:
    clock = ManualClock()
    bound = bounds(clock)
    assert [bound.allows_event("a", new=True) for _ in range(5)] == [True, True, True, False, False]
    assert bound.allows_event("b", new=True), "another node's is its own"
    clock.advance(2)
    assert [bound.allows_event("a", new=True) for _ in range(2)] == [True, False]
    clock.advance(3600)
    assert [bound.allows_event("a", new=True) for _ in range(4)] == [True, True, True, False], "no more is saved up"
    assert bound.refusals == {"event-pace": 4}


def test_where_the_room_is_full_what_is_there_may_still_change() -> None:
    clock = ManualClock()
    full, nearly = bounds(clock, kept=10), bounds(clock, kept=9)
    assert nearly.allows_event("a", new=True)
    assert not full.allows_event("a", new=True)
    assert full.allows_event("a", new=False)
    assert full.refusals == {"event-room": 1}


def test_refusals_are_told_at_once_and_then_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    bound = bounds(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            bound.refuse("a", "event-subject")
        bound.refuse("a", "event-pace")
        bound.refuse("b", "event-subject")
        clock.advance(3600)
        bound.refuse("a", "event-subject")
    assert [record.getMessage().removeprefix("reports refused ") for record in caplog.records] == [
        "node=a why=event-subject count=1",
        "node=a why=event-pace count=1",
        "node=b why=event-subject count=1",
        "node=a why=event-subject count=5",
    ]
    assert bound.refusals == {"event-subject": 7, "event-pace": 1}


def test_the_last_pods_that_left_are_remembered_with_their_node_and_name() -> None:
    bound = bounds(ManualClock())
    first, second, third = (Key("pods", "ns", name) for name in ("one", "two", "three"))
    bound.left("a", "u1", first)
    bound.left("b", "u2", second)
    assert bound.was_on("a", "u1", first)
    assert not bound.was_on("b", "u1", first), "another's"
    assert not bound.was_on("a", "u1", second), "another name"
    bound.left("a", "u1", first)
    bound.left("a", "u3", third)
    assert bound.was_on("a", "u1", first)
    assert not bound.was_on("b", "u2", second), "the one that left first is forgotten"
