"""Registers to values and back."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.codec import REGISTERS, Codec, RawType, decode, encode, positions
from skerry.errors import InvalidError


def codec(raw: RawType, type: str = "INT", **more: object) -> Codec:
    given: dict[str, object] = {"count": REGISTERS.get(raw, 4), **more}
    return Codec(raw=raw, type=type, **given)  # pyright: ignore[reportArgumentType] - a table of tests


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


FLOAT = struct.pack(">f", 23.4)


@pytest.mark.parametrize(
    ("order", "wire"),
    [
        ("ABCD", FLOAT),
        ("CDAB", FLOAT[2:] + FLOAT[:2]),
        ("BADC", bytes([FLOAT[1], FLOAT[0], FLOAT[3], FLOAT[2]])),
        ("DCBA", FLOAT[::-1]),
    ],
)
def test_a_float_is_the_same_in_every_order(order: str, wire: bytes) -> None:
    made = codec("float32", "FLOAT", order=order)
    assert decode(made, words(wire)) == 23.4
    assert encode(made, 23.4) == words(wire)


def test_64_bit_orders_by_meaning_and_by_letters() -> None:
    assert positions("CDAB", 8) == (6, 7, 4, 5, 2, 3, 0, 1) == positions("GHEFCDAB", 8)
    assert positions("BADC", 8) == positions("BADCFEHG", 8)
    assert positions("DCBA", 8) == (7, 6, 5, 4, 3, 2, 1, 0)
    assert decode(codec("uint64", order="CDABGHEF"), [2, 1, 4, 3]) == 0x0001_0002_0003_0004
    with pytest.raises(InvalidError, match="ABCD"):
        positions("ABDC", 8)


@pytest.mark.parametrize(
    ("raw", "registers", "value"),
    [
        ("int16", [0xFFFE], -2),
        ("uint16", [0xFFFE], 65534),
        ("int8h", [0xFE01], -2),
        ("uint8l", [0x01FE], 254),
        ("int32", [0xFFFF, 0xFFFE], -2),
        ("uint64", [0xFFFF] * 4, 2**64 - 1),
        ("bcd16", [0x1234], 1234),
        ("bcd32", [0x1234, 0x5678], 12345678),
    ],
)
def test_integers_of_all_sizes(raw: RawType, registers: list[int], value: int) -> None:
    assert decode(codec(raw), registers) == value


@given(
    st.sampled_from(["int16", "uint16", "int32", "uint32", "int64", "uint64"]),
    st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]),
    st.integers(-(2**63), 2**64 - 1),
)
def test_what_is_written_reads_back_or_is_refused(raw: RawType, order: str, value: int) -> None:
    made = codec(raw, order=order)
    try:
        registers = encode(made, value)
    except InvalidError:
        bits = REGISTERS[raw] * 16
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if raw.startswith("int") else (0, 2**bits)
        assert not low <= value < high
    else:
        assert decode(made, registers) == value


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]))
def test_every_finite_double_survives(value: float, order: str) -> None:
    made = codec("float64", "DOUBLE", order=order)
    assert decode(made, encode(made, value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_32_bit_float_is_shown_by_the_shortest_decimal_that_means_it(value: float) -> None:
    made = codec("float32", "FLOAT")
    shown = decode(made, encode(made, value))
    assert isinstance(shown, float)
    (read,) = struct.unpack(">f", struct.pack(">f", shown))
    assert read == value


def test_scale_and_offset_are_exact_and_inverted_for_writes() -> None:
    made = codec("int16", "FLOAT", scale=Decimal("0.1"), offset=Decimal("-40"))
    assert decode(made, [635]) == 23.5
    assert encode(made, 23.5) == [635]
    with pytest.raises(InvalidError, match="between two steps"):
        encode(made, 23.55)
    assert encode(codec("int16", "FLOAT", scale=Decimal("0.1"), tolerance=0.05), 23.55) in ([235], [236])


def test_an_int_with_a_scale_is_rounded_as_declared() -> None:
    assert decode(codec("uint16", "INT", scale=Decimal("0.1")), [235]) == 24
    assert decode(codec("uint16", "BOOLEAN"), [7]) is True


def test_values_out_of_range_are_refused() -> None:
    made = codec("int16", "INT", minimum=0.0, maximum=90.0)
    assert encode(made, 90) == [90]
    with pytest.raises(InvalidError, match="above the maximum of 90"):
        encode(made, 91)
    with pytest.raises(InvalidError, match="below the minimum of 0"):
        encode(made, -1)
    with pytest.raises(InvalidError, match="does not fit"):
        encode(codec("int16"), 40000)
    with pytest.raises(InvalidError, match="digits"):
        encode(codec("bcd16"), 10000)


@pytest.mark.parametrize(
    ("made", "registers"),
    [
        (codec("float32", "FLOAT"), [0x7FC0, 0]),
        (codec("int16", sentinels=frozenset({0x8000})), [0x8000]),
        (codec("bcd16"), [0x12AB]),
        (codec("string", "STRING", count=1), [0xFFFE]),
        (codec("int32"), [1]),
    ],
)
def test_what_is_no_value_is_refused(made: Codec, registers: list[int]) -> None:
    with pytest.raises(InvalidError):
        decode(made, registers)


def test_texts_end_at_the_first_zero_and_may_be_byte_swapped() -> None:
    made = codec("string", "STRING", count=3, order="BADC")
    assert encode(made, "pump") == [0x7570, 0x706D, 0]
    assert decode(made, [0x7570, 0x706D, 0]) == "pump"
    with pytest.raises(InvalidError, match="does not fit"):
        encode(made, "pumpstation")


def test_a_bit_of_a_register_is_a_boolean() -> None:
    assert decode(codec("bool", "BOOLEAN", bit=3), [0b1000]) is True
    assert decode(codec("bool", "BOOLEAN", bit=2), [0b1000]) is False
