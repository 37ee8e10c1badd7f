"""The byte form of frames: golden, closed against bad input, and the same as its description."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError, TooLargeError
from skerry.objects.meta import Key, Revision, Stamp
from skerry.wire.codec import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_NUMBERS,
    LIST_MAX,
    SCHEMA,
    Form,
    decode,
    encode,
    size_of,
)
from skerry.wire.frames import Ack, Close, Compare, Fetch, Objects, ObjectState, Ping, Report, Reports
from tests.skerry.wire.samples import SAMPLES, SAMPLES_2

GOLDEN = Path(__file__).parent / "golden"
PROTO = Path(__file__).parents[3] / "docs" / "reference" / "wire.proto"


@pytest.mark.parametrize(
    ("version", "name"), [*(("v1", name) for name in SAMPLES), *(("v2", name) for name in SAMPLES_2)]
)
def test_bytes_that_were_released_never_change(version: str, name: str) -> None:
    """Written with SKERRY_REWRITE=1, then read in review: a changed file is a broken fleet."""
    path = GOLDEN / version / f"{name}.hex"
    frame = (SAMPLES if version == "v1" else SAMPLES_2)[name]
    data = encode(frame)
    if os.environ.get("SKERRY_REWRITE"):
        path.write_text(data.hex() + "\n")
    if name != "objects_deflated":  # another zlib may deflate to other bytes
        assert data.hex() == path.read_text().strip()
    assert decode(bytes.fromhex(path.read_text())) == frame


def test_every_frame_has_a_sample() -> None:
    assert {type(frame) for frame in SAMPLES.values()} == set(FRAME_NUMBERS)


def test_a_ping_is_at_most_sixteen_bytes() -> None:
    assert len(encode(Ping(number=2**63 - 1))) <= 16


def test_an_unchanged_reconnect_costs_one_small_frame_each_way() -> None:
    assert len(encode(SAMPLES["hello"])) <= 100
    assert len(encode(SAMPLES["welcome"])) <= 64


def test_the_description_in_the_docs_is_the_table() -> None:
    text = PROTO.read_text()
    described = {
        name: set(re.findall(r"^\s+((?:repeated )?\w+) (\w+) = (\d+);", body, re.MULTILINE))
        for name, body in re.findall(r"^message (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    }
    frame = described.pop("Frame")
    assert {(kind, int(number)) for kind, _, number in frame} == {
        *((message.__name__, number) for message, number in FRAME_NUMBERS.items()),
        ("bytes", 31),
        ("bytes", 30),
    }
    assert described == {
        message.__name__: {
            (
                field.form.value.replace("message", field.message.__name__) if field.message else field.form.value,
                field.name,
                str(field.number),
            )
            for field in fields
        }
        for message, fields in SCHEMA.items()
    }


def test_no_field_number_is_used_twice() -> None:
    for fields in SCHEMA.values():
        assert len({field.number for field in fields}) == len(fields)
    assert len(set(FRAME_NUMBERS.values())) == len(FRAME_NUMBERS)


def test_unknown_fields_are_skipped_and_unknown_frames_are_none() -> None:
    body = encode(Ack(batch=7))[2:]
    newer = body + b"\xa0\x06\x05" + b"\xaa\x06\x02hi" + b"\xb1\x06" + b"x" * 8 + b"\xb5\x06" + b"x" * 4
    assert decode(b"\x3a" + bytes([len(newer)]) + newer) == Ack(batch=7)
    assert decode(b"\xea\x01\x02hi") is None  # field 29


def test_numbers_that_another_writer_left_unpacked_are_read() -> None:
    assert decode(b"\x1a\x09" + b"\x19" + (5).to_bytes(8, "little")) == Compare(buckets=(5,))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_a_protocol_error(data: bytes) -> None:
    try:
        frame = decode(data)
    except ProtocolError:
        return
    if frame is not None:
        assert decode(encode(frame)) == frame


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_a_damaged_frame_is_a_frame_or_a_protocol_error(name: str, data: st.DataObject) -> None:
    whole = bytearray(encode(SAMPLES[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for damaged in (bytes(whole), cut):
        try:
            frame = decode(damaged)
        except ProtocolError:
            continue
        assert frame is None or decode(encode(frame)) == frame


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
NUMBER = st.integers(0, 2**63 - 1)
KEYS = st.builds(Key, TEXT, TEXT, TEXT)
STATES = st.builds(
    ObjectState, key=KEYS, stamp=st.builds(Stamp, TEXT, NUMBER.map(Revision)), body=st.binary(max_size=900)
)


@given(
    st.builds(
        Objects,
        batch=NUMBER,
        revision=NUMBER.map(Revision),
        puts=st.lists(STATES, max_size=4).map(tuple),
        deletes=st.lists(KEYS, max_size=4).map(tuple),
        more=st.booleans(),
    )
)
def test_what_is_written_is_read_and_never_larger_than_said(frame: Objects) -> None:
    data = encode(frame)
    assert decode(data) == frame
    assert len(data) <= 32 + sum(size_of(put) * 4 for put in frame.puts) + sum(
        size_of(key) * 4 for key in frame.deletes
    )


def test_the_size_of_plain_items_is_an_upper_bound() -> None:
    state = ObjectState(key=Key("pods", "a", "b"), stamp=Stamp("u" * 36, Revision(2**62)), body=bytes(300))
    frame = Objects(batch=1, revision=Revision(1), puts=(state,), deletes=(), more=False)
    assert len(encode(frame)) - 6 <= size_of(state)


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    bomb = zlib.compressobj(wbits=-15)
    data = bomb.compress(bytes(FRAME_BYTES_MAX * 8)) + bomb.flush()
    with pytest.raises(ProtocolError, match="inflates to more"):
        decode(b"\xfa\x01" + _length(len(data)) + data)


def test_a_frame_deflated_twice_is_refused() -> None:
    inner = encode(SAMPLES["objects_deflated"])
    again = zlib.compressobj(wbits=-15)
    data = again.compress(inner) + again.flush()
    with pytest.raises(ProtocolError, match="holds a deflated frame"):
        decode(b"\xfa\x01" + _length(len(data)) + data)


def test_limits_hold_for_readers() -> None:
    with pytest.raises(ProtocolError, match="over"):
        decode(bytes(FRAME_BYTES_MAX + 1))
    long_reason = b"\x12" + _length(4097) + b"x" * 4097
    with pytest.raises(ProtocolError, match="reason"):
        decode(b"\x62" + _length(len(long_reason)) + long_reason)
    many = b"\x0a\x00" * (LIST_MAX + 1)
    with pytest.raises(ProtocolError, match="more than"):
        decode(b"\x2a" + _length(len(many)) + many)
    with pytest.raises(ProtocolError, match="over"):
        decode(b"\x3a\x0b\x08" + b"\xff" * 9 + b"\x01")
    assert _refused(b"\x1a\x05\x1a\x03abc")  # packed 64-bit numbers that are not a multiple of eight
    assert _refused(b"\x62\x03\x12\x01\xff")  # not UTF-8
    assert _refused(b"")


def test_limits_hold_for_writers() -> None:
    with pytest.raises(TooLargeError):
        encode(Close(code=1, reason="x" * 4097))
    with pytest.raises(TooLargeError):
        encode(Ack(batch=-1))
    with pytest.raises(TooLargeError):
        encode(Fetch(keys=(Key("a", "", "b"),) * (LIST_MAX + 1)))
    report = Report(seq=1, kind="event", key="", body=bytes(BODY_BYTES_MAX), wall_ms=0, age_ms=0)
    with pytest.raises(TooLargeError):
        encode(Reports(reports=(report, report)))


def test_forms_are_all_in_use() -> None:
    assert {field.form for fields in SCHEMA.values() for field in fields} == set(Form)


def _refused(data: bytes) -> bool:
    try:
        decode(data)
    except ProtocolError:
        return True
    return False


def _length(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
