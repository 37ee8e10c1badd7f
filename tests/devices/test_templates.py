"""Texts with places for values."""

from __future__ import annotations

import json

import pytest

from devices.templates import as_json, command_in, fill, template_in
from skerry.errors import InvalidError

KNOWN = ("value", "json", "device")


def test_values_stand_in_their_places_and_what_has_none_is_empty() -> None:
    template = template_in({"body": "${device}: ${value} $$ ${json}"}, "body", "here", KNOWN, default="")
    assert fill(template, {"value": "5", "device": "d"}) == "d: 5 $ "


@pytest.mark.parametrize(
    ("text", "said"),
    [("${vaule}", "${vaule} is unknown; there are ${value}"), ("5 $", "written $$"), ("${device}", "must contain")],
)
def test_a_mistake_is_found_when_the_manifest_is_read(text: str, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        command_in({"body": text}, "body", "here", KNOWN)
    assert said in str(caught.value) and "here.body" in str(caught.value)


def test_a_command_without_a_template_is_the_value() -> None:
    assert fill(command_in({}, "body", "here", KNOWN), {"value": "x"}) == "x"


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        (5, "5", 5),
        (True, "true", True),
        (True, "ON", "ON"),
        ("5", "5", "5"),
        (2.5, "2.5", 2.5),
        ('a"b', 'a"b', 'a"b'),
    ],
)
def test_a_value_as_json_is_what_it_is(value: int | bool | str | float, text: str, expected: object) -> None:
    assert json.loads(as_json(value, text)) == expected
