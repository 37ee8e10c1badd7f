"""SPDY as kubectl speaks it: golden bytes, both halves of a stream, and a closed door to nonsense."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.wire.spdy import DICTIONARY
from skerry.wire.spdy_server import (
    FRAME_BYTES_MAX,
    RESET_REFUSED_STREAM,
    STREAMS_MAX,
    Arrived,
    Event,
    GoneAway,
    Opened,
    Reset,
    Spdy,
)

KUBECTL_1_20 = bytes.fromhex(
    "80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ff"
    "ff800300010000001700000003000000000000c22e555c92929907000000ffff80030001000000190000000500000000"
    "0000c22ac5565c92925f5a02000000ffff800300010000001500000007000000000000c229975a5404000000ffff0000"
    "00030000000568656c6c6f0000000301000000"
)
"""What kubectl 1.20 sent for `echo -n hello | kubectl exec -i p -- cat`, when each stream was answered."""


class Client:
    """The other side, as the draft describes it."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def open(self, stream: int, headers: dict[str, str], *, fin: bool = False) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            plain += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIH", stream, 0, 0) + block
        return struct.pack(">HHBBH", 0x8003, 1, int(fin), len(body) >> 16, len(body) & 0xFFFF) + body

    def frames(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Type (0 for data), flags and body of each frame."""
        found: list[tuple[int, int, bytes]] = []
        while data:
            first, second = struct.unpack_from(">II", data)
            size = second & 0xFFFFFF
            body, data = data[8 : 8 + size], data[8 + size :]
            kind = first & 0xFFFF if first & 0x80000000 else 0
            found.append((kind, second >> 24, body if kind else struct.pack(">I", first) + body))
        return found

    def headers(self, block: bytes) -> bytes:
        return self._inflate.decompress(block)


def data_frame(stream: int, data: bytes, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, int(fin) << 24 | len(data)) + data


def test_the_dictionary_is_the_drafts() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_what_kubectl_sends_is_understood() -> None:
    wanted: list[Event] = [
        Opened(stream=2 * at + 1, headers={"streamtype": kind}, last=False)
        for at, kind in enumerate(("error", "stdin", "stdout", "stderr"))
    ]
    wanted += [Arrived(stream=3, data=b"hello", last=False), Arrived(stream=3, data=b"", last=True)]
    assert Spdy().receive(KUBECTL_1_20) == wanted


def test_a_stream_is_opened_answered_and_ends_one_half_at_a_time() -> None:
    client, server = Client(), Spdy()
    assert server.receive(client.open(1, {"Streamtype": "stdin"})) == [
        Opened(stream=1, headers={"streamtype": "stdin"}, last=False)
    ]
    server.reply(1)
    ((kind, flags, body),) = client.frames(server.to_send())
    assert (kind, flags, body[:4], client.headers(body[4:])) == (2, 0, b"\0\0\0\1", b"\0\0\0\0")
    assert server.receive(data_frame(1, b"in", fin=True)) == [Arrived(stream=1, data=b"in", last=True)]
    assert server.is_open(1)
    server.send(1, b"out")
    server.send(1, b"", last=True)
    server.send(1, b"too late")
    assert client.frames(server.to_send()) == [(0, 0, b"\0\0\0\1out"), (0, 1, b"\0\0\0\1")]
    assert (server.streams, server.to_send()) == (0, b"")
    assert server.receive(data_frame(1, b"late")) == []


def test_header_blocks_are_one_compressed_text_whatever_is_skipped() -> None:
    client, server = Client(), Spdy()
    events: list[Event] = []
    for number in range(1, 11, 2):
        events += server.receive(client.open(number, {"streamtype": "data", "port": "80", "requestid": str(number)}))
    assert [event.headers["requestid"] for event in events if isinstance(event, Opened)] == ["1", "3", "5", "7", "9"]


@given(st.integers(1, 60), st.binary(max_size=300))
def test_frames_may_come_in_any_pieces(piece: int, sent: bytes) -> None:
    client, server = Client(), Spdy()
    data = client.open(1, {"streamtype": "error"}) + data_frame(1, sent) + data_frame(1, b"", fin=True)
    events: list[Event] = []
    for at in range(0, len(data), piece):
        events += server.receive(data[at : at + piece])
    assert events == [
        Opened(stream=1, headers={"streamtype": "error"}, last=False),
        Arrived(stream=1, data=sent, last=False),
        Arrived(stream=1, data=b"", last=True),
    ]


def test_what_is_larger_than_a_frame_is_cut_and_ends_once() -> None:
    client, server = Client(), Spdy()
    server.receive(client.open(1, {}))
    server.send(1, bytes(200_000), last=True)
    frames = client.frames(server.to_send())
    assert sum(len(body) - 4 for _, _, body in frames) == 200_000
    assert [flags for _, flags, _ in frames] == [0, 0, 0, 1]


def test_a_ping_is_answered_and_our_own_are_not() -> None:
    server = Spdy()
    server.receive(struct.pack(">HHII", 0x8003, 6, 4, 7) + struct.pack(">HHII", 0x8003, 6, 4, 8))
    assert server.to_send() == struct.pack(">HHII", 0x8003, 6, 4, 7)


def test_windows_are_given_back_and_a_goodbye_is_said_and_heard() -> None:
    client, server = Client(), Spdy()
    server.receive(client.open(1, {}))
    server.consumed(1, 1000)
    server.consumed(99, 1000)
    server.go_away()
    assert client.frames(server.to_send()) == [
        (9, 0, struct.pack(">II", 1, 1000)),
        (7, 0, struct.pack(">II", 1, 0)),
    ]
    assert server.receive(struct.pack(">HHIII", 0x8003, 7, 8, 0, 0)) == [GoneAway()]
    for unknown in (4, 9, 11):
        assert server.receive(struct.pack(">HHII", 0x8003, unknown, 4, 0)) == []


def test_what_is_broken_off_is_over_for_both() -> None:
    client, server = Client(), Spdy()
    server.receive(client.open(1, {}) + client.open(3, {}))
    assert server.receive(struct.pack(">HHIII", 0x8003, 3, 8, 1, 5)) == [Reset(stream=1)]
    server.reset(3, RESET_REFUSED_STREAM)
    server.reset(3, RESET_REFUSED_STREAM)
    server.send(1, b"x")
    assert client.frames(server.to_send()) == [(3, 0, struct.pack(">II", 3, RESET_REFUSED_STREAM))]


def test_streams_are_bounded() -> None:
    client, server = Client(), Spdy()
    opened = [server.receive(client.open(2 * number + 1, {})) for number in range(STREAMS_MAX + 1)]
    assert [len(events) for events in opened] == [1] * STREAMS_MAX + [0]
    assert client.frames(server.to_send())[-1][0] == 3
    assert server.streams == STREAMS_MAX


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 1, FRAME_BYTES_MAX + 1),
        struct.pack(">HHI", 0x8002, 1, 0),
        struct.pack(">HHI", 0x8003, 1, 2) + b"xx",
        struct.pack(">HHI", 0x8003, 1, 14) + struct.pack(">IIH", 1, 0, 0) + b"abcd",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100),
        Client().open(2, {}),
        Client().open(1, {"x": "y" * 100_000}),
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Spdy().receive(data)


def test_an_id_is_not_used_twice() -> None:
    client, server = Client(), Spdy()
    server.receive(client.open(5, {}))
    for number in (5, 3):
        with pytest.raises(ProtocolError):
            server.receive(client.open(number, {}))


@given(st.binary(max_size=200))
def test_whatever_comes_is_taken_or_refused(data: bytes) -> None:
    client, server = Client(), Spdy()
    server.receive(client.open(1, {}))
    try:
        server.receive(data)
    except ProtocolError:
        return
