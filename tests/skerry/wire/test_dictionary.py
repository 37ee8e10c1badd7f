"""Deflation with a dictionary: agreed on, bounded, and the same bytes for ever."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.wire.codec import FRAME_BYTES_MAX, decode, encode, plain
from skerry.wire.dictionary import NUMBERS, agreed, deflated, dictionary, inflated
from skerry.wire.frames import Ping, Report, Reports
from tests.skerry.wire.samples import SAMPLES

RELEASED = {1: "ea3c9345a0bc5c18"}
"""A released dictionary never changes: gateways have it."""
GOLDEN = Path(__file__).parent / "golden" / "v2" / "with_dictionary.hex"

TELEMETRY = Reports(
    reports=(
        Report(
            seq=4711,
            kind="telemetry",
            key="default/pump-3/pressure",
            body=b'{"device":{"namespace":"default","name":"pump-3","uid":"0b7c"},"prop":"pressure","seq":9,"value":"1.5"}',
            wall_ms=1_790_000_123_456,
            age_ms=12,
        ),
    )
)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_dictionary_is_what_it_was(number: int) -> None:
    assert hashlib.sha256(dictionary(number)).hexdigest()[:16] == RELEASED[number]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_frame_comes_back_whichever_way_it_is_packed(name: str) -> None:
    for number in (0, *NUMBERS):
        assert decode(encode(SAMPLES[name], dictionary=number)) == SAMPLES[name]


def test_a_reading_costs_half_of_what_it_did() -> None:
    assert len(encode(TELEMETRY, dictionary=1)) <= len(encode(TELEMETRY)) / 2


def test_a_ping_is_left_alone() -> None:
    assert encode(Ping(number=7), dictionary=1) == encode(Ping(number=7))


def test_bytes_of_today_are_read_for_ever() -> None:
    assert decode(bytes.fromhex(GOLDEN.read_text())) == TELEMETRY


def test_the_best_that_both_know_is_taken() -> None:
    assert agreed((7, 1)) == 1
    assert agreed((7,)) == agreed(()) == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "none"),
        (b"\x07abc", "dictionary 7"),
        (b"\x01\xff\xff", "can't be inflated"),
        (deflated(b"x" * 99, 1)[:-2], "short"),
    ],
)
def test_what_is_no_deflated_frame_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        inflated(data, bytes_max=FRAME_BYTES_MAX)


def test_a_bomb_is_refused_before_it_grows() -> None:
    with pytest.raises(ProtocolError, match="more than 1000"):
        inflated(deflated(bytes(10_000_000), 1), bytes_max=1000)


def test_a_packed_frame_holds_no_packed_frame() -> None:
    packed = encode(TELEMETRY, dictionary=1)
    again = deflated(packed, 1)
    with pytest.raises(ProtocolError, match="holds a deflated"):
        decode(b"\xf2\x01" + bytes((len(again),)) + again)


@given(st.binary(max_size=200))
def test_any_bytes_in_its_place_are_a_frame_or_an_error(data: bytes) -> None:
    try:
        decode(b"\xf2\x01" + bytes((len(data) % 128,)) + data)
    except ProtocolError:
        return


@given(st.binary(max_size=2000))
def test_whatever_is_deflated_comes_back(data: bytes) -> None:
    assert inflated(deflated(data, 1), bytes_max=2000) == data


def test_a_plain_frame_is_what_is_deflated() -> None:
    packed = encode(TELEMETRY, dictionary=1)
    assert zlib.crc32(plain(TELEMETRY)) == zlib.crc32(
        inflated(packed[3:] if packed[2] < 128 else packed[4:], bytes_max=9999)
    )
