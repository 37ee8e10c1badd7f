"""Which members a policy chooses, and when it chooses others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.federation.policies import MARGIN_S, Seat, Verdict, decide
from skerry.errors import InvalidError
from skerry.objects.placement_policies import Candidate, Policy, read_policy

NOW_MS = 10_000_000
FAR_S = 5_000


def member(name: str, *, silent_s: int | None = None, ready_s: int = FAR_S, **labels: str) -> Candidate:
    since = NOW_MS - 1000 * (ready_s if silent_s is None else silent_s)
    region = labels.get("region", "")
    return Candidate(name=name, labels=labels, region=region, zone="", ready=silent_s is None, since_ms=since)


def policy(**spec: Any) -> Policy:
    return read_policy({"spec": spec})


def choose(wanted: Policy, *members: Candidate, held: tuple[str, ...] = (), moves: tuple[int, ...] = ()) -> Verdict:
    seats = [Seat(member=name, since_ms=0) for name in held]
    return decide(wanted, members, seats, moves, now_ms=NOW_MS, key="d/web")


HOME = [{"name": "home", "clusterSelector": {"matchLabels": {"side": "eu"}}}, {"name": "else", "clusterSelector": {}}]
FAILOVER = {"afterSeconds": 300, "perMinute": 1}


def test_the_first_choice_that_can_be_counts() -> None:
    found = choose(policy(affinities=HOME, members=1), member("a", side="eu"), member("b"))
    assert (found.placed, found.choice) == ({"a"}, "home")
    found = choose(policy(affinities=HOME, members=1), member("a", side="eu", silent_s=9), member("b"))
    assert (found.placed, found.choice) == ({"b"}, "else")
    assert found.reasons["a"] == "it is not heard"


def test_without_members_all_of_the_choice_have_it() -> None:
    found = choose(policy(affinities=HOME), member("a", side="eu"), member("c", side="eu", silent_s=9), member("b"))
    assert found.placed == {"a", "c"}
    assert found.reasons["b"] == "home counts, which it is not of"


def test_members_are_spread_over_regions() -> None:
    regions = [member(f"{region}{number}", region=region) for region in ("eu", "us") for number in range(3)]
    found = choose(policy(members=3, spread=[{"by": "region", "max": 2, "min": 2}]), *regions)
    assert sorted(name[:2] for name in found.placed) in (["eu", "eu", "us"], ["eu", "us", "us"])
    assert not found.short
    alone = choose(policy(members=3, spread=[{"by": "region", "max": 1, "min": 2}]), *regions[:3])
    assert len(alone.placed) == 1
    assert alone.short == "1 of 3 members: no others are heard that may have it"


def test_silence_alone_moves_nothing() -> None:
    found = choose(policy(members=1), member("a", silent_s=10**6), member("b"), held=("a",))
    assert found.placed == {"a"}


def test_who_is_silent_for_long_enough_is_replaced() -> None:
    wanted = policy(members=1, failover=FAILOVER)
    others = member("b"), member("c")
    soon = choose(wanted, member("a", silent_s=299), *others, held=("a",))
    assert (soon.placed, soon.again_s) == ({"a"}, 1.0)
    assert soon.reasons["a"] == "silent, and keeps it: replaced after 300 s of silence"
    late = choose(wanted, member("a", silent_s=300), *others, held=("a",))
    assert len(late.placed & {"b", "c"}) == 1
    assert (late.reasons["a"], late.moves_ms) == ("silent for too long: replaced", (NOW_MS,))


def test_no_more_are_replaced_in_a_minute_than_may_be() -> None:
    wanted = policy(members=2, failover=FAILOVER)
    members = (member("a", silent_s=400), member("b", silent_s=500), *(member(name) for name in "cdef"))
    first = choose(wanted, *members, held=("a", "b"))
    assert "a" in first.placed
    assert "b" not in first.placed
    second = choose(wanted, *members, held=tuple(first.placed), moves=first.moves_ms)
    assert second.placed == first.placed
    assert second.reasons["a"] == "silent, and keeps it: no more moves in this minute"
    assert second.again_s == 60.0


def test_nothing_is_replaced_while_many_are_silent() -> None:
    wanted = policy(members=1, failover=FAILOVER)
    found = choose(wanted, member("a", silent_s=999), member("b", silent_s=999), member("c"), held=("a",))
    assert found.placed == {"a"}
    assert found.frozen == "2 of 3 members are silent: nothing is replaced"


def test_whose_seat_nobody_can_take_keeps_it() -> None:
    wanted = policy(members=1, affinities=HOME[:1], failover={**FAILOVER, "freezeAbovePercent": 90})
    found = choose(wanted, member("a", side="eu", silent_s=999), member("b"), held=("a",))
    assert (found.placed, found.moves_ms) == ({"a"}, ())


@pytest.mark.parametrize(
    ("failback", "ready_s", "where"), [("Never", FAR_S, "b"), ("AfterStable", 599, "b"), ("AfterStable", 600, "a")]
)
def test_it_comes_back_where_that_is_wanted_and_home_is_stable(failback: str, ready_s: int, where: str) -> None:
    wanted = policy(affinities=HOME, members=1, failover={**FAILOVER, "failback": failback})
    found = choose(wanted, member("a", side="eu", ready_s=ready_s), member("b"), held=("b",))
    assert found.placed == {where}
    if where == "a":
        assert found.reasons["b"] == "gave way: home is stable again"


def test_what_may_run_once_alone_waits_for_the_lease_as_well() -> None:
    wanted = policy(atMostOnce={"leaseSeconds": 60}, failover={"afterSeconds": 10})
    others = member("b"), member("c")
    early = choose(wanted, member("a", silent_s=60 + MARGIN_S - 1), *others, held=("a",))
    assert early.placed == {"a"}
    assert "a" not in choose(wanted, member("a", silent_s=60 + MARGIN_S), *others, held=("a",)).placed


FAULTS = [
    ({"members": -1}, r"spec\.members"),
    ({"atMostOnce": {"leaseSeconds": 5}}, r"spec\.atMostOnce\.leaseSeconds"),
    ({"atMostOnce": {"leaseSeconds": 60}, "members": 2}, r"spec\.members: is 1"),
    ({"spread": [{"by": "rack"}]}, r"spec\.spread\[0\]\.by"),
    ({"spread": [{"by": "label"}]}, r"spec\.spread\[0\]\.label"),
    ({"failover": {"failback": "Soon"}}, r"spec\.failover\.failback"),
    ({"failover": {"perMinute": 0}}, r"spec\.failover\.perMinute"),
    ({"affinities": [{"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "B"}]}}]}, "clusterSelector"),
]


@pytest.mark.parametrize(("spec", "said"), FAULTS)
def test_a_fault_names_its_field(spec: Any, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        policy(**spec)


# --- whatever the members are ---

MEMBERS = st.lists(
    st.builds(
        Candidate,
        name=st.text("abcdefgh", min_size=1, max_size=2),
        labels=st.fixed_dictionaries({"side": st.sampled_from(["eu", "us"])}),
        region=st.sampled_from(["r1", "r2", "r3"]),
        zone=st.just(""),
        ready=st.booleans(),
        since_ms=st.integers(0, NOW_MS),
    ),
    unique_by=lambda each: each.name,
    max_size=12,
)
COUNT = st.none() | st.integers(0, 5)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Policy, list[Candidate], list[Seat]]:
    spec: dict[str, Any] = {"affinities": HOME}
    if (count := draw(COUNT)) is not None:
        spec["members"] = count
    if draw(st.booleans()):
        spec["spread"] = [{"by": "region", "max": draw(st.integers(1, 3))}]
    if draw(st.booleans()):
        spec["failover"] = {
            "afterSeconds": draw(st.integers(0, 1000)),
            "perMinute": draw(st.integers(1, 3)),
            "failback": draw(st.sampled_from(["Never", "AfterStable"])),
        }
    members = draw(MEMBERS)
    seats = [Seat(member=each.name, since_ms=0) for each in members if draw(st.booleans())]
    return policy(**spec), members, seats


@settings(max_examples=80, deadline=None)
@given(scenes(), st.randoms())
def test_bounds_hold_and_the_order_of_members_does_not_matter(scene: Any, chance: Any) -> None:
    wanted, members, seats = scene
    found = decide(wanted, members, seats, (), now_ms=NOW_MS, key="d/web")
    assert found.placed <= {each.name for each in members}
    if wanted.count is not None:
        assert len(found.placed) <= wanted.count
    assert found.reasons.keys() == {each.name for each in members}
    shuffled = [*members]
    chance.shuffle(shuffled)
    assert decide(wanted, shuffled, seats, (), now_ms=NOW_MS, key="d/web") == found


@settings(max_examples=80, deadline=None)
@given(scenes())
def test_deciding_again_comes_to_the_same(scene: Any) -> None:
    wanted, members, seats = scene
    first = decide(wanted, members, seats, (), now_ms=NOW_MS, key="d/web")
    full = (*first.moves_ms, *([NOW_MS] * 3))  # so that no further move is due in this minute
    again = decide(wanted, members, first.seats, full, now_ms=NOW_MS, key="d/web")
    assert again.placed == first.placed


@settings(max_examples=80, deadline=None)
@given(scenes())
def test_no_more_leave_by_silence_than_may_in_a_minute(scene: Any) -> None:
    wanted, members, seats = scene
    found = decide(wanted, members, seats, (), now_ms=NOW_MS, key="d/web")
    left = {seat.member for seat in seats} - found.placed
    by_silence = {name for name in left if found.reasons[name] == "silent for too long: replaced"}
    assert len(by_silence) <= (wanted.failover.per_minute if wanted.failover else 0)
