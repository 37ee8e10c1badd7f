"""Replicas over members: KubeFed's own vectors where they are right, and what has to hold of every division."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.federation.replicas import Division, Member, Share, divide, share_of, tie_of
from skerry.errors import InvalidError
from skerry.frozen import replace

LARGEST = 2**63 - 1
"""That the API takes."""
weights = st.sampled_from([0, 1, 1, 2, LARGEST - 1, LARGEST]) | st.integers(0, 50)
"""Often equal, and often none."""
shares = st.builds(Share, weight=weights, least=st.integers(0, 5), most=st.none() | st.integers(5, 40))
capacities = st.none() | st.integers(-3, 40) | st.just(LARGEST)
names_of_members = st.sampled_from("abcdefghij") | st.text(min_size=1, max_size=3)
"""In whatever order Unicode has them, and however hashes fall."""


@st.composite
def fleets(draw: st.DrawFn) -> list[Member]:
    names = draw(st.lists(names_of_members, min_size=1, max_size=8, unique=True))
    return [
        Member(name=name, share=draw(shares), current=draw(st.integers(0, 30)), capacity=draw(capacities))
        for name in names
    ]


totals = st.integers(0, 20) | st.integers(0, 150)


def planned(total: int, members: list[Member], *, rebalance: bool = True, key: str = "ns/app") -> Division:
    return divide(total, members, key=key, rebalance=rebalance)


def member(name: str, weight: int = 1, least: int = 0, most: int | None = None, **more: int) -> Member:
    return Member(name=name, share=Share(weight=weight, least=least, most=most), **more)


# --- KubeFed's vectors ---


def test_equal_weights_have_equal_parts() -> None:
    found = planned(9, [member(name) for name in "ABC"])
    assert found.replicas == {"A": 3, "B": 3, "C": 3}
    assert sorted(planned(50, [member("A"), member("B"), member("C", most=20)]).replicas.values()) == [16, 17, 17]


def test_what_is_beyond_every_maximum_is_told() -> None:
    found = planned(50, [member("A", 1, 4, 10), member("B", 2, 4, 15)])
    assert found.replicas == {"A": 10, "B": 15}
    assert found.unplaced == 25


def test_where_minimums_are_more_than_all_the_heaviest_is_served_first_and_the_rest_is_told() -> None:
    found = planned(10, [member("A", 1, least=5), member("B", 2, least=7), member("C", 0, least=1)])
    assert found.replicas == {"A": 3, "B": 7, "C": 0}
    assert found.short == {"A": 2, "C": 1}


def test_minimums_are_beside_the_shares() -> None:
    assert planned(10, [member("A", least=4), member("B")]).replicas == {"A": 7, "B": 3}


def test_a_member_without_weight_has_its_least_and_no_more() -> None:
    found = planned(5, [member("A", 0, least=2), member("B", 0)])
    assert found.replicas == {"A": 2, "B": 0}
    assert found.unplaced == 3


def test_shares_are_by_name_or_as_the_star_has_it_and_equal_without_any() -> None:
    some = {"eu": Share(weight=2), "*": Share(weight=1)}
    assert share_of("eu", some) == Share(weight=2)
    assert share_of("us", some) == Share(weight=1)
    assert share_of("us", {"eu": Share(weight=2)}) is None
    assert share_of("us", {}) == Share(weight=1)


# --- what runs stays ---


def test_without_rebalance_what_runs_stays_whatever_the_weights_say() -> None:
    members = [member("A", 1, current=8), member("B", 9, current=1)]
    assert planned(10, members, rebalance=False).replicas == {"A": 8, "B": 2}
    assert planned(10, members).replicas == {"A": 1, "B": 9}


def test_fewer_replicas_go_where_there_are_too_many() -> None:
    members = [member("A", current=8), member("B", current=2)]
    assert planned(6, members, rebalance=False).replicas == {"A": 4, "B": 2}


def test_a_member_that_is_full_leaves_its_part_to_the_others() -> None:
    found = planned(30, [member("A", capacity=4), member("B"), member("C")])
    assert found.replicas == {"A": 4, "B": 13, "C": 13}
    assert not found.parked


def test_what_nobody_has_room_for_is_parked_and_no_more_than_asked() -> None:
    found = planned(20, [member("A", capacity=4, most=9), member("B", capacity=6)])
    assert sum(found.replicas.values()) == 20
    assert found.parked == {"A": 5, "B": 5}
    assert found.unplaced == 0


def test_more_pods_that_wait_than_there_should_be_at_all_make_no_negative_part() -> None:
    found = planned(50, [member("A", current=30, capacity=-1), member("B"), member("C")])
    assert found.replicas == {"A": 0, "B": 25, "C": 25}


@pytest.mark.parametrize(
    ("total", "share", "said"),
    [
        (-1, Share(), "totalReplicas"),
        (1, Share(weight=-1), r"clusters\[A\]"),
        (1, Share(least=3, most=2), "minReplicas 3 is more than maxReplicas 2"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(total: int, share: Share, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        planned(total, [Member(name="A", share=share)])


# --- what always holds ---


@given(totals, fleets(), st.booleans())
def test_all_are_somewhere_and_nobody_has_more_than_he_may(
    total: int, members: list[Member], rebalance: bool
) -> None:
    found = planned(total, members, rebalance=rebalance)
    assert sum(found.replicas.values()) + found.unplaced == total
    for each in members:
        count, most = found.replicas[each.name], each.share.most
        assert count >= 0
        assert most is None or count <= most
        fits = count - found.parked.get(each.name, 0)
        assert each.capacity is None or fits <= max(0, each.capacity)
        assert fits + found.short.get(each.name, 0) >= each.share.least
        if found.short.get(each.name, 0):
            full = each.capacity is not None and fits >= max(0, each.capacity)
            beyond = [other for other in members if found.replicas[other.name] > other.share.least]
            assert full or not beyond, "nobody has more than his least while another has less"
    if found.unplaced or found.parked:
        for each in members:
            if each.share.weight and found.replicas[each.name] != each.share.most:
                assert not found.unplaced
                assert each.capacity is not None and found.replicas[each.name] >= max(0, each.capacity)


@given(totals, fleets(), st.booleans())
def test_one_more_replica_takes_none_from_anybody(total: int, members: list[Member], rebalance: bool) -> None:
    before, after = (planned(count, members, rebalance=rebalance).replicas for count in (total, total + 1))
    assert all(before[name] <= after[name] for name in before)


@given(totals, fleets(), st.integers(1, 20), st.data())
def test_more_weight_is_never_less_replicas(
    total: int, members: list[Member], more: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(members) - 1))
    one = members[at]
    heavier = [*members]
    heavier[at] = replace(one, share=replace(one.share, weight=one.share.weight + more))
    assert planned(total, members).replicas[one.name] <= planned(total, heavier).replicas[one.name]


@given(totals, fleets(), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_members_is_nothing(
    total: int, members: list[Member], rebalance: bool, chance: random.Random
) -> None:
    shuffled = [*members]
    chance.shuffle(shuffled)
    assert planned(total, members, rebalance=rebalance) == planned(total, shuffled, rebalance=rebalance)


@given(totals, fleets(), st.booleans())
def test_what_was_decided_is_decided_again(total: int, members: list[Member], rebalance: bool) -> None:
    first = planned(total, members, rebalance=rebalance)
    settled = [replace(each, current=first.replicas[each.name]) for each in members]
    again = planned(total, settled, rebalance=rebalance)
    assert again.replicas == first.replicas


@given(totals, fleets())
def test_no_seat_would_be_better_elsewhere(total: int, members: list[Member]) -> None:
    """What Webster's method is: of two that may both have more, neither's last seat has less weight than the other's
    next one would have; equal weights differ by one at most."""
    found = planned(total, members)
    extra = {each.name: found.replicas[each.name] - found.parked.get(each.name, 0) for each in members}
    for each in members:
        extra[each.name] -= each.share.least - found.short.get(each.name, 0)
    for giver in members:
        for taker in members:
            seats = found.replicas[taker.name]
            limits = [limit for limit in (taker.share.most, taker.capacity) if limit is not None]
            if not extra[giver.name] or not taker.share.weight or any(seats >= limit for limit in limits):
                continue
            last = Fraction(giver.share.weight, 2 * extra[giver.name] - 1)
            following = Fraction(taker.share.weight, 2 * extra[taker.name] + 1)
            assert float(last) >= float(following)
            if giver.share.weight == taker.share.weight:
                assert extra[giver.name] <= extra[taker.name] + 1


@given(totals, fleets())
def test_one_that_is_taken_away_again_was_never_there(total: int, members: list[Member]) -> None:
    """Fewer replicas leave those that Webster gave last, ties included."""
    more = planned(total + 1, members).replicas
    running = [replace(each, current=more[each.name]) for each in members]
    assert planned(total, running, rebalance=False).replicas == planned(total, members).replicas


few = st.lists(
    st.builds(
        Member,
        name=st.sampled_from("abc"),
        share=st.builds(Share, weight=st.integers(0, 3), least=st.integers(0, 2), most=st.none() | st.integers(2, 5)),
        current=st.integers(0, 5),
        capacity=st.none() | st.integers(-1, 5),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda each: each.name,
)


@given(st.integers(0, 9), few)
def test_nothing_moves_that_could_have_stayed(total: int, members: list[Member]) -> None:
    """Of all the divisions that there are, with as many in all and with everybody's least, none leaves more where it
    runs."""
    found = planned(total, members, rebalance=False)
    fits = {each.name: found.replicas[each.name] - found.parked.get(each.name, 0) for each in members}
    ranges: list[range] = []
    for each in members:
        limits = [each.share.most, each.capacity]
        room = min([max(0, limit) for limit in limits if limit is not None], default=total)
        ranges.append(range(each.share.least - found.short.get(each.name, 0), min(room, total) + 1))
    wanted = sum(fits.values())
    stays = max(
        sum(min(count, each.current) for count, each in zip(counts, members, strict=True))
        for counts in product(*ranges)
        if sum(counts) == wanted
    )
    assert sum(min(fits[each.name], each.current) for each in members) == stays


def one_by_one(total: int, members: list[Member]) -> dict[str, int]:
    """Webster's method as it is told, without minimums."""
    order = sorted(members, key=lambda each: (-each.share.weight, tie_of(each.name, "ns/app"), each.name))
    found = dict.fromkeys((each.name for each in order), 0)
    for _ in range(total):
        able = [each for each in order if each.share.weight and found[each.name] != each.share.most]
        if able:
            first = max(able, key=lambda each: each.share.weight / (2 * found[each.name] + 1))
            found[first.name] += 1
    return found


