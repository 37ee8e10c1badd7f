"""Registers to values and back."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.codec import REGISTERS, Codec, RawType, decode, encode, mask_of, positions
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


def test_names_stand_for_raw_values_and_others_are_none() -> None:
    made = codec("uint16", "STRING", names={0: "off", 1: "heating", 0x8000: "fault"})
    assert decode(made, [1]) == "heating" and encode(made, "fault") == [0x8000]
    with pytest.raises(InvalidError, match="2 has no name in enum"):
        decode(made, [2])
    with pytest.raises(InvalidError, match="'cold' is not one of off, heating, fault"):
        encode(made, "cold")


def test_a_bit_field_is_the_names_of_its_bits() -> None:
    made = codec("uint16", "STRING", flags={0: "pump", 3: "alarm", 15: "remote"})
    assert decode(made, [0x8001]) == "pump,remote"
    assert decode(made, [0x0000]) == "none"
    assert decode(made, [0x0010]) == "bit4", "a bit without a name is shown, not hidden"
    assert encode(made, "pump,alarm") == [9] and encode(made, "none") == [0]
    with pytest.raises(InvalidError, match="would be read back as 'pump,alarm': write it so"):
        encode(made, "alarm,pump")
    with pytest.raises(InvalidError, match="'bit4' is not one of pump, alarm, remote"):
        encode(made, "bit4")
    assert mask_of(made) == 0x8009, "bits without a name are left alone"
    assert decode(codec("uint32", "STRING", flags={31: "top"}, order="CDAB"), [0, 0x8000]) == "top"


def test_a_part_of_a_register_is_a_number_in_its_place() -> None:
    made = codec("uint16", mask=0x0F00)
    assert decode(made, [0xA5FF]) == 5 and encode(made, 5) == [0x0500] and mask_of(made) == 0x0F00
    with pytest.raises(InvalidError, match="does not fit into the bits of mask 0x0f00"):
        encode(made, 16)
    for raw, mask, word in (("int8h", 0xFF00, 0xFE00), ("int8l", 0x00FF, 0x00FE)):
        byte = codec(raw)  # pyright: ignore[reportArgumentType] - a table of types
        assert encode(byte, -2) == [word] and mask_of(byte) == mask and decode(byte, [word]) == -2
        with pytest.raises(InvalidError, match="does not fit into int8"):
            encode(byte, 128)
    assert encode(codec("bool", "BOOLEAN", bit=4), True) == [16]
    assert encode(codec("bool", "BOOLEAN", bit=4), False) == [0]


@given(st.sampled_from(("uint16", "int8h", "uint8l")), st.integers(-200, 300), st.integers(0, 0xFFFF))
def test_what_is_written_of_a_part_leaves_the_rest_alone(raw: RawType, value: int, held: int) -> None:
    made = codec(raw, mask=0x07C0 if raw == "uint16" else None)
    mask = mask_of(made)
    assert mask is not None
    try:
        (bits,) = encode(made, value)
    except InvalidError:
        return
    assert bits & ~mask == 0
    assert decode(made, [held & ~mask | bits]) == value


def test_four_decimal_digits_a_register() -> None:
    made = codec("mod10k", count=3)
    assert decode(made, [12, 3456, 7890]) == 1_234_567_890 and encode(made, 1_234_567_890) == [12, 3456, 7890]
    assert decode(codec("mod10k", count=2, order="CDAB"), [3456, 12]) == 123_456
    with pytest.raises(InvalidError, match="not four decimal digits"):
        decode(made, [0, 0, 10_000])
    assert decode(codec("bcd64"), [0x1234, 0x5678, 0x9012, 0x3456]) == 1234567890123456


def test_texts_of_every_kind() -> None:
    assert decode(codec("string", "STRING", count=3, one_char="low"), [0x41, 0x42, 0]) == "AB"
    assert encode(codec("string", "STRING", count=3, one_char="high"), "AB") == [0x4100, 0x4200, 0]
    assert encode(codec("string", "STRING", count=2, padding="blank"), "A") == [0x4120, 0x2020]
    assert encode(codec("string", "STRING", count=2, order="BADC"), "ABC") == [0x4241, 0x0043]
    wide = codec("string", "STRING", count=3, encoding="utf-16-be")
    assert decode(wide, [0x0041, 0x20AC, 0]) == "A€" and encode(wide, "A€") == [0x0041, 0x20AC, 0]
    with pytest.raises(InvalidError, match="does not fit into 2 registers"):
        encode(codec("string", "STRING", count=2, one_char="low"), "ABC")


def test_what_is_written_must_be_a_step() -> None:
    made = codec("uint16", "FLOAT", scale=Decimal("0.1"), step=Decimal("0.5"), minimum=5.2, maximum=30.0)
    assert encode(made, 6.7) == [67]
    with pytest.raises(InvalidError, match=r"6\.5 is between two steps of 0\.5: take 6\.2 or 6\.7"):
        encode(made, 6.5)


def test_moments_are_counted_from_an_epoch_or_stand_in_registers_of_their_own() -> None:
    made = codec("uint32", "STRING", moment="seconds", order="CDAB")
    assert decode(made, [0xF100, 0x6553]) == "2023-11-14T22:13:20Z"
    assert encode(made, "2023-11-14T22:13:20Z") == [0xF100, 0x6553]
    with pytest.raises(InvalidError, match="would be read back as"):
        encode(made, "2023-11-14T23:13:20+01:00")
    date = codec("moment", "STRING", moment="ymdhms3", count=3)
    assert decode(date, [0x1A0B, 0x1C0D, 0x0509]) == "2026-11-28T13:05:09Z"
    assert encode(date, "2026-11-28T13:05:09Z") == [0x1A0B, 0x1C0D, 0x0509]


STRUCT = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f"}


@given(st.sampled_from(sorted(STRUCT)), st.binary(min_size=8, max_size=8), st.permutations(range(8)))
def test_every_order_of_letters_is_what_struct_makes_of_the_bytes_put_right(
    raw: RawType, data: bytes, order: list[int]
) -> None:
    size = struct.calcsize(STRUCT[raw])
    order = [at for at in order if at < size] if size == 8 else list(range(size))
    (wanted,) = struct.unpack(">" + STRUCT[raw], data[:size])
    wire = bytes(data[at] for at in order)
    made = codec(raw, "DOUBLE" if raw == "float32" else "INT", order="".join(chr(65 + at) for at in order))
    if size != 8:
        made = codec(raw, made.type)
    try:
        got = decode(made, words(wire))
    except InvalidError:
        assert (raw == "float32" and wanted in (float("inf"), float("-inf"))) or wanted != wanted
        return
    assert got == wanted or (raw == "float32" and struct.pack(">f", got) == data[:4])
