"""Slips of the pen in a test are named at once."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError
from skerry.testkit.arguments import check_gateway, checked_seconds


@pytest.mark.parametrize("name", ["BAD NAME", "", "plant_7", "-a", "a" * 53, 7, None])
def test_a_gateway_has_the_name_of_a_node(name: object) -> None:
    with pytest.raises(InvalidError, match="a gateway is named as its Node is: lower-case letters"):
        check_gateway(name, None)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("site=north", "labels: a dict of texts, not 'site=north'"),
        ({"site": 7}, "labels: 'site': 7: both must be texts"),
        ({"a b": "x"}, "labels: a b=x: "),
        ({"site": "x" * 64}, "labels: site="),
    ],
)
def test_labels_are_those_that_a_node_may_have(labels: object, said: str) -> None:
    with pytest.raises(InvalidError, match=f"^edge\\('plant-7'\\): {said}"):
        check_gateway("plant-7", labels)


def test_what_is_right_passes() -> None:
    check_gateway("a" * 52, {"topology.kubernetes.io/region": "eu", "site": ""})
    check_gateway("plant-7.example", None)
    assert checked_seconds(-0.5, "step") == -0.5


@pytest.mark.parametrize("seconds", ["x", None, True, float("nan"), float("inf")])
def test_a_span_of_time_is_a_number(seconds: object) -> None:
    with pytest.raises(InvalidError, match=r"clock.step: seconds as a number, such as 3600 or -0.5, not "):
        checked_seconds(seconds, "clock.step")
