"""SPDY's frames, byte by byte, against what the draft and others' libraries say."""

from __future__ import annotations

import struct
import zlib

import pytest

from skerry.errors import ProtocolError
from skerry.wire import spdy


def test_the_dictionary_is_that_of_the_draft() -> None:
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2, "as it stands in the first bytes of every SPDY/3 connection"


def test_streams_open_with_compressed_headers_that_share_a_context() -> None:
    packer, inflate = spdy.HeaderPacker(), zlib.decompressobj(zdict=spdy.DICTIONARY)
    for stream, name in ((1, "error"), (3, "stdin")):
        frame = spdy.open_frame(stream, packer.pack({"streamType": name}))
        head = spdy.read_head(frame[:8])
        assert (head.kind, head.flags, head.length) == (spdy.SYN_STREAM, 0, len(frame) - 8)
        assert spdy.stream_of(frame[8:]) == stream
        block = inflate.decompress(frame[18:])
        assert block == struct.pack(">II", 1, 10) + b"streamtype" + struct.pack(">I", len(name)) + name.encode()


def test_data_has_its_stream_its_length_and_its_end() -> None:
    frame = spdy.data_frame(5, b"abc", last=True)
    head = spdy.read_head(frame[:8])
    assert (head.stream, head.kind, head.length, head.is_last) == (5, 0, 3, True)
    assert frame[8:] == b"abc"
    assert not spdy.read_head(spdy.data_frame(5, b"")[:8]).is_last


def test_a_ping_is_answered_with_its_number() -> None:
    assert spdy.control_frame(spdy.PING, b"\0\0\0\2") == b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x02"


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\x80\x02\0\1\0\0\0\0", "version 2"), (b"\x80\x03\0\1\0\x01\0\x01", "a control frame of 65537 bytes")],
)
def test_what_is_no_frame_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        spdy.read_head(data)
    with pytest.raises(ProtocolError, match="cut short"):
        spdy.stream_of(b"\0\0")
