"""Structural schemas: pruning, defaults and validation of custom objects."""

from __future__ import annotations

import pytest

from cloudcore.registry.regexes import compiled
from cloudcore.registry.schema import Walk
from cloudcore.registry.structural import CAUSES_MAX, pruned, set_defaults, validate
from skerry.objects.json import Json, JsonObject


def root(**properties: Json) -> JsonObject:
    return {"type": "object", "properties": properties}


def test_pruning_keeps_what_is_known_free_or_common_to_all_objects() -> None:
    schema = root(
        spec={
            "type": "object",
            "properties": {
                "known": {"type": "string"},
                "map": {"type": "object", "additionalProperties": root(a={"type": "string"})},
                "list": {"type": "array", "items": root(a={"type": "string"})},
                "free": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"inner": root(a={"type": "string"})},
                },
                "pod": {"type": "object", "x-kubernetes-embedded-resource": True},
            },
        }
    )
    obj: JsonObject = {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "x"},
        "spec": {
            "known": "1",
            "odd": 1,
            "map": {"k": {"a": "1", "b": 2}},
            "list": [{"a": "1"}, {"b": 2}],
            "free": {"any": 1, "inner": {"a": "1", "b": 2}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {}},
        },
    }
    walk = Walk()
    assert pruned(schema, obj, walk)["spec"] == {
        "known": "1",
        "map": {"k": {"a": "1"}},
        "list": [{"a": "1"}, {}],
        "free": {"any": 1, "inner": {"a": "1"}},
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {}},
    }
    assert walk.unknown == ["spec.odd", "spec.map.k.b", "spec.list[1].b", "spec.free.inner.b", "spec.pod.spec"]


