"""Whose turn it is at the door: fair between addresses, bounded in number and in time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from skerry.transport.knocks import KnockLimits, Knocks

LIMITS = KnockLimits(waiting_max=8, handshakes_max=3, of_address_max=2, silent_s_max=20, crowded_s=2)


def spoken(knocks: Knocks, *addresses: str, first: int = 1) -> None:
    for number, address in enumerate(addresses, start=first):
        knocks.arrived(number, address, 0.0)
        knocks.spoke(number)


def test_addresses_have_their_turn_one_after_the_other() -> None:
    knocks = Knocks(KnockLimits(handshakes_max=100, of_address_max=100))
    spoken(knocks, *["nat"] * 50, "single")
    assert [knocks.next(0.0) for _ in range(4)] == [1, 51, 2, 3]


def test_an_address_has_only_so_many_handshakes_and_others_go_past_it() -> None:
    knocks = Knocks(LIMITS)
    spoken(knocks, "nat", "nat", "nat", "single")
    assert [knocks.next(0.0) for _ in range(4)] == [1, 4, 2, None]
    knocks.ended(4)
    assert knocks.next(0.0) is None, "two of the same address are under way"
    knocks.ended(1)
    assert knocks.next(0.0) == 3
    assert (knocks.waiting, knocks.shaking) == (0, 2)


def test_who_says_nothing_is_sent_away_and_sooner_where_places_are_short() -> None:
    knocks = Knocks(LIMITS)
    for number in range(1, 8):
        knocks.arrived(number, "a", float(number))
    assert knocks.expired(20.9) == []
    assert knocks.expired(21.0) == [1]
    knocks.arrived(8, "a", 21.0)
    knocks.arrived(9, "a", 21.5)
    assert knocks.full
    assert knocks.expired(22.0) == [2, 3, 4, 5, 6, 7]
    assert not knocks.full


def test_one_that_left_before_it_spoke_is_forgotten() -> None:
    knocks = Knocks(LIMITS)
    knocks.arrived(1, "a", 0.0)
    knocks.gone(1)
    assert (knocks.waiting, knocks.next(0.0)) == (0, None)


def test_handshakes_without_end_make_way_for_who_waits() -> None:
    knocks = Knocks(LIMITS)
    spoken(knocks, "a", "b", "c")
    assert [knocks.next(float(at)) for at in range(3)] == [1, 2, 3]
    late_s = LIMITS.handshake_s_max
    assert knocks.overdue(100.0) == [], "nobody wants their places"
    spoken(knocks, "d", first=4)
    assert knocks.next(3.0) is None
    assert knocks.overdue(late_s - 0.1) == []
    assert knocks.overdue(100.0) == [1], "one place is wanted"
    spoken(knocks, "e", "f", first=5)
    assert knocks.overdue(late_s + 1) == [1, 2]
    knocks.ended(1)
    assert knocks.overdue(100.0) == [], "there is a place"
    assert knocks.next(100.0) == 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=80))
def test_limits_hold_and_everybody_has_a_turn(arrivals: list[tuple[str, bool]]) -> None:
    knocks = Knocks(LIMITS)
    address_of: dict[int, str] = {}
    shaking: list[int] = []
    served: list[int] = []
    for number, (address, ends) in enumerate(arrivals):
        if not knocks.full:
            knocks.arrived(number, address, 0.0)
            knocks.spoke(number)
            address_of[number] = address
        if (begun := knocks.next(0.0)) is not None:
            shaking.append(begun)
        assert knocks.shaking == len(shaking) <= LIMITS.handshakes_max
        assert max(Counter(address_of[one] for one in shaking).values(), default=0) <= LIMITS.of_address_max
        if ends and shaking:
            served.append(shaking.pop(0))
            knocks.ended(served[-1])
    while shaking or knocks.waiting:
        while (begun := knocks.next(0.0)) is not None:
            shaking.append(begun)
        served.append(shaking.pop(0))
        knocks.ended(served[-1])
    assert sorted(served) == sorted(address_of)
    for address in "abc":
        own = [number for number in served if address_of[number] == address]
        assert own == sorted(own), "within an address, who came first goes first"
