"""Frames in a byte stream: whatever way it is cut, the same frames come out, and no more is buffered than agreed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.transport.framing import VARINT_MAX, FrameReader, framed, read_varint, varint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("c2197c5eff14e88c", 151_288_809_941_952_652),
        ("9d7f3e7d", 494_878_333),
        ("7bbd", 15_293),
        ("25", 37),
    ],
)
def test_numbers_are_those_of_rfc_9000_appendix_a(text: str, value: int) -> None:
    assert varint(value).hex() == text
    assert read_varint(bytes.fromhex(text), 0) == (value, len(text) // 2)


@given(st.integers(0, VARINT_MAX))
def test_every_number_comes_back_and_half_of_it_is_none(value: int) -> None:
    data = varint(value)
    assert read_varint(b"x" + data, 1) == (value, 1 + len(data))
    assert read_varint(data[:-1], 0) is None


@given(st.lists(st.binary(max_size=200), max_size=20), st.integers(1, 50))
def test_frames_come_out_whole_however_the_bytes_are_cut(frames: list[bytes], step: int) -> None:
    stream = b"".join(framed(frame) for frame in frames)
    reader = FrameReader(frame_bytes_max=200)
    found: list[bytes] = []
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
        while reader.ready():
            frame = reader.next()
            assert frame is not None
            found.append(frame)
        assert reader.next() is None
    assert found == frames
    assert reader.empty
    assert reader.may_reach(10) == len(stream) + 10


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    reader = FrameReader(frame_bytes_max=100)
    reader.feed(varint(101))
    assert reader.ready()
    assert reader.may_reach(10) <= 108
    with pytest.raises(ProtocolError, match="101 bytes is over 100"):
        reader.next()


def test_the_sender_may_finish_one_large_frame_and_otherwise_is_a_window_ahead() -> None:
    reader = FrameReader(frame_bytes_max=1000)
    assert reader.may_reach(64) == 64
    reader.feed(framed(bytes(500))[:40])
    assert reader.may_reach(64) == 502
    reader.feed(framed(bytes(500))[40:])
    assert reader.may_reach(64) == 502, "nothing was taken yet"
    assert reader.next() == bytes(500)
    assert reader.may_reach(64) == 502 + 64


def test_the_largest_frame_fits() -> None:
    reader = FrameReader(frame_bytes_max=1000)
    stream = framed(bytes(1000))
    reader.feed(stream[:10])
    assert reader.may_reach(64) == len(stream)
    reader.feed(stream[10:])
    assert reader.next() == bytes(1000)


def test_a_number_stands_before_the_first_frame() -> None:
    reader = FrameReader(frame_bytes_max=100)
    assert reader.number() is None
    reader.feed(varint(70_000)[:2])
    assert reader.number() is None
    reader.feed(varint(70_000)[2:] + framed(b"a"))
    assert reader.number() == 70_000
    assert reader.next() == b"a"
