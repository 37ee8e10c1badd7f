"""A member that comes and goes is waited for longer, and one that is gone is not."""

from __future__ import annotations

from random import Random

from cloudcore.hub.flapping import CALM_S, GRACE_S, GRACE_S_MAX, Flapping


def test_two_outages_are_noticed_as_soon_as_one_and_more_in_a_row_later_up_to_a_minute() -> None:
    flapping, graces = Flapping(), list[float]()
    for number in range(7):
        graces.append(flapping.grace_s("a", number * 60.0))
        flapping.silent("a", number * 60.0)
    assert graces == [15, 15, 30, 60, 60, 60, 60]
    assert flapping.grace_s("b", 360.0) == GRACE_S, "its neighbours are none of it"
    assert flapping.grace_s("a", 360 + CALM_S) == GRACE_S


def test_what_a_flapping_member_costs_has_a_bound_and_nothing_is_kept_of_who_is_calm() -> None:
    chance = Random(1)
    flapping, said = Flapping(), 0
    for number in range(1000):
        flapping.silent(f"m{number}", 0.0)
    now_s = CALM_S
    while now_s < 86_400:
        off_s = chance.uniform(1, 300)
        if off_s >= flapping.grace_s("a", now_s):
            flapping.silent("a", now_s + off_s)
            said += 1
        now_s += off_s + chance.uniform(1, 300)
    assert said < 86_400 / GRACE_S_MAX / 2
    assert list(flapping._times) == ["a"]
