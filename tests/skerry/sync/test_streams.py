"""Streams beside the state: credit, order, and ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.sync.effects import (
    StreamArrived,
    StreamEnded,
    StreamInputEnded,
    StreamOpened,
    StreamWritable,
)
from skerry.sync.streams import (
    CHUNK_BYTES,
    CHUNK_BYTES_MAX,
    CREDIT_BYTES,
    CREDIT_BYTES_MAX,
    GROWN_BYTES_MAX,
    LINE_BYTES_MAX,
    PROOF_BYTES,
    STREAM_LOST,
    STREAM_REFUSED,
    STREAMS_MAX,
    Chunks,
    Streams,
)
from skerry.wire.frames import StreamClose, StreamCredit, StreamData, StreamOpen
from tests.released.v1.frames import StreamCredit as OldCredit
from tests.released.v1.frames import StreamOpen as OldOpen
from tests.released.v1.streams import Streams as OldStreams


def carry(sender: Streams, receiver: Streams) -> None:
    """Everything in line goes over."""
    while (frame := sender.next_frame()) is not None:
        receiver.receive(frame)


def opened() -> tuple[Streams, Streams, int]:
    cloud, edge = Streams(first=1), Streams(first=2)
    stream = cloud.open("logs", b"{}")
    carry(cloud, edge)
    assert edge.effects() == [StreamOpened(stream=stream, kind="logs", params=b"{}")]
    return cloud, edge, stream


def test_bytes_flow_within_the_readers_credit() -> None:
    cloud, edge, stream = opened()
    assert edge.room(stream) == CREDIT_BYTES
    edge.send(stream, b"x" * CREDIT_BYTES)
    assert edge.room(stream) == 0
    carry(edge, cloud)
    arrived = [effect for effect in cloud.effects() if isinstance(effect, StreamArrived)]
    assert max(len(effect.data) for effect in arrived) == CHUNK_BYTES
    cloud.consumed(stream, CREDIT_BYTES // 2 - 1)
    carry(cloud, edge)
    assert edge.room(stream) == 0
    cloud.consumed(stream, 1)
    carry(cloud, edge)
    assert edge.effects() == [StreamWritable(stream=stream)]
    assert edge.room(stream) == CREDIT_BYTES // 2


def test_more_than_the_credit_breaks_the_protocol() -> None:
    cloud, _, stream = opened()
    for _ in range(CREDIT_BYTES // CHUNK_BYTES):
        cloud.receive(StreamData(stream=stream, data=bytes(CHUNK_BYTES)))
    with pytest.raises(ProtocolError, match="credit"):
        cloud.receive(StreamData(stream=stream, data=b"x"))


def test_an_end_comes_after_what_was_sent_before_it() -> None:
    cloud, edge, stream = opened()
    edge.send(stream, b"last words")
    edge.close(stream, code=2, reason="done")
    edge.close(stream)
    carry(edge, cloud)
    assert [type(effect) for effect in cloud.effects()] == [StreamWritable, StreamArrived, StreamEnded]
    assert cloud.room(stream) == 0
    cloud.receive(StreamData(stream=stream, data=b"late"))
    cloud.receive(StreamClose(stream=stream, code=0, reason=""))
    cloud.consumed(stream, 5)
    assert cloud.effects() == []


def test_too_many_streams_are_refused_one_by_one() -> None:
    cloud, edge = Streams(first=1), Streams(first=2)
    for number in range(STREAMS_MAX + 1):
        edge.receive(StreamOpen(stream=1 + 2 * number, kind="logs", params=b"", credit=10**9))
    carry(edge, cloud)
    refused = [frame for frame in iter(edge.next_frame, None) if isinstance(frame, StreamClose)]
    assert refused == []
    assert edge.full()
    assert len(edge.effects()) == STREAMS_MAX
    assert edge.room(1) == LINE_BYTES_MAX, "however much a reader boasts of"


def test_the_refusal_is_said() -> None:
    edge = Streams(first=2)
    for number in range(STREAMS_MAX + 1):
        edge.receive(StreamOpen(stream=1 + 2 * number, kind="logs", params=b"", credit=1))
    said = list(iter(edge.next_frame, None))
    assert said[-1] == StreamClose(stream=1 + 2 * STREAMS_MAX, code=STREAM_REFUSED, reason="too many streams")
    assert [type(frame) for frame in said[:-1]] == [StreamCredit] * STREAMS_MAX


def test_a_peer_that_opens_without_reading_is_stopped() -> None:
    edge = Streams(first=2)
    with pytest.raises(ProtocolError, match="faster"):
        for number in range(10_000):
            edge.receive(StreamOpen(stream=1 + 2 * number, kind="logs", params=b"", credit=1))


def test_ids_of_the_other_side_cannot_be_opened() -> None:
    edge = Streams(first=2)
    with pytest.raises(ProtocolError):
        edge.receive(StreamOpen(stream=2, kind="logs", params=b"", credit=1))


def test_all_end_with_their_session() -> None:
    cloud, _, stream = opened()
    cloud.end_all("lost")
    assert cloud.effects()[-1] == StreamEnded(stream=stream, code=STREAM_LOST, reason="lost")
    assert cloud.next_frame() is None


def test_each_way_ends_by_itself_after_what_was_sent_on_it() -> None:
    cloud, edge, stream = opened()
    carry(edge, cloud)
    cloud.effects()
    cloud.send(stream, b"question")
    cloud.end(stream)
    cloud.end(stream)
    assert cloud.room(stream) == 0
    carry(cloud, edge)
    assert edge.effects() == [StreamArrived(stream=stream, data=b"question"), StreamInputEnded(stream=stream)]
    edge.send(stream, b"answer")
    carry(edge, cloud)
    assert cloud.effects() == [StreamArrived(stream=stream, data=b"answer")]
    with pytest.raises(ProtocolError, match="after its end"):
        edge.receive(StreamData(stream=stream, data=b"more"))


def test_the_end_of_a_way_is_said_once_and_without_bytes_where_there_are_none() -> None:
    cloud, _, stream = opened()
    cloud.end(stream)
    assert list(iter(cloud.next_frame, None)) == [StreamData(stream=stream, data=b"", last=True)]


def test_a_keystroke_waits_for_one_piece_of_a_copy_and_not_for_the_copy() -> None:
    cloud, edge, copy = opened()
    shell = cloud.open("exec", b"{}")
    carry(cloud, edge)
    carry(edge, cloud)
    cloud.send(copy, bytes(cloud.room(copy)))
    cloud.send(shell, b"l")
    cloud.send(shell, b"s")
    frames = list(iter(cloud.next_frame, None))
    assert frames[:2] == [StreamData(stream=copy, data=bytes(CHUNK_BYTES)), StreamData(stream=shell, data=b"ls")]
    assert {frame.stream for frame in frames[2:]} == {copy}


def test_a_writer_is_told_when_there_is_room_in_line_again() -> None:
    cloud, edge, stream = opened()
    edge.effects()
    edge.receive(StreamCredit(stream=stream, credit=10 * LINE_BYTES_MAX))
    assert edge.effects() == [StreamWritable(stream=stream)]
    carry(edge, cloud)
    edge.send(stream, bytes(LINE_BYTES_MAX))
    assert edge.room(stream) == 0
    edge.next_frame()
    assert edge.effects() == [StreamWritable(stream=stream)]
    assert edge.room(stream) == CHUNK_BYTES
    edge.next_frame()
    assert edge.effects() == []


def pump(cloud: Streams, edge: Streams, stream: int, *, size: int) -> int:
    """The edge sends as much as it may, up to `size`, and the cloud reads nothing of it."""
    sent = 0
    while sent < size and (room := edge.room(stream)):
        edge.send(stream, bytes(room))
        sent += room
        carry(edge, cloud)
    return sent


def test_a_reader_that_keeps_pace_is_sent_more_and_a_slow_one_is_not() -> None:
    cloud, edge, stream = opened()
    for _ in range(40):
        edge.send(stream, bytes(min(edge.room(stream), CHUNK_BYTES)))
        carry(edge, cloud)
        cloud.consumed(stream, CHUNK_BYTES)
        carry(cloud, edge)
    assert CREDIT_BYTES_MAX // 2 < pump(cloud, edge, stream, size=10**9) <= CREDIT_BYTES_MAX
    slow, other, slow_stream = opened()
    assert pump(slow, other, slow_stream, size=10**9) == CREDIT_BYTES
    for _ in range(40):
        slow.consumed(slow_stream, CREDIT_BYTES // 2)
        carry(slow, other)
        assert pump(slow, other, slow_stream, size=10**9) == CREDIT_BYTES // 2


def test_all_readers_of_a_session_together_are_bounded() -> None:
    cloud, edge = Streams(first=1), Streams(first=2)
    opened_ones = [cloud.open("logs", b"") for _ in range(STREAMS_MAX)]
    carry(cloud, edge)
    carry(edge, cloud)
    for stream in opened_ones:
        for _ in range(20):
            edge.send(stream, bytes(min(edge.room(stream), CHUNK_BYTES)))
            carry(edge, cloud)
            cloud.consumed(stream, CHUNK_BYTES)
            carry(cloud, edge)
    held = sum(pump(cloud, edge, stream, size=10**9) for stream in opened_ones)
    assert held <= STREAMS_MAX * CREDIT_BYTES + GROWN_BYTES_MAX
    for stream in opened_ones:
        cloud.close(stream)
    again = cloud.open("logs", b"")
    carry(cloud, edge)
    for _ in range(40):
        edge.send(again, bytes(min(edge.room(again), CHUNK_BYTES)))
        carry(edge, cloud)
        cloud.consumed(again, CHUNK_BYTES)
        carry(cloud, edge)
    assert pump(cloud, edge, again, size=10**9) > CREDIT_BYTES_MAX // 2, "what was closed gives its room back"


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 70_000)), max_size=60)


@settings(max_examples=60)
@given(STEPS, STEPS)
def test_whatever_is_sent_and_read_arrives_whole_in_order_each_way(ups: list[tuple[int, int]], downs: object) -> None:
    cloud, edge, stream = opened()
    carry(edge, cloud)
    cloud.effects()
    sides = {"down": (cloud, edge), "up": (edge, cloud)}
    sent = {name: bytearray() for name in sides}
    came = {name: bytearray() for name in sides}
    unread = dict.fromkeys(sides, 0)

    def take(name: str) -> None:
        for effect in sides[name][1].effects():
            if isinstance(effect, StreamArrived):
                came[name] += effect.data
                unread[name] += len(effect.data)

    for name, steps in (("up", ups), ("down", downs)):
        writer, reader = sides[name]
        assert isinstance(steps, list)
        for what, size in steps:
            match what:
                case 0 | 1:
                    data = (len(sent[name]) % 251).to_bytes() * min(size, writer.room(stream))
                    writer.send(stream, data)
                    sent[name] += data
                case 2:
                    carry(writer, reader)
                    take(name)
                case _:
                    used = min(size, unread[name])
                    unread[name] -= used
                    reader.consumed(stream, used)
                    carry(reader, writer)
        carry(writer, reader)
        take(name)
    assert came == sent


@settings(max_examples=60)
@given(st.lists(st.integers(1, 600_000), min_size=1, max_size=40))
def test_a_gateway_of_the_first_release_is_never_left_without_credit(reads: list[int]) -> None:
    """It holds 256 KiB ready at most, and forgets what it is given beyond that."""
    cloud, edge = Streams(first=1), OldStreams(first=2)
    stream = cloud.open("logs", b"{}")
    unread = 0

    def give() -> None:
        while (frame := cloud.next_frame()) is not None:
            if isinstance(frame, StreamOpen):
                edge.receive(OldOpen(stream=frame.stream, kind=frame.kind, params=frame.params, credit=frame.credit))
            elif isinstance(frame, StreamCredit):
                edge.receive(OldCredit(stream=frame.stream, credit=frame.credit))

    give()
    for size in reads:
        edge.send(stream, bytes(edge.room(stream)))
        while (old := edge.next_frame()) is not None:
            if type(old).__name__ == "StreamData":
                data: bytes = old.data  # type: ignore[union-attr]
                cloud.receive(StreamData(stream=stream, data=data))
                unread += len(data)
        used = min(size, unread)
        cloud.consumed(stream, used)
        unread -= used
        give()
    cloud.consumed(stream, unread)
    give()
    assert edge.room(stream) > 0


def test_pieces_grow_on_a_link_that_has_shown_to_be_fast_and_shrink_with_one_slow_frame() -> None:
    chunks = Chunks()
    for _ in range(PROOF_BYTES // 8192 - 1):
        chunks.sent(8192, 0.0)  # which buffers take as well
    assert chunks.size_bytes == CHUNK_BYTES
    chunks.sent(8192, 0.0)
    assert chunks.size_bytes == CHUNK_BYTES_MAX
    chunks.sent(CHUNK_BYTES_MAX, 5.0)
    assert chunks.size_bytes == CHUNK_BYTES


def test_pieces_of_a_middling_link_take_as_long_as_they_may() -> None:
    chunks = Chunks()
    for _ in range(PROOF_BYTES // 8192):
        chunks.sent(8192, 8192 / 1_000_000)  # 1 MB/s
    assert chunks.size_bytes == 20_000


def test_a_pieces_size_is_the_links() -> None:
    cloud = Streams(first=1)
    stream = cloud.open("exec", b"")
    cloud.receive(StreamCredit(stream=stream, credit=1 << 20))
    cloud.next_frame()
    cloud.chunks.sent(PROOF_BYTES, 0.0)
    cloud.send(stream, bytes(cloud.room(stream)))
    frame = cloud.next_frame()
    assert isinstance(frame, StreamData) and len(frame.data) == CHUNK_BYTES_MAX
