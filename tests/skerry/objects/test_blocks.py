"""Blocks of readings: what goes in comes out, and what is no block is refused."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import InvalidError, ProtocolError
from skerry.objects.blocks import (
    READINGS_MAX,
    TELEMETRY_BLOCK,
    Block,
    Reading,
    count_of,
    decode_block,
    encode_block,
    joined,
    part_of,
)
from skerry.objects.twins import DeviceName

DEVICE = DeviceName(namespace="default", name="boiler", uid="uid-1")
BIG = 2**63 - 1
TEXTS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.floats().map(repr),
    st.floats(width=32).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.integers().map(str),
    st.sampled_from(
        ["-0.0", "0.0", "-0", "00", "1.50", "1e5", ".5", "5.", "1_0", "+1", "-.5", "\u0661", "nan", "true"]
    ),
)
READINGS = st.builds(
    Reading,
    device=st.sampled_from([DEVICE, DeviceName(namespace="b", name="pump", uid="")]),
    prop=st.sampled_from(["temperature", "pressure", "a/b", ""]),
    seq=st.integers(0, BIG),
    value=TEXTS,
    type=st.sampled_from(["FLOAT", "INT", ""]),
    quality=st.sampled_from(["good", "uncertain", "bad", "stale"]),
    reason=st.sampled_from(["", "no answer", "\u00e4"]),
    source_ms=st.integers(-1, BIG),
    source_seq=st.one_of(st.none(), st.integers(-(2**70), 2**70)),
    ago_ms=st.integers(0, 2**40),
)


def reading(number: int, **other: object) -> Reading:
    plain = Reading(
        DEVICE, "t", number, f"{20 + number / 10}", "FLOAT", "good", "", 1_790_000_000_000 + number, None, 0
    )
    return plain._replace(**other)


def block(*readings: Reading) -> Block:
    return readings


@given(st.lists(READINGS, min_size=1, max_size=12))
def test_what_goes_in_comes_out(readings: list[Reading]) -> None:
    told = block(*readings)
    body = encode_block(told)
    assert decode_block(body) == told
    assert count_of(TELEMETRY_BLOCK, body) == len(readings)


@pytest.mark.parametrize("width", ["measured", "single", "double", "flag"])
def test_a_minute_of_ten_points_takes_few_bytes_a_reading(width: str) -> None:
    chance = random.Random(4)
    level = [20.0 + number for number in range(10)]
    readings: list[Reading] = []
    for number in range(500):
        prop = number % 10
        level[prop] += chance.gauss(0, 0.3)
        value = {
            "measured": repr(round(level[prop], 1)),
            "single": repr(_single(level[prop])),
            "double": repr(level[prop]),
            "flag": "true" if level[prop] > 25 else "false",
        }[width]
        at = 1_790_000_000_000 + number // 10 * 1000 + chance.randrange(20)
        ago = 50_000 - number // 10 * 1000
        readings.append(Reading(DEVICE, f"p{prop}", number // 10, value, "FLOAT", "good", "", at, None, ago))
    limit = {"measured": 4, "single": 7, "double": 11, "flag": 3}[width]
    assert len(encode_block(block(*readings))) <= limit * len(readings)


def _single(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def test_a_block_has_a_reading_and_not_too_many() -> None:
    with pytest.raises(InvalidError):
        encode_block(block())
    with pytest.raises(InvalidError):
        encode_block(block(*map(reading, range(READINGS_MAX + 1))))
    assert len(decode_block(encode_block(block(*map(reading, range(READINGS_MAX)))))) == READINGS_MAX


def test_joined_blocks_keep_their_times() -> None:
    older, newer = block(reading(1, ago_ms=5)), block(reading(2, ago_ms=3))
    assert joined(older, newer, later_ms=100) == (reading(1, ago_ms=105), reading(2, ago_ms=3))


@given(st.integers(1, 9), st.integers(0, 9))
def test_a_part_has_the_readings_of_its_numbers(size: int, cut: int) -> None:
    cut = min(cut, size)
    body = encode_block(block(*map(reading, range(size))))
    last = 100 + size
    for after, until in ((100 + cut, last), (100, 100 + cut)):
        if until > after:
            part = decode_block(part_of(body, last=last, after=after, until=until))
            assert [each.seq for each in part] == list(range(after - 100, until - 100))
    assert part_of(body, last=last, after=0, until=last) == body


@given(st.lists(READINGS, min_size=1, max_size=5), st.data())
@settings(max_examples=100)
def test_what_is_broken_is_refused_and_nothing_else(readings: list[Reading], data: st.DataObject) -> None:
    body = encode_block(block(*readings))
    payload = bytearray(zlib.decompress(body[3:], wbits=15))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    deflater = zlib.compressobj(wbits=15)
    packed = body[:3] + deflater.compress(bytes(payload)) + deflater.flush()
    try:
        found = decode_block(packed)
    except ProtocolError:
        return
    assert len(found) == len(readings)
    assert all(each.ago_ms >= 0 for each in found)


@pytest.mark.parametrize("cut", [0, 2, 3, 10, -1])
def test_a_block_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(ProtocolError):
        decode_block(encode_block(block(reading(1)))[:cut])


def test_a_block_that_would_inflate_without_end_is_refused() -> None:
    deflater = zlib.compressobj(wbits=15)
    bomb = deflater.compress(bytes(64 << 20)) + deflater.flush()
    with pytest.raises(ProtocolError, match="too large"):
        decode_block(b"\x01\x01\x00" + bomb)
    assert count_of(TELEMETRY_BLOCK, b"\x01\xff\xff") == READINGS_MAX
