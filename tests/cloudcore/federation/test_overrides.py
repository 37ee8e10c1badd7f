"""KubeFed's overrides, in their order, and what is refused of them."""

from __future__ import annotations

import pytest

from cloudcore.federation.overrides import Override, overridden, read_overrides, with_override
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject

TEMPLATE: JsonObject = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {"replicas": 3, "template": {"spec": {"containers": [{"image": "nginx:1.17"}]}}},
}


def federated(*steps: Json, cluster: str = "eu") -> JsonObject:
    return {"spec": {"overrides": [{"clusterName": cluster, "clusterOverrides": [*steps]}]}}


def applied(*steps: Json) -> JsonObject:
    return overridden(TEMPLATE, read_overrides(federated(*steps))["eu"])


def test_a_step_replaces_unless_it_says_otherwise_and_the_template_stays() -> None:
    found = applied(
        {"path": "/spec/replicas", "value": 5},
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "nginx:1.27"},
        {"op": "add", "path": "/metadata/annotations", "value": {"site": "eu"}},
        {"op": "remove", "path": "/metadata/labels/app"},
    )
    assert found == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {}, "annotations": {"site": "eu"}},
        "spec": {"replicas": 5, "template": {"spec": {"containers": [{"image": "nginx:1.27"}]}}},
    }
    assert TEMPLATE["spec"] == {"replicas": 3, "template": {"spec": {"containers": [{"image": "nginx:1.17"}]}}}


def test_the_version_may_differ_from_member_to_member() -> None:
    assert applied({"path": "/apiVersion", "value": "apps/v1beta2"})["apiVersion"] == "apps/v1beta2"


def test_null_is_a_value() -> None:
    assert applied({"path": "/spec/replicas", "value": None})["spec"] == TEMPLATE["spec"] | {"replicas": None}  # type: ignore[operator]


def test_a_field_that_is_not_there_is_replaced_where_what_it_is_in_is() -> None:
    assert applied({"path": "/metadata/annotations", "value": {"site": "eu"}})["metadata"]["annotations"] == {  # type: ignore[index]
        "site": "eu"
    }
    with pytest.raises(InvalidError):
        applied({"path": "/spec/template/spec/containers/1", "value": {}})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/metadata/labels/x~1y/z", "/metadata/labels has .*, and no x/y|/metadata has .*, and no labels"),
        ("/list/7", "/list is a list of 2, from 0 on, without '7'"),
        ("/list/-", "/list is a list of 2, .*appended by add"),
        ("/list/0/deeper", "/list/0 is no object or list"),
    ],
)
def test_where_a_path_ends_is_said(path: str, said: str) -> None:
    obj: JsonObject = {"metadata": {}, "list": ["a", "b"]}
    with pytest.raises(InvalidError, match=said):
        overridden(obj, [Override(op="remove", path=path, value=None)])


def test_a_step_that_leads_nowhere_is_told_with_its_path() -> None:
    with pytest.raises(
        InvalidError, match=r"replace /spec/nothing/here: .*no such place: /spec has .*, and no nothing"
    ):
        applied({"path": "/spec/nothing/here", "value": 1})


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"op": "copy", "path": "/spec/a"}, r"spec\.overrides\[0\]\.clusterOverrides\[0\]\.op: Unsupported"),
        ({"path": "spec"}, r"clusterOverrides\[0\]\.path: Invalid"),
        ({}, r"clusterOverrides\[0\]\.path: Invalid"),
        ({"path": "/kind", "value": "Job"}, "Forbidden"),
        ({"path": "/metadata/name", "value": "x"}, "Forbidden"),
        ({"path": "/metadata", "value": {"generateName": "x-"}}, "Forbidden"),
        ({"path": "/metadata/namespace", "value": "x"}, "Forbidden"),
        ({"path": "/metadata/generateName", "value": "x"}, "Forbidden"),
    ],
)
def test_what_may_not_be_is_refused_by_field(step: Json, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        read_overrides(federated(step))


def test_a_member_and_a_path_are_named_once() -> None:
    step: JsonObject = {"path": "/spec/replicas", "value": 1}
    with pytest.raises(InvalidError, match=r'clusterOverrides\[1\]\.path: Duplicate value: "/spec/replicas"'):
        read_overrides(federated(step, step))
    entry: JsonObject = {"clusterName": "eu", "clusterOverrides": []}
    with pytest.raises(InvalidError, match=r'spec\.overrides\[1\]\.clusterName: Duplicate value: "eu"'):
        read_overrides({"spec": {"overrides": [entry, entry]}})
    with pytest.raises(InvalidError, match=r"spec\.overrides\[0\]\.clusterName: Required"):
        read_overrides({"spec": {"overrides": [{}]}})


def test_a_step_of_ours_takes_the_place_of_the_one_before_and_leaves_the_others() -> None:
    obj = federated({"path": "/spec/replicas", "value": 1}, {"path": "/spec/paused", "op": "add", "value": True})
    changed = with_override(obj, "eu", Override(op="replace", path="/spec/replicas", value=4))
    assert {step.path: step.value for step in read_overrides(changed)["eu"]} == {
        "/spec/paused": True,
        "/spec/replicas": 4,
    }
    other = with_override(changed, "us", Override(op="replace", path="/spec/replicas", value=2))
    assert read_overrides(other)["us"] == (Override(op="replace", path="/spec/replicas", value=2),)
    assert read_overrides(other)["eu"] == read_overrides(changed)["eu"]
