"""Replicas of a federated workload, among members that come, go silent and come back."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.federation.preference_controller import (
    FAILOVER,
    FULL_S,
    Heard,
    replicas_of,
    seats_of,
    strangers_of,
    with_replicas,
)
from skerry.errors import InvalidError
from skerry.objects.conditions import condition_of
from skerry.objects.federation import Target, is_ready, row_name
from skerry.objects.json import str_at
from skerry.objects.rooms import ROWS_MAX
from skerry.objects.times import ms_at, time_text

NOW_MS = 1_000_000_000


def asked(pod: Any) -> dict[str, int]:
    """What each replica wants, where a test says so."""
    return pod["spec"].get("asks", {})


def member(name: str, *, silent_s: int | None = None, **labels: str) -> Any:
    at = time_text(NOW_MS - (silent_s or 0) * 1000)
    ready = {"type": "Ready", "status": "True" if silent_s is None else "False", "lastTransitionTime": at}
    return {"metadata": {"name": name, "labels": labels}, "status": {"conditions": [ready]}}


def preference(total: int, clusters: Any = None, annotations: Any = None, **more: Any) -> Any:
    metadata = {"name": "web", "namespace": "d", "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"totalReplicas": total, "clusters": clusters or {}, **more}}


def workload(**given: int) -> Any:
    made: Any = {
        "spec": {"template": {"spec": {}}, "placement": {"clusterSelector": {"matchLabels": {"within": "yes"}}}}
    }
    return with_replicas(made, given) if given else made


def found_seats(wish: Any, obj: Any, members: Any, now_ms: int = NOW_MS) -> Any:
    """With members that are silent since their condition says so."""
    since = {each["metadata"]["name"]: condition_of(each, "Ready") for each in members if not is_ready(each)}
    silent_ms = {name: now_ms - ms_at(str_at(told, "lastTransitionTime")) for name, told in since.items() if told}
    return seats_of(wish, obj, members, Heard(silent_ms=silent_ms, back_ms={}), now_ms, asked)


def divided(wish: Any, obj: Any, *members: Any) -> dict[str, int]:
    seats = found_seats(wish, obj, members)
    return {name: count for name, count in {**seats.division.replicas, **seats.silent}.items() if count}


def test_without_clusters_all_are_alike() -> None:
    assert divided(preference(9), workload(), member("a"), member("b"), member("c")) == {"a": 3, "b": 3, "c": 3}


def test_what_was_given_stays_without_rebalance() -> None:
    wish = preference(9, {"*": {"weight": 1}})
    assert divided(wish, workload(a=9), member("a"), member("b")) == {"a": 9}
    assert divided(preference(9, rebalance=True), workload(a=9), member("a"), member("b")) in (
        {"a": 5, "b": 4},
        {"a": 4, "b": 5},
    )


def test_a_silent_member_keeps_what_it_has() -> None:
    assert divided(preference(6), workload(a=3, b=3), member("a"), member("b", silent_s=9999)) == {"a": 3, "b": 3}


def test_failover_waits_as_long_as_is_said_and_not_where_half_are_silent() -> None:
    wish = preference(6, annotations={FAILOVER: "300"})
    heard = member("a"), member("c")
    assert divided(wish, workload(a=3, b=3), *heard, member("b", silent_s=299))["b"] == 3
    seats = found_seats(wish, workload(a=3, b=3), [*heard, member("b", silent_s=200)])
    assert seats.again_s == 100
    assert "b" not in divided(wish, workload(a=3, b=3), *heard, member("b", silent_s=300))
    assert divided(wish, workload(a=3, b=3), member("a"), member("b", silent_s=300)) == {"a": 3, "b": 3}


@pytest.mark.parametrize("said", ["5m", "-1", "", "9" * 9, "9" * 5000])
def test_a_delay_that_is_no_number_is_refused(said: str) -> None:
    with pytest.raises(InvalidError, match="not a number of seconds"):
        found_seats(preference(6, annotations={FAILOVER: said}), workload(), [member("a")])


def test_who_is_back_is_looked_at_again_also_while_many_are_silent() -> None:
    wish = preference(6, {"a": {"weight": 1}, "b": {"weight": 1}}, annotations={FAILOVER: "300"}, rebalance=True)
    members = [member("a"), member("b"), member("c", silent_s=10), member("d", silent_s=10)]
    heard = Heard(silent_ms={"c": 10_000, "d": 10_000}, back_ms={"b": 100_000})
    seats = seats_of(wish, workload(a=6), members, heard, NOW_MS, asked)
    assert seats.division.replicas["a"] == 6
    assert seats.again_s == 200


def test_the_selector_counts_where_it_is_asked_for() -> None:
    members = member("a", within="yes"), member("b")
    assert divided(preference(4, intersectWithClusterSelector=True), workload(), *members) == {"a": 4}


def test_placement_and_overrides_are_written_and_others_stay() -> None:
    made = workload(a=2)
    made["spec"]["overrides"].append({"clusterName": "b", "clusterOverrides": [{"path": "/spec/x", "value": 1}]})
    made = with_replicas(made, {"b": 5, "a": 0})
    assert made["spec"]["placement"]["clusters"] == [{"name": "b"}]  # type: ignore[index,call-overload]
    assert replicas_of(made) == {"b": 5}
    steps = made["spec"]["overrides"][0]["clusterOverrides"]  # type: ignore[index,call-overload]
    assert [each["path"] for each in steps] == ["/spec/x", "/spec/replicas"]  # type: ignore[union-attr,index,call-overload]
    assert with_replicas(made, {"b": 5}) == made, "nothing is written where nothing changed"


# --- room ---

ROOM = [{"nodes": 2, "cpuMillis": 1000, "memoryBytes": 2**30, "pods": 10}]


def roomy(name: str, *, bound: int = 0, waiting: int = 0) -> Any:
    made = member(name)
    row = row_name(name, Target(api_version="apps/v1", kind="Deployment", namespace="d", name="web"))
    made["status"] |= {"room": ROOM, "bound": {row: bound}, "waiting": {row: waiting}}
    return made


def asking(obj: Any, cpu: int) -> Any:
    obj["spec"]["template"]["spec"] = {"template": {"spec": {"asks": {"cpu": cpu}}}}
    return obj


def test_a_member_gets_no_more_than_finds_room_and_the_others_the_rest() -> None:
    wish = preference(10, targetKind="FederatedDeployment")
    assert divided(wish, asking(workload(), 500), roomy("a"), member("b")) == {"a": 4, "b": 6}


def test_replicas_that_were_just_given_are_not_given_room_twice() -> None:
    wish = preference(5, targetKind="FederatedDeployment")
    obj = asking(workload(a=2), 900)
    seats = found_seats(wish, obj, [roomy("a")])
    assert seats.division.parked == {"a": 3}, "of the room for two, the two that were given will take all"


def test_what_has_no_room_anywhere_is_parked_and_told() -> None:
    wish = preference(10, {"*": {"weight": 1, "maxReplicas": 4}}, targetKind="FederatedDeployment")
    obj = asking(workload(), 1000)
    seats = found_seats(wish, obj, [roomy("a"), roomy("b")])
    assert (seats.division.replicas, seats.division.parked) == ({"a": 4, "b": 4}, {"a": 2, "b": 2})
    assert seats.division.unplaced == 2


def test_whom_a_preference_names_and_who_is_no_member_is_told() -> None:
    wish = preference(1, {"a": {"weight": 1}, "nowhere": {"weight": 3}, "*": {}}, targetKind="FederatedDeployment")
    assert strangers_of(wish, [member("a"), member("b")]) == ["nowhere"]


def test_replicas_whose_pods_found_no_node_go_elsewhere_and_do_not_come_back_soon() -> None:
    wish = preference(6, targetKind="FederatedDeployment", rebalance=True)
    obj = asking(workload(a=3, b=3), 10)
    seats = found_seats(wish, obj, [roomy("a", bound=1, waiting=2), member("b")])
    assert seats.division.replicas == {"a": 1, "b": 5}
    told = [{"name": "a", "replicas": 1, "most": 1, "fullSince": time_text(NOW_MS)}]
    wish["status"] = {"clusters": told}
    moved = asking(workload(a=1, b=5), 10)
    later = found_seats(wish, moved, [roomy("a", bound=1), member("b")], NOW_MS + 60_000)
    assert later.division.replicas == {"a": 1, "b": 5}, "that they are gone made no room"
    assert later.limits.full == {"a": (1, time_text(NOW_MS))}
    much = found_seats(wish, moved, [roomy("a", bound=1), member("b")], NOW_MS + int(FULL_S * 1000))
    assert much.division.replicas == {"a": 3, "b": 3}


def test_what_is_told_once_counts_once_however_often_it_is_divided() -> None:
    wish = preference(10, targetKind="FederatedDeployment")
    obj = asking(workload(a=10), 10)
    members = roomy("a", bound=8, waiting=2), member("b")
    for _ in range(4):
        seats = found_seats(wish, obj, members)
        assert seats.division.replicas == {"a": 8, "b": 2}
        obj = with_replicas(obj, seats.division.replicas)
        wish["status"] = {"clusters": [{"name": "a", "replicas": 8, "most": 8, "fullSince": time_text(NOW_MS)}]}


def test_replicas_of_a_row_that_is_not_told_are_where_they_were_given() -> None:
    wish = preference(10, targetKind="FederatedDeployment")
    many = roomy("a")
    many["status"] |= {"room": [], "bound": {f"a.{number:020}": 1 for number in range(ROWS_MAX)}}
    assert divided(wish, asking(workload(a=5, b=5), 10), many, member("b")) == {"a": 5, "b": 5}
    few = roomy("a")
    few["status"] |= {"room": [], "bound": {}}
    assert divided(wish, asking(workload(a=5, b=5), 10), few, member("b")) == {"b": 10}


def test_a_clock_that_is_set_back_leaves_a_member_full_for_no_longer() -> None:
    wish = preference(6, targetKind="FederatedDeployment", rebalance=True)
    year_ms = 365 * 86_400_000
    wish["status"] = {"clusters": [{"name": "a", "replicas": 1, "most": 1, "fullSince": time_text(NOW_MS + year_ms)}]}
    moved = asking(workload(a=1, b=5), 10)
    seats = found_seats(wish, moved, [roomy("a", bound=1), member("b")])
    assert seats.limits.full == {"a": (1, time_text(NOW_MS))}, "from now on, at the most"


def test_how_long_somebody_is_silent_is_not_read_from_what_a_clock_wrote() -> None:
    members = member("a"), member("c"), member("b", silent_s=10**8)
    wish = preference(6, annotations={FAILOVER: "300"})
    heard = Heard(silent_ms={"b": 299_000}, back_ms={})
    seats = seats_of(wish, workload(a=3, b=3), members, heard, NOW_MS, asked)
    assert (seats.silent, seats.again_s) == ({"b": 3}, 1.0)
    heard = Heard(silent_ms={"b": 300_000}, back_ms={})
    assert seats_of(wish, workload(a=3, b=3), members, heard, NOW_MS, asked).silent == {}


def test_who_comes_and_goes_has_his_replicas_again_when_he_has_been_heard_for_as_long() -> None:
    wish = preference(6, rebalance=True, annotations={FAILOVER: "300"})
    members, moves, obj = [member("a"), member("b"), member("c")], 0, workload(a=2, b=2, c=2)
    for turn in range(20):  # b is silent for 400 s, and heard for 60 s
        silent = turn % 2 == 0
        here = [members[0], member("b", silent_s=400) if silent else members[1], members[2]]
        heard = Heard(silent_ms={"b": 400_000}, back_ms={}) if silent else Heard(silent_ms={}, back_ms={"b": 60_000})
        seats = seats_of(wish, obj, here, heard, NOW_MS, asked)
        after = with_replicas(obj, {**seats.division.replicas, **seats.silent})
        moves += replicas_of(after) != replicas_of(obj)
        assert silent or seats.again_s == 240
        obj = after
    assert (moves, replicas_of(obj)) == (1, {"a": 3, "c": 3})
    steady = Heard(silent_ms={}, back_ms={"b": 300_000})
    assert seats_of(wish, obj, members, steady, NOW_MS, asked).division.replicas == {"a": 2, "b": 2, "c": 2}
    capped = preference(6, {"*": {"weight": 1, "maxReplicas": 2}}, rebalance=True, annotations={FAILOVER: "300"})
    soon = Heard(silent_ms={}, back_ms={"b": 1_000})
    assert seats_of(capped, obj, members, soon, NOW_MS, asked).division.replicas["b"] == 2, (
        "nobody else may have them"
    )
