"""Whether what a member has is in order, by what it tells, of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.federation.readiness import readiness, told_readiness
from cloudcore.federation.rollout_memory import Memory, Sight, remembered
from skerry.frozen import replace

FULL = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}


def health(kind: str, status: Any, *, generation: int = 3, **spec: Any) -> str:
    return readiness({"kind": kind, "spec": spec}, status, generation=generation).health


def condition(type_: str, status: str, reason: str = "") -> Any:
    return {"conditions": [{"type": type_, "status": status, "reason": reason, "message": "why"}]}


@pytest.mark.parametrize(
    ("kind", "status", "spec", "wanted"),
    [
        ("Deployment", FULL, {"replicas": 2}, "ready"),
        ("Deployment", {**FULL, "observedGeneration": 2}, {"replicas": 2}, "progressing"),
        ("Deployment", {}, {"replicas": 2}, "progressing"),
        ("Deployment", {**FULL, "replicas": 3}, {"replicas": 2}, "progressing"),
        ("Deployment", {**FULL, "availableReplicas": 1}, {"replicas": 2}, "progressing"),
        ("Deployment", {"observedGeneration": 3}, {"replicas": 0}, "ready"),
        ("Deployment", condition("Progressing", "False", "ProgressDeadlineExceeded"), {}, "failed"),
        ("ReplicaSet", FULL, {"replicas": 2}, "ready"),
        ("ReplicaSet", {**FULL, **condition("ReplicaFailure", "True")}, {"replicas": 2}, "progressing"),
        ("StatefulSet", {**FULL, "currentRevision": "b", "updateRevision": "b"}, {"replicas": 2}, "ready"),
        ("StatefulSet", {**FULL, "currentRevision": "a", "updateRevision": "b"}, {"replicas": 2}, "progressing"),
        ("StatefulSet", {}, {"updateStrategy": {"type": "OnDelete"}}, "ready"),
        ("DaemonSet", {"observedGeneration": 3, "desiredNumberScheduled": 1}, {}, "progressing"),
        ("Job", {}, {}, "progressing"),
        ("Job", {"startTime": "t"}, {}, "ready"),
        ("Job", condition("Failed", "True"), {}, "failed"),
        ("Pod", {"phase": "Running", **condition("Ready", "True")}, {}, "ready"),
        ("Pod", {"phase": "Running"}, {}, "progressing"),
        ("Pod", {"phase": "Failed"}, {}, "failed"),
        ("PersistentVolumeClaim", {"phase": "Pending"}, {}, "progressing"),
        ("PersistentVolumeClaim", {"phase": "Bound"}, {}, "ready"),
        ("CustomResourceDefinition", condition("Established", "True"), {}, "ready"),
        ("ConfigMap", {}, {}, "ready"),
        ("Widget", condition("Ready", "False"), {}, "progressing"),
        ("Widget", condition("Stalled", "True"), {}, "failed"),
        ("Widget", condition("Reconciling", "True"), {}, "progressing"),
        ("Widget", {"observedGeneration": 1}, {}, "progressing"),
        ("Widget", {"observedGeneration": 3}, {}, "ready"),
    ],
)
def test_every_kind_says_it_in_its_own_words(kind: str, status: Any, spec: Any, wanted: str) -> None:
    assert health(kind, status, **spec) == wanted


@pytest.mark.parametrize(
    "status", [{"conditions": "x"}, {"replicas": "2", "observedGeneration": True}, {"conditions": [3, {}]}]
)
def test_what_makes_no_sense_is_not_in_order_and_breaks_nothing(status: Any) -> None:
    assert health("Deployment", status, replicas=2) == "progressing"


def test_how_many_there_are_is_the_member_s_own_where_it_retains_them() -> None:
    manifest: Any = {"kind": "Deployment", "spec": {"replicas": 5}}
    assert readiness(manifest, {**FULL}, generation=3, retains_replicas=True).health == "ready"
    assert readiness(manifest, {**FULL}, generation=3).health == "progressing"


def test_what_it_can_t_bring_about_is_not_in_order() -> None:
    told: Any = {"code": "UpdateFailed", "message": "no such field"}
    found = told_readiness({"kind": "ConfigMap"}, told, retains_replicas=False)
    assert (found.health, found.why) == ("progressing", "UpdateFailed: no such field")


@pytest.mark.parametrize("code", ["ManagedLabelFalse", "AlreadyExists"])
def test_what_is_left_alone_on_purpose_is_no_failure(code: str) -> None:
    found = told_readiness({"kind": "ConfigMap"}, {"code": code, "message": "m"}, retains_replicas=False)
    assert (found.health, found.why) == ("alone", f"{code}: m")


SIGHT = Sight(revision=1, ready=True, heard=True, planned_ms=1000, observed_ms=2000, heard_ms=0)


def see(before: Memory | None, now_ms: int, **more: Any) -> Memory:
    return remembered(before, replace(SIGHT, **more), now_ms=now_ms, min_ready_ms=10_000)


def test_after_a_restart_what_is_in_order_counts_from_when_it_was_told_and_the_rest_has_its_time_again() -> None:
    assert see(None, 50_000).since_ms == 2000
    assert see(None, 50_000, ready=False).since_ms == 50_000


def test_no_time_that_somebody_writes_is_believed_to_be_later_than_now_or_earlier_than_the_change() -> None:
    assert see(None, 50_000, observed_ms=10**9, heard_ms=10**9).since_ms == 50_000
    assert see(None, 50_000, observed_ms=0).since_ms == 1000


def test_a_clock_that_was_set_back_ages_nothing() -> None:
    """Neither is what has just changed too late at once, nor what is in order so for long enough."""
    first = see(None, 5_000_000, ready=True)
    late = see(first, 5_020_000, ready=False, revision=2, planned_ms=1_419_000)
    assert (late.since_ms, late.started_ms) == (5_020_000, 5_020_000)
    soon = see(first, 5_020_000, ready=True, revision=2, planned_ms=1_419_000, observed_ms=1_420_000)
    assert soon.since_ms == 5_020_000


def test_what_flips_is_not_in_order_since_it_began_to_become_so() -> None:
    first = see(None, 5000, ready=False)
    changed = see(first, 20_000, ready=False, revision=2, planned_ms=19_000)
    assert changed.since_ms == 19_000
    up = see(changed, 30_000, revision=2)
    assert up.since_ms == 30_000
    down = see(up, 33_000, revision=2, ready=False)
    assert down.since_ms == 19_000, "three seconds of being ready were none"
    again = see(down, 40_000, revision=2)
    later = see(again, 60_000, revision=2)
    assert see(later, 70_000, revision=2, ready=False).since_ms == 70_000, "that it was in order did count"


def test_who_comes_back_is_heard_since_then() -> None:
    away = see(see(None, 5000), 6000, heard=False)
    assert see(away, 9000, heard=True, heard_ms=0).heard_since_ms == 9000
