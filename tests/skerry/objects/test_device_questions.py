"""Questions about devices: written, read, and refused where they make no sense."""

from __future__ import annotations

import pytest

from skerry.errors import BadRequestError
from skerry.objects.device_questions import (
    PROPERTIES_MAX,
    Discover,
    Explain,
    Question,
    Read,
    discover_of,
    question_of,
)
from skerry.objects.json import JsonObject


@pytest.mark.parametrize(
    "question",
    [
        Explain(namespace="ns", device="d", uid="u", prop="t"),
        Explain(namespace="ns", device="d", uid="", prop="t", value=""),
        Discover(namespace="ns"),
        Discover(namespace="ns", seconds=9),
        Read(namespace="ns", device="d", uid="u", props=()),
        Read(namespace="ns", device="d", uid="u", props=("a", "b"), fresh_ms=5000, timeout_s=3),
    ],
)
def test_what_is_asked_is_what_arrives(question: Question) -> None:
    assert question_of(question.params()) == question


def test_what_a_query_says_in_text_is_understood() -> None:
    assert discover_of({"seconds": "7"}) == Discover(namespace="default", seconds=7)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"ask": "explain", "device": "d"}, "names its namespace"),
        ({"ask": "explain", "namespace": "n", "device": "d"}, "property: required"),
        ({"ask": "explain", "namespace": "n", "device": "d", "property": "t", "value": 5}, "value: must be a text"),
        (
            {"ask": "sing", "namespace": "n", "device": "d"},
            "'sing': it knows explain, read, line, checkup and discover",
        ),
        ({"ask": "discover", "namespace": "A b"}, "is no name of a namespace"),
        ({"ask": "discover", "seconds": 0}, "seconds: must be a whole number from 1 to 25"),
        ({"ask": "discover", "seconds": "x"}, "seconds: must be a whole number"),
        ({"ask": "read", "namespace": "n", "device": "d", "freshMs": -1}, "freshMs: must be a whole number from 0"),
        ({"ask": "read", "namespace": "n", "device": "d", "freshMs": True}, "freshMs"),
        ({"ask": "read", "namespace": "n", "device": "d", "timeoutSeconds": 51}, "from 1 to 50"),
        ({"ask": "read", "namespace": "n", "device": "d", "properties": ["p"] * (PROPERTIES_MAX + 1)}, "at most 64"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(params: JsonObject, why: str) -> None:
    with pytest.raises(BadRequestError, match=why):
        question_of(params)