def test_defaults_fill_what_is_absent_or_null_and_nest() -> None:
    schema = root(
        a={"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 1}}},
        n={"type": "string", "nullable": True, "default": "x"},
        s={"type": "string", "default": "x"},
        d={"type": "string"},
        list={"type": "array", "items": root(c={"type": "string", "default": "y"})},
        map={"type": "object", "additionalProperties": root(c={"type": "string", "default": "z"})},
    )
    obj: JsonObject = {"n": None, "s": None, "d": None, "list": [{}], "map": {"k": {}}}
    set_defaults(schema, obj)
    assert obj == {"a": {"b": 1}, "n": None, "s": "x", "list": [{"c": "y"}], "map": {"k": {"c": "z"}}}
    again: JsonObject = {"a": {}}
    set_defaults(schema, again)
    assert again["a"] == {"b": 1}


REFUSED: list[tuple[Json, Json, str]] = [
    ({"type": "integer"}, "1", 'a: Invalid value: "string": a in body must be of type integer: "string"'),
    ({"type": "boolean"}, 1, 'a: Invalid value: "integer": a in body must be of type boolean: "integer"'),
    ({"type": "string"}, None, 'a: Invalid value: "null": a in body must be of type string: "null"'),
    (
        {"x-kubernetes-int-or-string": True},
        True,
        'a: Invalid value: "boolean": a in body must be of type integer,string: "boolean"',
    ),
    ({"type": "string", "enum": ["x"]}, "y", 'a: Unsupported value: "y": supported values: "x"'),
    ({"type": "integer", "enum": [1]}, 2, 'a: Unsupported value: 2: supported values: "1"'),
    ({"type": "string", "pattern": "^x"}, "y", "a: Invalid value: \"y\": a in body should match '^x'"),
    ({"type": "string", "maxLength": 1}, "xy", "a: Too long: may not be more than 1 bytes"),
    ({"type": "string", "minLength": 1}, "", 'a: Invalid value: "": a in body should be at least 1 chars long'),
    ({"type": "integer", "minimum": 1}, 0, "a: Invalid value: 0: a in body should be greater than or equal to 1"),
    (
        {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
        1,
        "a: Invalid value: 1: a in body should be greater than 1",
    ),
    ({"type": "number", "maximum": 1.5}, 2, "a: Invalid value: 2: a in body should be less than or equal to 1.5"),
    (
        {"type": "integer", "maximum": 1, "exclusiveMaximum": True},
        1,
        "a: Invalid value: 1: a in body should be less than 1",
    ),
    ({"type": "integer", "multipleOf": 2}, 3, "a: Invalid value: 3: a in body should be a multiple of 2"),
    ({"type": "integer", "format": "int32"}, 2**31, "a: Invalid value: 2147483648: a in body must be of type int32"),
    ({"type": "array", "maxItems": 1}, [1, 2], "a: Too many: 2: must have at most 1 items"),
    ({"type": "array", "minItems": 1}, [], "a: Invalid value: 0: a in body should have at least 1 items"),
    ({"type": "array", "x-kubernetes-list-type": "set"}, ["x", "x"], 'a[1]: Duplicate value: "x"'),
    (
        {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
        [{"k": "x", "v": 1}, {"k": "x", "v": 2}],
        'a[1]: Duplicate value: {"k":"x"}',
    ),
    ({"type": "object", "required": ["b"]}, {}, "a.b: Required value"),
    ({"type": "object", "maxProperties": 0}, {"b": 1}, "a: Too many: 1: must have at most 0 items"),
    (
        {"type": "string", "format": "date-time"},
        "soon",
        'a: Invalid value: "soon": a in body must be of type date-time',
    ),
    ({"type": "string", "format": "ipv4"}, "::1", 'a: Invalid value: "::1": a in body must be of type ipv4'),
    (
        {"type": "string", "format": "cidr"},
        "10.0.0.1",
        'a: Invalid value: "10.0.0.1": a in body must be of type cidr',
    ),
    ({"type": "string", "format": "duration"}, "1", 'a: Invalid value: "1": a in body must be of type duration'),
    (
        {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]},
        3,
        'a: Invalid value: 3: "a" must validate at least one schema (anyOf)',
    ),
    (
        {"type": "integer", "oneOf": [{"minimum": 1}, {"minimum": 2}]},
        3,
        'a: Invalid value: 3: "a" must validate one and only one schema (oneOf). Found 2 valid alternatives',
    ),
    ({"type": "integer", "not": {"minimum": 1}}, 3, 'a: Invalid value: 3: "a" must not validate the schema (not)'),
    (
        {"type": "integer", "allOf": [{"maximum": 1}]},
        3,
        "a: Invalid value: 3: a in body should be less than or equal",
    ),
    (
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"kind": "Pod"},
        "a.apiVersion: Required value: must not be empty",
    ),
]


@pytest.mark.parametrize(("schema", "value", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_a_value_against_its_schema_is_refused_in_known_words(schema: Json, value: Json, text: str) -> None:
    causes = validate(root(a=schema), {"a": value})
    assert len(causes) == 1, causes
    assert f"{causes[0].field}: {causes[0].message}".startswith(text)


GOOD: list[tuple[Json, Json]] = [
    ({"type": "integer"}, 1.0),
    ({"type": "number"}, 1),
    ({"type": "string", "nullable": True}, None),
    ({"x-kubernetes-int-or-string": True}, "5%"),
    ({"type": "string", "format": "unheard-of"}, "x"),
    ({"type": "string", "format": "duration"}, "1h30m"),
    ({"type": "string", "pattern": "b"}, "abc"),
    ({"type": "array", "x-kubernetes-list-type": "set"}, [1, True]),
    ({"type": "integer", "oneOf": [{"minimum": 5}, {"maximum": 3}]}, 3),
]


@pytest.mark.parametrize(("schema", "value"), GOOD)
def test_a_good_value_is_not_refused(schema: Json, value: Json) -> None:
    assert validate(root(a=schema), {"a": value}) == ()


def test_a_pattern_made_to_run_for_ever_does_not() -> None:
    schema = root(a={"type": "string", "pattern": "^(a+)+$"})
    assert len(validate(schema, {"a": "a" * 10_000 + "b"})) == 1
    assert validate(schema, {"a": "a" * 10_000}) == ()


@pytest.mark.parametrize("pattern", ["(", "(?=x)", "(a{1000}){1000}"])
def test_what_is_no_pattern_of_the_family_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        compiled(pattern)


def test_a_thousand_faults_are_told_in_part() -> None:
    schema = root(a={"type": "array", "items": {"type": "integer"}})
    wrong: list[Json] = ["x"] * 1000
    assert len(validate(schema, {"a": wrong})) == CAUSES_MAX
