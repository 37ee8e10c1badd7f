"""Free-form configuration in `google.protobuf.Any`, against Google's own messages."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from google.protobuf import any_pb2, json_format, struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from devices.dmi import messages
from devices.dmi.codec import encode
from devices.dmi.values import DEPTH_MAX, any_of, anys, json_of
from skerry.errors import ProtocolError
from skerry.objects.json import Json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=12,
)


def theirs(value: Json) -> any_pb2.Any:
    return any_pb2.Any.FromString(encode(any_of(value)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/dev/ttyS0", wrappers_pb2.StringValue(value="/dev/ttyS0")),
        ("", wrappers_pb2.StringValue()),
        (True, wrappers_pb2.BoolValue(value=True)),
        (False, wrappers_pb2.BoolValue()),
        (9600, wrappers_pb2.FloatValue(value=9600)),
        (0, wrappers_pb2.FloatValue()),
        (23.1, wrappers_pb2.FloatValue(value=23.1)),
        (1e300, wrappers_pb2.FloatValue(value=3.4028234e38)),
        (16_777_217, wrappers_pb2.Int64Value(value=16_777_217)),
        (-(2**62) - 1, wrappers_pb2.Int64Value(value=-(2**62) - 1)),
        (
            [1, "a"],
            struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1), struct_pb2.Value(string_value="a")]),
        ),
    ],
)
def test_a_value_is_the_message_that_kubeedge_makes_of_it(value: Json, message: Any) -> None:
    kind = type(message)
    held = kind()
    assert theirs(value).Unpack(held)
    assert held == message


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_objects_are_googles_own_json(value: dict[str, Json]) -> None:
    held = struct_pb2.Struct()
    assert theirs(value).Unpack(held)
    assert json.loads(json_format.MessageToJson(held)) == value


@given(JSON)
def test_what_was_wrapped_is_the_same_when_it_comes_out(value: Json) -> None:
    assert json_of(any_of(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_float_of_32_bits_comes_out_as_itself(value: float) -> None:
    read = json_of(any_of(value))
    assert isinstance(read, int | float) and struct.unpack("<f", struct.pack("<f", read))[0] == value


def test_a_decimal_stays_what_was_written() -> None:
    assert json_of(any_of(23.1)) == 23.1 and json_of(any_of(9600)) == 9600


def test_what_a_go_program_may_send_is_read() -> None:
    for message, value in (
        (wrappers_pb2.Int32Value(value=-5), -5),
        (wrappers_pb2.DoubleValue(value=0.1), 0.1),
        (wrappers_pb2.UInt64Value(value=2**63), 2**63),
        (struct_pb2.Value(bool_value=True), True),
    ):
        wrapped = any_pb2.Any()
        wrapped.Pack(message)
        assert json_of(messages.Any(type_url=wrapped.type_url, value=wrapped.value)) == value


def test_what_has_no_value_is_left_out() -> None:
    assert {name: json_of(value) for name, value in anys({"a": None, "b": "c"}).items()} == {"b": "c"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (messages.Any(type_url="type.googleapis.com/google.protobuf.Duration"), "none of JSON"),
        (messages.Any(type_url="x/google.protobuf.FloatValue", value=b"\x0a\x01a"), "wrong size"),
        (messages.Any(type_url="x/google.protobuf.FloatValue", value=b"\x08\x01"), "should be"),
        (messages.Any(type_url="x/google.protobuf.BoolValue", value=b"\x0a\x01a"), "should be"),
    ],
)
def test_what_is_no_value_is_refused(value: messages.Any, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        json_of(value)


def test_depth_is_bounded_both_ways() -> None:
    deep: Json = []
    for _ in range(200):
        deep = [deep]
    read = json_of(any_of(deep))
    depth = 0
    while isinstance(read, list) and read:
        read, depth = read[0], depth + 1
    assert depth <= DEPTH_MAX + 2
    nested = b""
    for _ in range(500):
        value = b"\x32" + bytes(_varint(len(nested))) + nested
        nested = b"\x0a" + bytes(_varint(len(value))) + value
    with pytest.raises(ProtocolError, match="deeper"):
        json_of(messages.Any(type_url="x/google.protobuf.ListValue", value=nested))


def _varint(number: int) -> list[int]:
    out: list[int] = []
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return [*out, number]
