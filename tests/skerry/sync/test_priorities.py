"""What is sent first, and in what pieces: signs of life wait for nothing large, and order within a class stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.frozen import replace
from skerry.objects.meta import Revision
from skerry.sync.priorities import FRAMES_MAX, PART_BYTES_MIN, Outgoing, Pace, Priority, as_sent, priority_of
from skerry.wire.frames import (
    BULK,
    Ack,
    Close,
    CloseCode,
    Compare,
    Fetch,
    Frame,
    Objects,
    Ping,
    Pong,
    Receipt,
    Report,
    Reports,
    Stamps,
    StreamData,
)
from tests.skerry.sync.conversation import hello, key, welcome

OBJECTS = Objects(batch=1, revision=Revision(1), puts=(), deletes=(key("a"),), more=False)
STAMPS = Stamps(revision=Revision(1), buckets=(), entries=(), more=False)
CLOSE = Close(code=CloseCode.DONE, reason="")


def drained(outgoing: Outgoing) -> list[Frame]:
    taken: list[Frame] = []
    while len(outgoing):
        taken.append(outgoing.take())
    return taken


@pytest.mark.parametrize(
    ("frame", "priority"),
    [
        (hello(), Priority.LIVENESS),
        (welcome(), Priority.LIVENESS),
        (Ping(number=1), Priority.LIVENESS),
        (Pong(number=1), Priority.LIVENESS),
        (Receipt(through=1), Priority.ANSWERS),
        (Ack(batch=1), Priority.ANSWERS),
        (Fetch(keys=(key("a"),)), Priority.ANSWERS),
        (Compare(batch=1, root=5), Priority.ANSWERS),
        (Compare(root=0, buckets=(0,) * 64), Priority.ANSWERS),
        (Compare(), Priority.OBJECTS),
        (Reports(reports=()), Priority.PROMPT),
        (Reports(reports=(), lane=BULK, first=1), Priority.LIVE),
        (Reports(reports=(), lane=BULK, first=1, late=True), Priority.BACKFILL),
        (CLOSE, Priority.PROMPT),
        (OBJECTS, Priority.OBJECTS),
        (STAMPS, Priority.OBJECTS),
        (StreamData(stream=1, data=b""), Priority.STREAMS),
    ],
)
def test_each_frame_has_its_class(frame: Frame, priority: Priority) -> None:
    assert priority_of(frame) is priority


def test_a_sign_of_life_goes_before_all_that_waits() -> None:
    outgoing = Outgoing()
    for frame in (Reports(reports=()), OBJECTS, Ack(batch=1), Ping(number=1)):
        outgoing.add(frame)
    assert outgoing.first() is Priority.LIVENESS
    assert drained(outgoing) == [Ping(number=1), Ack(batch=1), Reports(reports=()), OBJECTS]
    assert outgoing.first() is None


def test_a_sender_may_name_a_later_class() -> None:
    outgoing = Outgoing()
    outgoing.add(Reports(reports=()), Priority.BACKFILL)
    outgoing.add(StreamData(stream=1, data=b"x"))
    assert drained(outgoing) == [StreamData(stream=1, data=b"x"), Reports(reports=())]


@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(0, 5)), max_size=60))
def test_order_within_a_class_never_changes(waits: list[tuple[Priority, int]]) -> None:
    outgoing = Outgoing()
    for number, (priority, _) in enumerate(waits):
        outgoing.add(Ack(batch=number), priority)
    taken = [waits[frame.batch][0] for frame in drained(outgoing) if isinstance(frame, Ack)]
    assert taken == sorted(taken)
    for number, (priority, _) in enumerate(waits):
        outgoing.add(Ack(batch=number), priority)
    order = [frame.batch for frame in drained(outgoing) if isinstance(frame, Ack)]
    for priority in Priority:
        own = [number for number in order if waits[number][0] is priority]
        assert own == sorted(own)


def test_one_pong_waits_and_it_is_the_newest() -> None:
    outgoing = Outgoing()
    for number in range(1000):
        outgoing.add(Pong(number=number))
    assert drained(outgoing) == [Pong(number=999)]
    outgoing.add(Pong(number=1000))
    assert drained(outgoing) == [Pong(number=1000)], "one that was taken is not replaced any more"


def test_a_close_follows_the_answers_and_reports_and_drops_what_is_of_no_use_after_it() -> None:
    outgoing = Outgoing()
    for frame in (OBJECTS, Reports(reports=()), StreamData(stream=1, data=b""), Receipt(through=4)):
        outgoing.add(frame)
    outgoing.add(CLOSE)
    assert drained(outgoing) == [Receipt(through=4), Reports(reports=()), CLOSE]


def test_more_answers_than_a_peer_can_be_waiting_for_overflow() -> None:
    outgoing = Outgoing()
    for number in range(FRAMES_MAX):
        outgoing.add(Receipt(through=number))
    assert not outgoing.overflows
    outgoing.add(Receipt(through=FRAMES_MAX))
    assert outgoing.overflows
    outgoing.clear()
    assert (len(outgoing), outgoing.overflows) == (0, False)


def test_a_slow_link_gets_pieces_that_take_an_eighth_of_a_heartbeat() -> None:
    """64 kbit/s is 8,000 bytes a second: 3.75 s of a heartbeat of 30 s carry 30,000."""
    pace = Pace(64 * 1024)
    for _ in range(20):
        pace.sent(pace.part_bytes, took_s=pace.part_bytes / 8000, heartbeat_s=30)
        assert pace.part_bytes <= 64 * 1024
    assert 25_000 <= pace.part_bytes <= 30_000


def test_a_link_that_became_better_gets_larger_pieces_again() -> None:
    pace = Pace(64 * 1024)
    pace.sent(64 * 1024, took_s=600, heartbeat_s=30)
    assert pace.part_bytes == PART_BYTES_MIN
    for _ in range(20):
        pace.sent(pace.part_bytes, took_s=0.001, heartbeat_s=30)
    assert pace.part_bytes == 64 * 1024


def test_small_frames_say_nothing_of_a_link() -> None:
    pace = Pace(64 * 1024)
    pace.sent(64 * 1024, took_s=600, heartbeat_s=30)
    for _ in range(100):
        pace.sent(10, took_s=0.0, heartbeat_s=30)
    assert pace.part_bytes == PART_BYTES_MIN


@given(st.lists(st.tuples(st.integers(1, 4_000_000), st.floats(0, 1000)), max_size=50), st.integers(100, 200_000))
def test_pieces_stay_within_their_bounds(sends: list[tuple[int, float]], bytes_max: int) -> None:
    pace = Pace(bytes_max)
    for size, took_s in sends:
        pace.sent(size, took_s=took_s, heartbeat_s=1)
        assert min(PART_BYTES_MIN, bytes_max) <= pace.part_bytes <= bytes_max


def test_reports_that_waited_are_as_old_as_they_are_when_they_go() -> None:
    outgoing = Outgoing()
    report = Report(seq=1, kind="telemetry", key="k", body=b"{}", wall_ms=1, age_ms=40)
    waits = Reports(reports=(report,), lane=BULK, first=1)
    outgoing.add(waits, now_s=10.0)
    outgoing.add(Ack(batch=1), now_s=10.0)
    assert outgoing.take(now_s=12.0) == Ack(batch=1)
    taken = outgoing.take(now_s=12.5)
    assert isinstance(taken, Reports)
    assert taken == replace(waits, reports=(replace(report, age_ms=2540),))
    assert as_sent(waits, 0.0) is waits


def test_pieces_under_a_cap_are_what_it_takes_in_an_eighth_of_a_heartbeat() -> None:
    pace = Pace(64 * 1024)
    pace.capped(2000, heartbeat_s=30)
    assert pace.part_bytes == 7500
    pace.sent(7000, took_s=0.001, heartbeat_s=30)
    assert pace.part_bytes == 7500, "however fast the link is"
    pace.capped(0, heartbeat_s=30)
    assert pace.part_bytes == PART_BYTES_MIN
    pace.capped(None, heartbeat_s=30)
    assert pace.part_bytes == 64 * 1024
