"""Replicas that move: nothing that is needed is taken away before as much is available elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from cloudcore.federation.moves import kept_back
from cloudcore.federation.preference_controller import MOVING_S, PreferenceController, with_moving
from cloudcore.federation.replicas import Division
from skerry.objects.federation import PREFERENCES
from tests.cloudcore.federation.test_handover import acknowledge
from tests.cloudcore.federation.test_policy_controller import FEDERATED, Stage
from tests.cloudcore.federation.test_policy_controller import stage as stage
from tests.cloudcore.federation.test_preferences import found_seats, member, preference, workload

NAMES = ("a", "b", "c", "d")
COUNTS = st.dictionaries(st.sampled_from(NAMES), st.integers(min_value=0, max_value=9))


def division(**replicas: int) -> Division:
    return Division(replicas=replicas, parked={}, short={}, unplaced=0)


def test_who_is_to_have_fewer_keeps_them_until_as_many_run_elsewhere() -> None:
    wanted, given = division(a=3, b=6), {"a": 9}
    assert kept_back(wanted, given, {"a": 9}, ()) == {"a": 9}
    given = {"a": 9, "b": 6}
    assert kept_back(wanted, given, {"a": 9, "b": 2}, ()) == {"a": 7}
    assert kept_back(wanted, given, {"a": 9, "b": 6}, ()) == {}


def test_what_does_not_run_is_given_up_at_once() -> None:
    assert kept_back(division(a=3, b=6), {"a": 9}, {"a": 4}, ()) == {"a": 4}
    assert kept_back(division(a=3, b=6), {"a": 9}, {}, ()) == {}


def test_fewer_in_all_go_at_once_where_enough_run() -> None:
    assert kept_back(division(a=2, b=1), {"a": 5, "b": 5}, {"a": 5, "b": 5}, ()) == {}


def test_nobody_waits_for_what_nobody_has_room_for() -> None:
    parked = Division(replicas={"a": 3, "b": 6}, parked={"b": 6}, short={}, unplaced=0)
    assert kept_back(parked, {"a": 9}, {"a": 9}, ()) == {}


def test_who_gave_his_up_for_his_silence_has_them_when_he_is_back_before_the_others_run() -> None:
    given, wanted = {"a": 6, "b": 6}, division(b=6)
    assert kept_back(wanted, given, {"a": 6, "b": 5}, {"a"}) == {"a": 6}
    assert kept_back(wanted, given, {"a": 6, "b": 6}, {"a"}) == {}


@for_all(COUNTS, COUNTS, COUNTS, st.sets(st.sampled_from(NAMES)))
def test_what_runs_is_never_less_than_it_was_or_than_is_wanted(
    shares: dict[str, int], given: dict[str, int], available: dict[str, int], silent: set[str]
) -> None:
    shares = {name: count for name, count in shares.items() if name not in silent}
    kept = kept_back(division(**shares), given, available, silent)

    def running(placed: Mapping[str, int]) -> int:
        """Of what runs already: what was just given does not."""
        heard = set(NAMES) - silent
        return sum(min(available.get(name, 0), given.get(name, 0), placed.get(name, 0)) for name in heard)

    assert running({**shares, **kept}) >= min(running(given), sum(shares.values()))
    for name, count in kept.items():
        assert shares.get(name, 0) < count <= given[name], "it keeps, and never grows"


def moved(kept_ms: Mapping[str, int]) -> tuple[Mapping[str, int], float | None]:
    wish = preference(9, {"b": {"weight": 1}}, rebalance=True)
    obj = workload(a=6, c=3)
    seats = found_seats(wish, obj, [member("a"), member("b"), member("c")])
    found = with_moving(obj, seats, {"a": 6, "c": 3}, kept_ms)
    return found.moving, found.again_s


def test_a_move_that_does_not_succeed_is_made_in_the_end_each_by_itself() -> None:
    late_ms = (MOVING_S - 1) * 1000
    assert moved({}) == ({"a": 6, "c": 3}, MOVING_S)
    assert moved({"a": late_ms}) == ({"a": 6, "c": 3}, 1.0)
    assert moved({"a": late_ms + 1000}) == ({"c": 3}, MOVING_S)
    assert moved({"a": late_ms + 1000, "c": late_ms + 1000}) == ({}, None)


def test_where_members_say_themselves_how_many_they_run_nobody_keeps_any() -> None:
    obj = workload(a=9)
    wish = preference(9, {"b": {"weight": 1}}, rebalance=True)
    seats = found_seats(wish, obj, [member("a"), member("b")])
    assert with_moving(obj, seats, {"a": 9}, {}).moving
    obj["spec"]["retainReplicas"] = True
    assert not with_moving(obj, seats, {"a": 9}, {}).moving


@pytest.mark.parametrize("step_ms", [86_400_000, -86_400_000])
async def test_a_clock_that_is_set_ends_no_move_early_and_none_late(stage: Stage, step_ms: int) -> None:
    divided = await moving(stage)
    assert await divided() == {"north": 6, "south": 4}
    stage.world.clock.step_wall(step_ms)
    stage.world.clock.advance(MOVING_S - 1)
    assert await divided() == {"north": 6, "south": 4}
    stage.world.clock.advance(1)
    assert await divided() == {"north": 2, "south": 4}


async def test_members_are_given_fewer_as_others_have_them(stage: Stage) -> None:
    divided = await moving(stage)
    assert await divided() == {"north": 6, "south": 4}
    await acknowledge(stage, "south", remote={"availableReplicas": 3})
    assert await divided() == {"north": 3, "south": 4}
    await acknowledge(stage, "south", remote={"availableReplicas": 4})
    assert await divided() == {"north": 2, "south": 4}
    assert "movingSince" not in stage.world.get(PREFERENCES, "a")["status"]


async def moving(stage: Stage) -> Callable[[], Awaitable[dict[str, int]]]:
    """Six that run in north are to be two there and four in south; who looks at them."""
    preferences = PreferenceController(stage.world.tools, lambda _: {})
    spec = {"template": {"spec": {"replicas": 1}}, "placement": {}}
    await stage.world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": spec})
    wish = {
        "targetKind": "FederatedConfigMap",
        "totalReplicas": 6,
        "rebalance": True,
        "clusters": {"north": {"weight": 1}},
    }
    await stage.world.create(PREFERENCES, {"metadata": {"name": "a"}, "spec": wish})
    key = stage.world.key(PREFERENCES, "a")

    async def divided() -> dict[str, int]:
        await stage.settle()
        await preferences.reconcile(key)
        await stage.settle()
        told = stage.world.get(PREFERENCES, "a")["status"]["clusters"]
        return {each["name"]: each["replicas"] for each in told if each["replicas"]}

    assert await divided() == {"north": 6}
    await acknowledge(stage, "north", remote={"availableReplicas": 6})
    await stage.world.set_spec(PREFERENCES, "a", clusters={"north": {"weight": 1}, "south": {"weight": 2}})
    return divided
