"""Streams beside the state: credit, order, and ends."""

from __future__ import annotations

import pytest

from skerry.errors import ProtocolError
from skerry.sync.effects import StreamArrived, StreamEnded, StreamOpened, StreamWritable
from skerry.sync.streams import (
    CHUNK_BYTES,
    CREDIT_BYTES,
    CREDIT_BYTES_MAX,
    STREAM_LOST,
    STREAM_REFUSED,
    STREAMS_MAX,
    Streams,
)
from skerry.wire.frames import StreamClose, StreamCredit, StreamData, StreamOpen


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
    assert edge.room(1) == CREDIT_BYTES_MAX, "a boastful reader is not believed"


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
