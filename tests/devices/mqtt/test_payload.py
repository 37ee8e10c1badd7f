"""What a message says."""

from __future__ import annotations

import pytest

from devices.mqtt.payload import Layout, parse_path, read_payload
from skerry.errors import InvalidError

PLAIN = Layout(value=None)


@pytest.mark.parametrize(
    ("text", "path"),
    [("$", ()), ("$.a.b", ("a", "b")), ("$['a b'][0].c-d", ("a b", 0, "c-d")), ('$["x"]', ("x",))],
)
def test_a_path_names_one_place(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["a", "$.", "$[", "$..a", "$.a[*]", "$.a b"])
def test_what_does_not_name_one_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_path(text)


@pytest.mark.parametrize(
    ("payload", "type", "value"),
    [
        (b" 21.5\n", "FLOAT", 21.5),
        (b"7", "INT", 7),
        (b"ON", "BOOLEAN", True),
        ("grün".encode(), "STRING", "grün"),
        (b"\x00\xff", "BYTES", b"\x00\xff"),
    ],
)
def test_a_plain_payload_is_the_value(payload: bytes, type: str, value: object) -> None:
    said = read_payload(payload, type, PLAIN)
    assert said.value == value and (said.source_ms, said.source_seq) == (None, None)


LAYOUT = Layout(value=("t", 0), timestamp=("at",), sequence=("n",))


@pytest.mark.parametrize(
    ("at", "ms"),
    [("1750000000", 1_750_000_000_000), ("1750000000.25", 1_750_000_000_250), ("1750000000123", 1_750_000_000_123),
     ('"2025-06-15T15:06:40Z"', 1_750_000_000_000)],
)  # fmt: skip
def test_value_time_and_number_come_out_of_json(at: str, ms: int) -> None:
    said = read_payload(f'{{"t": [1e2], "at": {at}, "n": 17}}'.encode(), "INT", LAYOUT)
    assert (said.value, said.source_ms, said.source_seq) == (100, ms, 17)


@pytest.mark.parametrize(
    ("payload", "type", "says"),
    [
        (b"warm", "FLOAT", "not a number"),
        (b"\xff", "FLOAT", "not UTF-8"),
        (b"{", "JSON", "not JSON"),
        (b'{"t": [], "at": 1, "n": 1}', "JSON", "the value is not there"),
        (b'{"t": [{}], "at": 1, "n": 1}', "JSON", "not one value"),
        (b'{"t": [true], "at": 1, "n": 1}', "JSON", "is true, not of type INT"),
        (b'{"t": [NaN], "at": 1, "n": 1}', "JSON", "NaN is not a number"),
        (b'{"t": [1], "at": "noon", "n": 1}', "JSON", "timestamp 'noon'"),
        (b'{"t": [1], "at": 1, "n": 1.5}', "JSON", "sequence number 1.5"),
        (b"x" * 300_000, "STRING", "too large"),
    ],
)
def test_what_says_nothing_that_can_be_used_is_refused(payload: bytes, type: str, says: str) -> None:
    layout, type = (LAYOUT, "INT") if type == "JSON" else (PLAIN, type)
    with pytest.raises(InvalidError, match=says):
        read_payload(payload, type, layout)
