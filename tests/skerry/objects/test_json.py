"""JSON of others is read or refused, and what was read can be written out again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from skerry.errors import InvalidError
from skerry.objects.json import encode_object, read_json


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (rb'{"a": ["\ud800"]}', r"\\ud800 is half of a character"),
        (rb'{"\udfff": 1}', r"\\udfff is half of a character"),
        (b'"\xed\xa0\x80"', "the body is not JSON"),
        (b"NaN", "NaN is not a number"),
        ("9" * 5000, "the body is not JSON"),
    ],
)
def test_what_could_not_be_written_out_again_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        read_json(text, "the body")


def test_both_halves_of_a_character_are_one() -> None:
    assert read_json(rb'"\ud83d\ude00 \\ud800"') == "\U0001f600 \\ud800"


@given(some.binary(max_size=60) | some.lists(some.sampled_from('"\\ud8f0c{}[]:,1 '), max_size=40).map("".join))
def test_nothing_is_more_than_refused(text: str | bytes) -> None:
    try:
        value = read_json(text)
    except InvalidError:
        return
    encode_object({"value": value})
