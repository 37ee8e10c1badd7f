"""The byte-order detective."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.codec import Codec, RawType, encode
from devices.modbus.detective import ORDERS, guesses


def words(raw: RawType, order: str, value: float, count: int = 2) -> list[int]:
    type = "DOUBLE" if raw.startswith("float") else "INT"
    return encode(Codec(raw=raw, type=type, count=count, order=order), value)


@pytest.mark.parametrize("order", ORDERS[2])
@pytest.mark.parametrize("value", [23.4, -5.25, 1013.2, 49.98])
def test_a_float_that_moves_a_little_is_found_in_every_order(order: str, value: float) -> None:
    samples = [words("float32", order, value + step) for step in (0.0, 0.1, 0.2)]
    best = guesses(samples)[0]
    assert (best.raw, best.order) == ("float32", order)


def test_a_counter_of_two_registers_is_found() -> None:
    samples = [words("uint32", "CDAB", 123_456 + at) for at in range(3)]
    first = [(guess.raw, guess.order) for guess in guesses(samples)[:3]]
    assert ("uint32", "CDAB") in first


def test_a_text_is_found() -> None:
    samples = [[0x534B, 0x4552, 0x5259, 0x2D31]]
    best = guesses(samples)[0]
    assert (best.raw, best.values) == ("string", ("SKERRY-1",))


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=8))
def test_whatever_is_read_there_is_a_ranking_and_no_error(registers: list[int]) -> None:
    found = guesses([registers, registers])
    assert [guess.score for guess in found] == sorted((guess.score for guess in found), reverse=True)
    assert {guess.raw for guess in found} >= {"uint16", "int16"}
    if len(registers) > 1:
        (wanted,) = struct.unpack(">I", struct.pack(">HH", *registers[:2]))
        assert any(guess.raw == "uint32" and guess.order == "ABCD" and guess.values[0] == wanted for guess in found)
