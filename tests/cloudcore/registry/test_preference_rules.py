"""What a ReplicaSchedulingPreference may say of members, and what of a FederatedTypeConfig can be changed."""

from __future__ import annotations

from typing import Any

from cloudcore.registry.validation.federation import preference_warnings, validate_preference, validate_type


def preference(**clusters: Any) -> Any:
    return {"metadata": {"name": "web"}, "spec": {"totalReplicas": 9, "clusters": clusters}}


def test_a_name_that_no_member_can_have_is_warned_of_and_taken() -> None:
    obj = preference(A={"weight": 1}, north={"weight": 2}, **{"*": {"weight": 1}})
    assert [*validate_preference(obj, None)] == []
    assert [each.partition(":")[0] for each in preference_warnings(obj)] == ["spec.clusters[A]"]


def test_bounds_that_contradict_each_other_are_refused() -> None:
    [cause] = validate_preference(preference(north={"minReplicas": 3, "maxReplicas": 2}), None)
    assert cause.field == "spec.clusters[north].minReplicas"


def type_config(**target: str) -> Any:
    types = {
        "targetType": {"kind": "Widget", "pluralName": "widgets", "group": "acme.dev", "version": "v1", **target}
    }
    types["federatedType"] = {"kind": "FederatedWidget", "pluralName": "federatedwidgets", "version": "v1beta1"}
    types["federatedType"]["group"] = "types.kubefed.io"
    for each in types.values():
        each["scope"] = "Namespaced"
    return {"metadata": {"name": "widgets.acme.dev"}, "spec": {**types, "propagation": "Enabled"}}


def test_a_type_moves_on_to_its_next_version_and_stays_the_same_type() -> None:
    assert [*validate_type(type_config(version="v2"), type_config())] == []
    [cause] = validate_type(type_config(kind="Gadget"), type_config())
    assert (cause.field, "immutable" in cause.message) == ("spec.targetType.kind", True)
