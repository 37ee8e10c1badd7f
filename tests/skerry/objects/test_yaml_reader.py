"""What YAML means."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.errors import BadRequestError
from skerry.objects.yaml_reader import plain, read_documents, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("on", True), ("y", True), ("N", False), ("Off", False), ("TRUE", True),
        ("0777", 511), ("0o17", 15), ("0x1F", 31), ("0b11", 3), ("010", 8), ("09", 9), ("1_000", 1000), ("+5", 5),
        ("1:30", "1:30"), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("685_230.15", 685230.15),
        ("~", None), ("Null", None), ("", None), ("2001-01-01", "2001-01-01"), (".inf0", ".inf0"), ("v1", "v1"),
        ("1.2.3", "1.2.3"), ("-", "-"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_kubectl_reads_in_them(text: str, value: Any) -> None:
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


def test_quoted_scalars_and_tagged_ones_are_text() -> None:
    assert read_yaml("a: 'yes'\nb: \"0777\"\nc: !!str 5\nd: |\n  no\n")[0] == {
        "a": "yes",
        "b": "0777",
        "c": "5",
        "d": "no\n",
    }


def test_keys_are_text_and_repeated_ones_are_named() -> None:
    value, repeated = read_yaml("1: a\non: b\n1.5: c\nspec: {x: 1, x: 2}\nlist: [{k: 1, k: 2}]\n")
    assert value == {"1": "a", "true": "b", "1.5": "c", "spec": {"x": 2}, "list": [{"k": 2}]}
    assert repeated == ["spec.x", "list[0].k"]


def test_anchors_and_merges_unfold_and_own_keys_win() -> None:
    value, _ = read_yaml("base: &b {x: 1, z: 2}\nout:\n  <<: *b\n  z: 3\n")
    assert value == {"base": {"x": 1, "z": 2}, "out": {"x": 1, "z": 3}}


def test_a_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(BadRequestError, match="excessive aliasing"):
        read_yaml("\n".join(lines))


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "--- a\n--- b", "a: .inf", "? [x]\n: y", "a: !!python/object x"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadRequestError):
        read_yaml(text)


def test_each_document_has_a_value_and_tags_of_others_are_text_where_they_are_allowed() -> None:
    assert read_documents("a: yes\n---\n---\nb: 2020-13-45\n") == [{"a": True}, None, {"b": "2020-13-45"}]
    assert read_documents("a: !secret place\nb: !include\n", tags=True) == [{"a": "!secret place", "b": "!include"}]
    with pytest.raises(BadRequestError, match="unknown tag !secret"):
        read_documents("a: !secret place\n")
    bombs = "\n---\n".join("[x, y, z, [" + ", ".join(["1"] * 1000) + "]]" for _ in range(301))
    with pytest.raises(BadRequestError, match="excessive"):
        read_documents(bombs)


def test_a_cycle_is_refused() -> None:
    with pytest.raises(BadRequestError, match="excessive"):
        read_yaml("a: &a\n  b: *a\n")