many = st.lists(
    st.builds(
        Member,
        name=names_of_members,
        share=st.builds(Share, weight=weights, most=st.none() | st.integers(0, 600)),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each.name,
)


@settings(deadline=None)
@given(st.integers(0, 1500), many)
def test_many_are_divided_as_if_it_were_one_by_one(total: int, members: list[Member]) -> None:
    assert planned(total, members).replicas == one_by_one(total, members)


def test_a_million_replicas_are_divided_and_taken_away_again() -> None:
    members = [member(f"m{number}", number + 1) for number in range(1000)]
    found = planned(1_000_000, members)
    assert sum(found.replicas.values()) == 1_000_000
    running = [replace(each, current=found.replicas[each.name]) for each in members]
    assert planned(10, running, rebalance=False).replicas == planned(10, members).replicas


def test_ten_thousand_changes_of_weight_and_room_move_nothing_that_need_not_move() -> None:
    chance = random.Random(7)
    members = [member(f"m{number}", chance.randint(1, 20)) for number in range(12)]
    running = planned(200, members, rebalance=False).replicas
    needless = 0
    for _ in range(10_000):
        at = chance.randrange(len(members))
        one = members[at]
        if chance.random() < 0.5:
            members[at] = replace(one, share=replace(one.share, weight=chance.randint(1, 20)))
        else:
            members[at] = replace(one, capacity=chance.choice([None, chance.randint(0, 60)]))
        asked = [replace(each, current=running[each.name]) for each in members]
        found = planned(200, asked, rebalance=False)
        fits = {name: count - found.parked.get(name, 0) for name, count in found.replicas.items()}
        for each in asked:
            limit = each.current if each.capacity is None else min(each.current, each.capacity)
            needless += max(0, limit - fits[each.name])
        running = found.replicas
    assert needless == 0
