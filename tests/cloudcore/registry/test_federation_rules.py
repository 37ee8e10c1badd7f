"""What kinds of the federation may say: preferences, types, members."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.validation.federation import (
    preference_warnings,
    validate_member,
    validate_preference,
    validate_type,
)


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


@pytest.mark.parametrize(
    ("side", "field", "value", "said"),
    [
        ("targetType", "kind", "", "Required"),
        ("targetType", "kind", "My Widget", "Invalid"),
        ("targetType", "version", "V1", "Invalid"),
        ("targetType", "group", "acme_dev", "Invalid"),
        ("targetType", "pluralName", "my.widgets", "Invalid"),
        ("federatedType", "group", "", "Required"),
        ("federatedType", "group", "types", "at least one dot"),
        ("federatedType", "pluralName", "", "Required"),
        ("statusType", "group", "types", "at least one dot"),
        ("statusType", "version", "", "Required"),
    ],
)
def test_a_part_of_a_type_that_can_t_be_served_is_named(side: str, field: str, value: str, said: str) -> None:
    obj = type_config()
    status = {"kind": "WidgetStatus", "pluralName": "widgetstatuses", "version": "v1", "group": "types.kubefed.io"}
    obj["spec"]["statusType"] = {**status, "scope": "Namespaced"}
    assert [*validate_type(obj, None)] == []
    obj["spec"][side][field] = value
    found = {cause.field: cause.message for cause in validate_type(obj, None)}
    assert said in found[f"spec.{side}.{field}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("apiEndpoint", ""),
        ("apiEndpoint", "ftp://far"),
        ("apiEndpoint", "https://far:99999"),
        ("secretRef", {"name": ""}),
        ("secretRef", {"name": "Far_Away"}),
        ("proxyURL", "far"),
        ("disabledTLSValidations", ["*", "SubjectName"]),
        ("disabledTLSValidations", ["Everything"]),
    ],
)
def test_a_member_that_can_t_be_dialled_is_refused(field: str, value: Any) -> None:
    spec: Any = {"apiEndpoint": "https://far.example:6443/at/a/path", "secretRef": {"name": "far-x7k2p"}}
    assert [*validate_member({"metadata": {"name": "far"}, "spec": spec}, None)] == []
    [cause] = validate_member({"metadata": {"name": "far"}, "spec": {**spec, field: value}}, None)
    assert cause.field.startswith(f"spec.{field}")
