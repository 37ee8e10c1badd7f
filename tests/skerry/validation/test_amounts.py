from __future__ import annotations

import pytest

from skerry.objects.json import JsonObject
from skerry.validation.amounts import validate_resource_field, validate_resources


def faults(limits: JsonObject, requests: JsonObject | None = None) -> list[str]:
    resources: JsonObject = {"limits": limits, "requests": limits if requests is None else requests}
    return [f"{cause.field}: {cause.message}" for cause in validate_resources("r", resources)]


@pytest.mark.parametrize(
    "limits",
    [
        {"cpu": "500m", "memory": "1Gi"},
        {"a.b/gpu": "2"},
        {"hugepages-2Mi": "4Mi", "cpu": "1"},
        {"hugepages-2Mi": "0", "cpu": "1"},
        {},
    ],
)
def test_what_there_is_may_be_asked_for(limits: JsonObject) -> None:
    assert faults(limits) == []


def test_names_without_a_domain_are_known() -> None:
    assert faults({"gpu": "1"}, {}) == [
        'r.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified',
        'r.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers',
    ]
    assert faults({"pods": "1"}, {}) == [
        'r.limits[pods]: Invalid value: "pods": must be a standard resource for containers'
    ]
    assert "doesn't follow extended resource name standard" in faults({"requests.a/b": "1"}, {})[0]


def test_what_cannot_be_shared_is_whole_limited_and_asked_for_as_it_is_limited() -> None:
    assert faults({"a.b/gpu": "500m"}, {}) == ['r.limits[a.b/gpu]: Invalid value: "500m": must be an integer']
    assert faults({}, {"a.b/gpu": "1"}) == [
        "r.limits: Required value: Limit must be set for non overcommitable resources"
    ]
    assert faults({"a.b/gpu": "2"}, {"a.b/gpu": "1"}) == [
        'r.requests: Invalid value: "1": must be equal to a.b/gpu limit of 2'
    ]
    assert faults({"cpu": "2", "hugepages-2Mi": "4Mi"}, {"hugepages-2Mi": "2Mi"}) == [
        'r.requests: Invalid value: "2Mi": must be equal to hugepages-2Mi limit of 4Mi'
    ]


def test_huge_pages_come_whole_and_not_alone() -> None:
    assert faults({"hugepages-2Mi": "2Mi"}, {}) == ["r: Forbidden: HugePages require cpu or memory"]
    assert faults({"hugepages-2Mi": "3Mi", "cpu": "1"}, {}) == [
        'r: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi'
    ]


def test_less_than_nothing_and_more_than_the_limit_are_refused() -> None:
    assert faults({"cpu": "-1"}, {}) == ['r.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0']
    assert faults({"cpu": "1"}, {"cpu": "2"}) == [
        'r.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'
    ]


@pytest.mark.parametrize(
    ("ref", "of_volume", "fault"),
    [
        ({"resource": "limits.cpu", "divisor": "1m"}, False, ""),
        ({"resource": "limits.hugepages-2Mi", "divisor": "0"}, False, ""),
        ({"resource": "requests.memory", "divisor": "1Mi", "containerName": "c"}, True, ""),
        ({"resource": "requests.memory"}, True, "f.containerName: Required value"),
        ({}, False, "f.resource: Required value"),
        (
            {"resource": "limits.gpu"},
            False,
            'f.resource: Unsupported value: "limits.gpu": supported values: "limits.c',
        ),
        (
            {"resource": "limits.cpu", "divisor": "3"},
            False,
            (
                'f.divisor: Invalid value: "limits.cpu": only divisor\'s values 1m and 1 are supported with the cpu '
                "resource"
            ),
        ),
    ],
)
def test_amounts_are_shown_in_known_units(ref: JsonObject, of_volume: bool, fault: str) -> None:
    told = [f"{cause.field}: {cause.message}" for cause in validate_resource_field("f", ref, of_volume=of_volume)]
    assert len(told) == bool(fault) and "".join(told).startswith(fault)
