"""Fields of the Protocol Buffers wire format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.wire.fields import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Budget,
    delimited,
    fields_in,
    read_varint,
    tag,
    varint,
)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_a_number_comes_back_and_what_follows_is_left(value: int, rest: bytes) -> None:
    data = varint(value) + rest
    assert read_varint(data, 0) == (value, len(data) - len(rest))


def test_fields_come_in_order_with_their_form() -> None:
    data = (
        tag(1, VARINT)
        + varint(300)
        + delimited(2, b"ab")
        + tag(3, FIXED32)
        + b"\1\0\0\0"
        + tag(4, FIXED64)
        + bytes(8)
    )
    assert list(fields_in(data, Budget(4))) == [(1, VARINT, 300), (2, BYTES, b"ab"), (3, FIXED32, 1), (4, FIXED64, 0)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80", "cut short"),
        (b"\xff" * 10 + b"\x01", "more than ten bytes"),
        (b"\xff" * 9 + b"\x7f", "over 64 bits"),
        (b"\x00", "field number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x05ab", "a field is cut short"),
        (b"\x0d\x01", "a field is cut short"),
    ],
)
def test_what_is_no_field_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        list(fields_in(data, Budget(10)))


def test_fields_of_all_that_is_in_a_message_are_counted_together() -> None:
    budget = Budget(3)
    list(fields_in(delimited(1, b"") * 2, budget))
    with pytest.raises(ProtocolError, match="more than 3 fields"):
        list(fields_in(delimited(1, b"") * 2, budget))


@given(st.binary(max_size=64))
def test_whatever_comes_in_it_is_fields_or_an_error(data: bytes) -> None:
    try:
        list(fields_in(data, Budget(100)))
    except ProtocolError:
        return
