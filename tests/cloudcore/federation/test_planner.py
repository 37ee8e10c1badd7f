"""What the status of a federated object says of each member."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.federation.planner import IN_TIME_MS, Plan, Row, status_of, with_times
from skerry.objects.federation import MemberObject, Source, Target
from skerry.objects.meta import Key

NOW_MS = 10_000_000
NOTHING = Plan(rows={}, faults={})
SILENT = "it is not heard: what is shown is what it said last"


def row(*, told: Any = None, **more: Any) -> Row:
    wanted = MemberObject(
        member="m",
        target=Target(api_version="v1", kind="ConfigMap", namespace="d", name="a"),
        source=Source(key=Key("federatedconfigmaps", "d", "a"), uid="u"),
        revision=3,
        manifest={"kind": "ConfigMap"},
        **more,
    )
    return Row(wanted=wanted, told=told or {})


def status(found: Plan, *, heard: bool = True, age_ms: int = 0, **rows: Row) -> tuple[Any, bool]:
    names = [*rows, *found.faults]
    return status_of(
        {},
        found,
        rows,
        heard=names if heard else [],
        collects=True,
        now_ms=NOW_MS,
        planned_ms=dict.fromkeys(names, NOW_MS - age_ms),
    )


DONE = {"revision": 3}


@pytest.mark.parametrize(
    ("each", "heard", "code", "message"),
    [
        pytest.param(row(told=DONE), True, "", "", id="as it is to be"),
        pytest.param(row(told=DONE), False, "ClusterNotReady", SILENT, id="silent"),
        pytest.param(
            row(told={**DONE, "code": "CreationFailed", "message": "no such kind"}),
            True,
            "CreationFailed",
            "no such kind",
            id="it can't",
        ),
        pytest.param(
            row(told={"revision": 2, "code": "CreationFailed"}), True, "", "", id="what it said is of before"
        ),
        pytest.param(row(removal="Delete"), True, "WaitingForRemoval", "", id="going"),
        pytest.param(
            row(removal="Delete"),
            False,
            "WaitingForRemoval",
            "it is not heard, and removes it when it is back",
            id="going where nobody is heard",
        ),
        pytest.param(
            row(removal="Delete", told={**DONE, "code": "DeletionFailed", "message": "a webhook is in the way"}),
            False,
            "DeletionFailed",
            "a webhook is in the way",
            id="it can't be removed",
        ),
    ],
)
def test_each_member_has_its_word(each: Row, *, heard: bool, code: str, message: str) -> None:
    told, _ = status(NOTHING, heard=heard, m=each)
    (mine,) = told["clusters"]
    assert (mine.get("status", ""), mine.get("message", "")) == (code, message)


def test_who_keeps_it_though_others_have_it_says_why_unless_there_is_worse_to_say() -> None:
    found = Plan(rows={}, faults={}, keepers={"m": "keeps it"})
    assert status(found, m=row(told=DONE))[0]["clusters"] == [{"name": "m", "message": "keeps it"}]
    failing = status(found, m=row(told={**DONE, "code": "UpdateFailed", "message": "no"}))[0]["clusters"]
    assert failing == [{"name": "m", "status": "UpdateFailed", "message": "no"}]


def test_a_fault_is_of_the_member_that_has_it_and_of_no_tombstone() -> None:
    found = Plan(rows={}, faults={"a": "no such path", "b": "no such path"})
    told, _ = status(found, b=row(removal="Delete"), c=row(told=DONE))
    assert [each.get("status", "") for each in told["clusters"]] == ["ApplyOverridesFailed", "WaitingForRemoval", ""]
    assert told["counts"] == {"members": 2, "current": 1, "unknown": 0, "failing": 1, "cleanup": 1}


def test_who_is_heard_has_half_a_minute() -> None:
    told, waiting = status(NOTHING, age_ms=IN_TIME_MS - 1, m=row())
    assert (waiting, told["clusters"]) == (True, [{"name": "m"}])
    assert told["conditions"] == [{"type": "Propagation", "status": "False", "reason": ""}]
    late, waiting = status(NOTHING, age_ms=IN_TIME_MS, new=row(), old=row(told={"revision": 2}))
    assert (waiting, late["conditions"][0]["reason"]) == (False, "CheckClusters")
    assert [each["status"] for each in late["clusters"]] == ["CreationTimedOut", "UpdateTimedOut"]


def test_what_is_nowhere_says_why() -> None:
    told, _ = status(Plan(rows={}, faults={}, reason="NamespaceNotFederated"))
    assert told["conditions"] == [{"type": "Propagation", "status": "False", "reason": "NamespaceNotFederated"}]


def test_times_are_of_changes_alone() -> None:
    told, _ = status(NOTHING, m=row(told=DONE))
    first = with_times(told, {}, 1, "T1")
    assert with_times(told, first, 1, "T2") is first
    worse, _ = status(NOTHING, heard=False, m=row(told=DONE))
    second = with_times(worse, first, 1, "T2")
    assert second["conditions"][0] == {  # type: ignore[index]
        "type": "Propagation",
        "status": "False",
        "reason": "CheckClusters",
        "lastUpdateTime": "T2",
        "lastTransitionTime": "T2",
    }
    other: Any = with_times({**worse, "counts": {}}, second, 2, "T3")
    assert (other["conditions"][0]["lastUpdateTime"], other["conditions"][0]["lastTransitionTime"]) == ("T3", "T2")
    assert other["observedGeneration"] == 2
