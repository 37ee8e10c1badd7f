"""Bodies: what is repeated, and what can't be read at all."""

from __future__ import annotations

import pytest

from cloudcore.api.reading import parse_json
from skerry.errors import BadRequestError


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"a":Infinity}', b'"\\ud800"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_text_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_json(body)


def test_repeated_keys_are_named_with_their_path_and_the_last_counts() -> None:
    body = parse_json(b'{"a":1,"a":2,"l":[{"x":{"k":1,"k":2,"k":3}}]}')
    assert body.value == {"a": 2, "l": [{"x": {"k": 3}}]}
    assert body.duplicates == ("a", "l[0].x.k")


def test_a_whole_surrogate_pair_is_text() -> None:
    assert parse_json(b'"\\ud83d\\ude00"').value == "\U0001f600"
