"""Hours of bad nets in simulation: nobody goes down who works, who is gone is found in time, and what flaps is held
down. Whole days are run by `python -m tests.sim.flaps`."""

from __future__ import annotations

import pytest

from skerry.probing.monitor import State
from tests.sim.flaps import PROBE, Day, Seen, Truth, Weather, flapping

HOUR_S = 3600.0
FOUND_S_MAX = PROBE.interval_s * PROBE.down_threshold + 1


def dead(number: int, from_s: float) -> Truth:
    return lambda target, now_s: target != number or now_s < from_s


def first_down(seen: Seen, observer: int, target: int) -> float:
    return next(at_s for at_s, state in seen.transitions[observer, target] if state == "down")


@pytest.mark.parametrize("seed", range(2))
def test_thirty_percent_of_packets_are_lost_and_nobody_goes_down(seed: int) -> None:
    assert Day(seed, 4, 4, Weather(loss=0.3, slow=0.1, gateways=3)).run(HOUR_S / 2).flaps() == 0


@pytest.mark.parametrize("seed", range(2))
def test_half_of_the_observers_are_cut_off_and_come_to_no_wrong_verdict(seed: int) -> None:
    weather = Weather(loss=0.3, cut=lambda number, now_s: number >= 2 and now_s >= 60, up=dead(0, 300.0))
    seen = Day(seed, 4, 4, weather).run(1200)
    assert all(target == 0 for _, target in seen.transitions), "of those that work"
    for number in (0, 1):
        assert [state for _, state in seen.transitions[number, 0]] == ["down"]
        assert first_down(seen, number, 0) <= 300 + FOUND_S_MAX


@pytest.mark.parametrize("lie", ["up", "down"])
def test_one_that_lies_is_outvoted_and_holds_nothing_up(lie: State) -> None:
    seen = Day(6, 4, 4, Weather(loss=0.1, up=dead(0, 300.0), lies={3: lie})).run(900)
    for number in (0, 1, 2):
        assert first_down(seen, number, 0) <= 300 + FOUND_S_MAX + PROBE.timeout_s
        assert all(target == 0 for who, target in seen.transitions if who == number)


def test_clocks_that_jump_and_observers_that_start_anew_change_no_verdict() -> None:
    weather = Weather(
        loss=0.3,
        slow=0.2,
        clock_ms=lambda number, now_s: int(now_s * 1000) + int(now_s // 600 % 2) * number * 3_600_000,
        restarts=lambda number, now_s: int(now_s) % 120 == number * 30,
        up=dead(1, 1200.0),
    )
    seen = Day(7, 4, 4, weather).run(HOUR_S / 2)
    assert {target for _, target in seen.transitions} == {1}
    for number in range(4):
        assert [state for _, state in seen.transitions[number, 1]] == ["down"]
        assert 1200 < first_down(seen, number, 1) <= 1200 + FOUND_S_MAX + PROBE.interval_s


def test_all_say_it_within_a_second_of_the_first() -> None:
    seen = Day(1, 4, 4, Weather(up=dead(0, 60.0))).run(120)
    told = [first_down(seen, number, 0) for number in range(4)]
    assert max(told) - 60 <= FOUND_S_MAX and max(told) - min(told) <= 1


def test_what_flaps_each_minute_is_held_down_and_is_back_once_it_holds() -> None:
    """Undamped, it would be another answer twice a minute."""
    steady_s = HOUR_S / 2
    seen = Day(3, 4, 4, Weather(up=lambda target, now_s: now_s >= steady_s or flapping(60, 30)(target, now_s))).run(
        steady_s + 1200
    )
    for number in range(4):
        told = seen.transitions[number, 0]
        assert len([at_s for at_s, _ in told if at_s < steady_s]) <= 9
        assert told[-1][1] == "up" and told[-1][0] <= steady_s + 660, "it is forgiven within minutes"
    assert {target for _, target in seen.transitions} == {0}


def test_a_failure_now_and_then_costs_nothing_beside_it() -> None:
    weather = Weather(up=lambda target, now_s: target != 0 or not 600 <= now_s % 2400 < 660)
    seen = Day(4, 4, 4, weather).run(3300)
    told = seen.transitions[0, 0]
    assert [state for _, state in told] == ["down", "up", "down", "up"]
    assert told[1][0] <= 660 + 3 * PROBE.interval_s and told[3][0] <= 2400 + 660 + 3 * PROBE.interval_s


def test_votes_of_gateways_that_are_of_before_hold_nothing_up_when_the_cloud_dies_as_well() -> None:
    weather = Weather(gateways=9, up=dead(0, 600.0), cloud_ends_s=600.0)
    seen = Day(5, 3, 4, weather).run(900)
    assert max(first_down(seen, number, 0) for number in range(3)) <= 600 + FOUND_S_MAX
    weather.stale_s = 120.0
    late = Day(5, 3, 4, weather).run(900)
    assert first_down(late, 0, 0) >= 720, "what it would be if they counted for two minutes"
