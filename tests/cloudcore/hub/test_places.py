"""Places in the hub: bounded, given back, and appointments at the speed at which they become free."""

from __future__ import annotations

import heapq

import pytest

from cloudcore.hub.places import Places, PlaceSettings


def test_a_place_is_free_again_when_its_holder_is_in_step_or_gone() -> None:
    places = Places(PlaceSettings(places=2))
    assert places.take("a", 0) and places.take("b", 0)
    assert not places.take("c", 1)
    places.settled("a", 2)
    assert places.take("c", 2) and not places.take("d", 2)
    places.leave("b")
    places.leave("b")
    places.settled("b", 2)
    assert len(places) == 1
    assert places.take("d", 3)


def test_a_slow_gateway_keeps_its_place_from_nobody_for_ever() -> None:
    places = Places(PlaceSettings(places=1, stay_s_max=60))
    assert places.take("slow", 0)
    assert not places.take("next", 59)
    assert places.take("next", 60)
    places.settled("slow", 61)
    assert len(places) == 1


def test_appointments_follow_each_other_and_begin_anew_after_a_pause() -> None:
    places = Places(PlaceSettings(places=10, stay_s=5, retry_s_min=1))
    assert [places.appointment(100, 0.5) for _ in range(3)] == pytest.approx([1.0, 1.5, 2.0])
    assert places.appointment(101, 0.5) == pytest.approx(1.5)
    assert places.appointment(1000, 0.5) == pytest.approx(1.0)


def test_appointments_are_as_far_apart_as_places_are_held_long() -> None:
    places = Places(PlaceSettings(places=10, stay_s=5, apart_s_min=0.01))
    for number in range(1000):
        places.take(number, float(number))
        places.settled(number, number + 20.0)
    first, second = places.appointment(5000, 0), places.appointment(5000, 0)
    assert second - first == pytest.approx(2.0, rel=0.01)


def test_they_are_never_closer_than_a_handshake_takes() -> None:
    places = Places(PlaceSettings(places=1000, stay_s=0.001, apart_s_min=0.003))
    first, second = places.appointment(0, 0), places.appointment(0, 0)
    assert second - first == pytest.approx(0.003)


def test_nobody_is_sent_away_for_longer_than_the_longest_and_those_are_spread() -> None:
    places = Places(PlaceSettings(places=1, stay_s=60, retry_s_max=300))
    waits = [places.appointment(0, number / 100) for number in range(100)]
    assert max(waits) <= 300
    assert len({round(wait, 3) for wait in waits[10:]}) > 80
    assert min(waits[10:]) >= 150


@pytest.mark.parametrize("work_s", [0.002, 0.02])
def test_a_herd_neither_hammers_nor_leaves_the_hub_idle(work_s: float) -> None:
    """One core serves whoever has a place, in turn; ten thousand come at once, and come back when they were told."""
    places = Places(PlaceSettings())
    line: list[tuple[float, int]] = [(number * 0.001, number) for number in range(10_000)]
    heapq.heapify(line)
    leaving: list[tuple[float, int]] = []
    free_s = work_left_s = 0.0
    refused = settled = 0
    while line or leaving:
        if leaving and (not line or leaving[0][0] <= line[0][0]):
            at_s, who = heapq.heappop(leaving)
            places.settled(who, at_s)
            settled += 1
            continue
        now_s, who = heapq.heappop(line)
        if places.take(who, now_s):
            free_s = max(free_s, now_s) + work_s
            heapq.heappush(leaving, (free_s, who))
            work_left_s = free_s
        else:
            refused += 1
            heapq.heappush(line, (now_s + places.appointment(now_s, who / 10_000), who))
    assert settled == 10_000
    assert work_left_s < 1.2 * 10_000 * work_s + 10
    assert refused < 3 * 10_000
