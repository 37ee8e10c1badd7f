"""What a message says, and what says a value to the device."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from devices.layouts import parse_layout
from devices.payload import Binary, Layout, Said, parse_path, read_payload, written_bytes, written_text
from devices.port import PropertyConfig
from skerry.errors import InvalidError
from skerry.objects.json import Json
from skerry.objects.twins import Value


def layout(type: str, visitor: dict[str, Json]) -> Layout:
    prop = PropertyConfig(
        name="x", type=type, writable=True, unit="", minimum=None, maximum=None, collect_ms=1000, visitor=visitor
    )
    return parse_layout(visitor, prop, "x")


def read(payload: bytes, type: str = "FLOAT", **visitor: Json) -> Said:
    said = read_payload(payload, type, layout(type, visitor))
    assert said is not None
    return said


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
    said = read(payload, type)
    assert said.value == value and (said.source_ms, said.source_seq) == (None, None)


PATHS: dict[str, Json] = {"path": "$.t[0]", "timestampPath": "$.at", "sequencePath": "$.n"}


@pytest.mark.parametrize(
    ("at", "ms"),
    [("1750000000", 1_750_000_000_000), ("1750000000.25", 1_750_000_000_250), ("1750000000123", 1_750_000_000_123),
     ('"2025-06-15T15:06:40Z"', 1_750_000_000_000), ('"1750000000"', 1_750_000_000_000)],
)  # fmt: skip
def test_value_time_and_number_come_out_of_json(at: str, ms: int) -> None:
    said = read(f'{{"t": [1e2], "at": {at}, "n": 17}}'.encode(), "INT", **PATHS)
    assert (said.value, said.source_ms, said.source_seq) == (100, ms, 17)


@pytest.mark.parametrize(
    ("payload", "type", "says"),
    [
        (b"warm", "FLOAT", "not a number"),
        (b"\xff", "FLOAT", "not UTF-8"),
        (b"{", "JSON", "not JSON"),
        (b"[" * 100_000, "JSON", "not JSON"),
        (b'{"t": [], "at": 1, "n": 1}', "JSON", "the value is not there"),
        (b'{"t": [{}], "at": 1, "n": 1}', "JSON", "not one value"),
        (b'{"t": [true], "at": 1, "n": 1}', "JSON", "is true, not of type INT"),
        (b'{"t": [NaN], "at": 1, "n": 1}', "JSON", "NaN is not a number"),
        (b'{"t": ["\\ud800"], "at": 1, "n": 1}', "JSON", "half of a character"),
        (b'{"t": ["\xed\xa0\x80"], "at": 1, "n": 1}', "JSON", "not UTF-8"),
        (b'{"t": [1], "at": "noon", "n": 1}', "JSON", "timestamp 'noon'"),
        (b'{"t": [1], "at": "inf", "n": 1}', "JSON", "timestamp inf"),
        (b'{"t": [1], "at": 1, "n": 1.5}', "JSON", "sequence number 1.5"),
        (b"x" * 300_000, "STRING", "too large"),
    ],
)
def test_what_says_nothing_that_can_be_used_is_refused(payload: bytes, type: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        read(payload, "INT", **PATHS) if type == "JSON" else read(payload, type)


def test_a_regular_expression_takes_text_apart() -> None:
    wild = r"T=(?P<value>-?\d+(\.\d+)?) at (?P<timestamp>\S+) #(?P<sequence>\d+)"
    said = read(b"probe 3: T=-4.5 at 2025-06-15T15:06:40Z #12", regex=wild)
    assert (said.value, said.source_ms, said.source_seq) == (-4.5, 1_750_000_000_000, 12)
    assert read(b"T=7;", "INT", regex=r"T=(\d+)").value == 7
    with pytest.raises(InvalidError, match="not there"):
        read(b"nothing", regex=r"T=(\d+)")
    with pytest.raises(InvalidError, match="too long"):
        read(b"T=7" + b"x" * 5000, regex=r"T=(\d+)")


def test_columns_are_taken_out_of_a_row() -> None:
    csv: Json = {"column": 2, "timestampColumn": 0, "sequenceColumn": 1, "separator": ";"}
    said = read(b'1750000000;4;"21.5";x\nsecond row', csv=csv)
    assert (said.value, said.source_ms, said.source_seq) == (21.5, 1_750_000_000_000, 4)
    with pytest.raises(InvalidError, match="not there"):
        read(b"1750000000;4", csv=csv)


@pytest.mark.parametrize(
    ("payload", "type", "binary", "value"),
    [
        ("0102", "INT", {"dataType": "uint16"}, 258),
        ("0102", "INT", {"dataType": "uint16", "order": "DCBA"}, 513),
        ("00fe", "INT", {"dataType": "int8", "offset": 1}, -2),
        ("0000bc41", "FLOAT", {"dataType": "float32", "order": "DCBA"}, 23.5),
        ("ff04", "BOOLEAN", {"bit": 2, "offset": 1}, True),
        ("ff04", "BOOLEAN", {"bit": 0, "offset": 1}, False),
        ("4869 0000", "STRING", {"dataType": "string", "length": 4}, "Hi"),
        ("01 02 03", "BYTES", {"dataType": "bytes", "offset": 1, "length": 2}, b"\x02\x03"),
    ],
)
def test_bytes_are_read_at_their_place(payload: str, type: str, binary: Json, value: Value) -> None:
    assert read(bytes.fromhex(payload), type, binary=binary).value == value


def test_bytes_that_are_not_there_are_no_value() -> None:
    with pytest.raises(InvalidError, match="has no 4 from byte 0 on"):
        read(b"\x01\x02\x03", binary={"dataType": "float32"})
    with pytest.raises(InvalidError, match="not a finite number"):
        read(struct.pack(">f", math.nan), binary={"dataType": "float32"})


@given(some.integers(-(2**31), 2**31 - 1), some.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]))
def test_bytes_that_were_written_are_read_as_the_same(value: int, order: str) -> None:
    made = layout("INT", {"binary": {"dataType": "int32", "order": order}})
    assert isinstance(made.source, Binary)
    payload = written_bytes(value, made.source)
    assert read_payload(payload, "INT", made) == Said(value=value, source_ms=None, source_seq=None)


@given(some.integers(-128, 255))
def test_a_byte_takes_what_fits_into_it(value: int) -> None:
    made = layout("INT", {"binary": {"dataType": "int8"}})
    assert isinstance(made.source, Binary)
    if value < 128:
        assert read_payload(written_bytes(value, made.source), "INT", made) == Said(
            value=value, source_ms=None, source_seq=None
        )
    else:
        with pytest.raises(InvalidError, match="does not fit"):
            written_bytes(value, made.source)


def test_texts_have_the_meaning_that_is_given_them_both_ways() -> None:
    made = layout("BOOLEAN", {"values": {"OPEN": True, "CLOSED": False}})
    assert [read_payload(text, "BOOLEAN", made) for text in (b"OPEN", b"CLOSED")] == [
        Said(value=True, source_ms=None, source_seq=None),
        Said(value=False, source_ms=None, source_seq=None),
    ]
    assert (written_text(True, "BOOLEAN", made), written_text(False, "BOOLEAN", made)) == ("OPEN", "CLOSED")
    with pytest.raises(InvalidError, match="not a BOOLEAN"):
        read_payload(b"AJAR", "BOOLEAN", made)
    with pytest.raises(InvalidError, match="no text that means false"):
        written_text(False, "BOOLEAN", layout("BOOLEAN", {"values": {"GO": True}}))


def test_a_scale_is_exact_both_ways() -> None:
    made = layout("FLOAT", {"scale": 0.1, "valueOffset": -40})
    assert read_payload(b"615", "FLOAT", made) == Said(value=21.5, source_ms=None, source_seq=None)
    assert written_text(21.5, "FLOAT", made) == "615"
    assert written_text(1e-07, "FLOAT", layout("FLOAT", {})) == "0.0000001"
    assert written_text(10.0, "FLOAT", layout("FLOAT", {"scale": 3})) == "3.333333333333"


@given(some.decimals(-1_000_000, 1_000_000, places=2), some.sampled_from(["0.1", "0.25", "10", "-2"]))
def test_what_was_written_through_a_scale_is_read_as_the_same(value: object, scale: str) -> None:
    made = layout("DOUBLE", {"scale": scale, "valueOffset": "1.5"})
    wanted = float(str(value))
    said = read_payload(written_text(wanted, "DOUBLE", made).encode(), "DOUBLE", made)
    assert said is not None and said.value == wanted


def test_a_message_without_the_value_says_nothing_of_it_where_that_is_allowed() -> None:
    made = layout("FLOAT", {"path": "$.t", "missing": "ignore"})
    assert read_payload(b'{"h": 4}', "FLOAT", made) is None
    with pytest.raises(InvalidError, match="not one value"):
        read_payload(b'{"t": {}}', "FLOAT", made)


@pytest.mark.parametrize(
    ("type", "visitor", "says"),
    [
        ("FLOAT", {"path": "$.t", "regex": "(x)"}, "regex: a payload has one form, and path says another"),
        ("FLOAT", {"regex": "("}, "not a regular expression"),
        ("FLOAT", {"regex": "(a)(b)"}, "name the group"),
        ("FLOAT", {"regex": "(?P<v>a)"}, "'v' has no meaning"),
        ("FLOAT", {"csv": {"separator": ","}}, "csv.column: required"),
        ("FLOAT", {"csv": {"column": 1, "separator": "::"}}, "must be one character"),
        ("FLOAT", {"binary": {"dataType": "float24"}}, "is not one of"),
        ("FLOAT", {"binary": {"dataType": "string", "length": 3}}, "string is no FLOAT"),
        ("BYTES", {"binary": {"dataType": "uint8"}}, "uint8 is no BYTES"),
        ("FLOAT", {"binary": {"dataType": "float32", "order": "ABDC"}}, "does not exist for 4 bytes"),
        ("FLOAT", {"binary": {"dataType": "float32", "length": 4}}, "only string and bytes"),
        ("BOOLEAN", {"binary": {"dataType": "uint16", "bit": 1}}, "leave dataType out"),
        ("STRING", {"scale": 2}, "only numbers"),
        ("FLOAT", {"scale": 0}, "can't be 0"),
        ("BOOLEAN", {"values": {"x": 7}}, "not a BOOLEAN"),
        ("BOOLEAN", {"missing": "skip"}, "neither bad nor ignore"),
    ],
)
def test_a_mistake_in_a_layout_is_refused(type: str, visitor: dict[str, Json], says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        layout(type, visitor)
    assert says in str(refusal.value)
