"""What a ReplicaSchedulingPreference may say of members."""

from __future__ import annotations

from typing import Any

from cloudcore.registry.validation.federation import preference_warnings, validate_preference


def preference(**clusters: Any) -> Any:
    return {"metadata": {"name": "web"}, "spec": {"totalReplicas": 9, "clusters": clusters}}


def test_a_name_that_no_member_can_have_is_warned_of_and_taken() -> None:
    obj = preference(A={"weight": 1}, north={"weight": 2}, **{"*": {"weight": 1}})
    assert [*validate_preference(obj, None)] == []
    assert [each.partition(":")[0] for each in preference_warnings(obj)] == ["spec.clusters[A]"]


def test_bounds_that_contradict_each_other_are_refused() -> None:
    [cause] = validate_preference(preference(north={"minReplicas": 3, "maxReplicas": 2}), None)
    assert cause.field == "spec.clusters[north].minReplicas"
