"""A cloud that means ill, or is broken: the gateway's session keeps to its bounds, and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from skerry.objects.meta import Key, Revision, Stamp
from skerry.sync.dial import RETRY_AFTER_S_MAX, DialPolicy, Ended
from skerry.sync.edge import (
    GATHERED_BYTES_MAX,
    HEARTBEAT_S_MAX,
    STAMPS_BYTES_MAX,
    UNWRITTEN_BYTES_MAX,
    EdgeSession,
    EdgeState,
)
from skerry.sync.effects import Write
from skerry.sync.streams import CREDIT_BYTES, LINE_BYTES_MAX, STREAMS_MAX, Streams
from skerry.wire.frames import (
    Frame,
    Objects,
    ObjectState,
    Stamped,
    Stamps,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
)
from tests.skerry.sync.conversation import an_edge, at, welcome

LARGE = bytes(3_000_000)


def until_closed(edge: EdgeSession, sent: Iterator[Frame], *, most: int) -> int:
    """Feed the frames until the edge gives up; how many that took."""
    for number in range(most):
        edge.receive(next(sent), at(1))
        if edge.state is EdgeState.CLOSED:
            return number + 1
    pytest.fail(f"{most} frames, and the edge goes on")


def endless(make: Callable[[int], Frame]) -> Iterator[Frame]:
    number = 0
    while True:
        number += 1
        yield make(number)


def in_step() -> EdgeSession:
    edge = an_edge()
    edge.receive(welcome(), at(0))
    edge.effects()
    return edge


def part(*, batch: int = 1, more: bool = True, deletes: tuple[Key, ...] = (), body: bytes | None = None) -> Objects:
    puts = ()
    if body is not None:
        key = Key("configmaps", "ns", f"c-{batch}")
        puts = (ObjectState(key=key, stamp=Stamp("u", Revision(batch)), body=body),)
    return Objects(batch=batch, revision=Revision(20), puts=puts, deletes=deletes, more=more)


def test_a_batch_of_empty_parts_comes_to_an_end() -> None:
    until_closed(in_step(), endless(lambda _: part()), most=GATHERED_BYTES_MAX // 64 + 1)


def test_a_batch_of_deletions_counts_as_bytes() -> None:
    keys = tuple(Key("configmaps", "ns", f"{number:0200}") for number in range(4000))
    most = GATHERED_BYTES_MAX // (4000 * 200) + 1
    until_closed(in_step(), endless(lambda _: part(deletes=keys)), most=most)


def test_batches_that_a_slow_disk_has_not_written_are_bounded_in_bytes() -> None:
    edge = in_step()
    count = until_closed(edge, endless(lambda number: part(batch=number, more=False, body=LARGE)), most=64)
    assert count <= UNWRITTEN_BYTES_MAX // len(LARGE) + 1


def test_a_window_of_the_largest_batches_is_taken() -> None:
    edge = in_step()
    for number in range(1, 9):
        edge.receive(part(batch=number, more=False, body=LARGE), at(1))
    assert edge.state is EdgeState.IN_STEP


def test_an_answer_of_stamps_without_end_is_refused() -> None:
    edge = an_edge()
    edge.receive(welcome(in_step=False), at(0))
    long = tuple(
        Stamped(key=Key("r" * 253, "n" * 253, f"{number:0253}"), stamp=Stamp("u" * 253, Revision(1)))
        for number in range(1000)
    )
    frame = Stamps(revision=Revision(20), buckets=(), entries=long, more=True)
    until_closed(edge, endless(lambda _: frame), most=STAMPS_BYTES_MAX // 1_000_000 + 1)
    edge = an_edge()
    edge.receive(welcome(in_step=False), at(0))
    empty = Stamps(revision=Revision(20), buckets=(), entries=(), more=True)
    until_closed(edge, endless(lambda _: empty), most=STAMPS_BYTES_MAX // 64 + 1)


def test_a_closed_session_lets_go_of_what_it_gathered() -> None:
    edge = in_step()
    edge.receive(part(body=LARGE), at(1))
    edge.lost("cut")
    assert not edge._gathered


def test_a_cloud_cannot_make_an_edge_deaf_to_silence() -> None:
    edge = an_edge()
    edge.receive(welcome(heartbeat_ms=2**63 - 1), at(0))
    deadline = edge.deadline()
    assert deadline is not None
    assert deadline <= HEARTBEAT_S_MAX
    edge.tick(at(2 * HEARTBEAT_S_MAX))
    assert edge.state is EdgeState.CLOSED


def test_a_cloud_cannot_send_a_gateway_away_for_ever() -> None:
    policy = DialPolicy(("a:1",))
    policy.ended(Ended(at_s=0, welcomed=True, retry_after_s=2.0**53), unit=1.0)
    assert policy.due_s <= RETRY_AFTER_S_MAX * 1.25


def test_credit_without_end_puts_a_bounded_number_of_bytes_in_line() -> None:
    edge = Streams(first=2)
    for number in range(STREAMS_MAX):
        edge.receive(StreamOpen(stream=1 + 2 * number, kind="logs", params=b"", credit=2**62))
    for _ in range(20):
        for number in range(STREAMS_MAX):
            edge.receive(StreamCredit(stream=1 + 2 * number, credit=2**62))
            edge.send(1 + 2 * number, bytes(edge.room(1 + 2 * number)))
    waiting = sum(len(frame.data) for frame in iter(edge.next_frame, None) if isinstance(frame, StreamData))
    assert waiting == STREAMS_MAX * LINE_BYTES_MAX
    assert edge.room(1) == LINE_BYTES_MAX, "what was sent makes room again, and no more"


def test_streams_opened_and_ended_in_a_loop_leave_nothing_in_line() -> None:
    edge = Streams(first=2)
    for number in range(10_000):
        stream = 1 + 2 * number
        edge.receive(StreamOpen(stream=stream, kind="logs", params=b"", credit=CREDIT_BYTES))
        edge.send(stream, bytes(CREDIT_BYTES))
        edge.receive(StreamClose(stream=stream, code=0, reason=""))
        edge.effects()
    assert edge.next_frame() is None


def test_empty_pieces_of_a_stream_reach_no_reader() -> None:
    edge = Streams(first=2)
    edge.receive(StreamOpen(stream=1, kind="logs", params=b"", credit=1))
    edge.effects()
    for _ in range(1000):
        edge.receive(StreamData(stream=1, data=b""))
    assert edge.effects() == []


def test_a_batch_that_names_an_object_twice_is_written_once_in_its_newest_state() -> None:
    edge = in_step()
    name = Key("configmaps", "ns", "c")
    puts = tuple(
        ObjectState(key=name, stamp=Stamp("u", Revision(revision)), body=b"%d" % revision) for revision in (7, 9, 8)
    )
    edge.receive(Objects(batch=1, revision=Revision(20), puts=puts, deletes=(), more=False), at(1))
    edge.receive(Objects(batch=2, revision=Revision(20), puts=(), deletes=(name, name), more=False), at(1))
    first, second = (effect for effect in edge.effects() if isinstance(effect, Write))
    assert [put.body for put in first.puts] == [b"9"]
    assert second.deletes == (name,)
