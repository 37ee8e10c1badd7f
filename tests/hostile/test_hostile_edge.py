"""A gateway that means ill, with a certificate of its own, against the cloud's machine and codec alone."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from skerry.errors import ProtocolError
from skerry.objects.meta import Key, Stamp
from skerry.sync.cloud import CloudSession, CloudState
from skerry.sync.effects import Commit
from skerry.sync.intake import WAITING_BYTES_MAX
from skerry.sync.ports import SyncSettings
from skerry.wire.codec import FIELDS_MAX, LIST_MAX, decode, encode
from skerry.wire.frames import (
    Ack,
    Close,
    Compare,
    Fetch,
    Frame,
    Objects,
    ObjectState,
    Report,
    Reports,
    Stamped,
    Stamps,
)
from tests.skerry.sync.conversation import FakeView, a_cloud, at, frames, key, state

VIEW = 400


@dataclass(slots=True)
class WatchedView(FakeView):
    """Counts how often all of it is walked."""

    walks: int = 0
    reads: list[Key] = field(default_factory=list[Key])

    def stamps(self) -> Iterator[tuple[Key, Stamp]]:
        self.walks += 1
        return FakeView.stamps(self)

    def state(self, key: Key) -> ObjectState | None:
        self.reads.append(key)
        return FakeView.state(self, key)

    def secret(self, key: Key) -> bool:
        return False

    def closure(self, key: Key) -> Sequence[Key]:
        return FakeView.closure(self, key)


def a_view() -> WatchedView:
    view = WatchedView()
    view.put(*(state(f"c-{number}", number + 1, size=500) for number in range(VIEW)))
    return view


def told(cloud: CloudSession) -> list[Frame]:
    """All that it sends now, on a link that takes everything."""
    return [*frames(cloud.effects()), *iter(cloud.idle_frame, None)]


def catching_up(view: FakeView) -> CloudSession:
    cloud = a_cloud(view)
    cloud.receive(Compare(buckets=(0,) * 64), at(0))
    assert cloud.state is CloudState.CATCHING_UP
    told(cloud)
    return cloud


def reports(first: int, count: int, size: int) -> Reports:
    return Reports(
        reports=tuple(
            Report(seq=first + at, kind="telemetry", key="k", body=bytes(size), wall_ms=0, age_ms=0)
            for at in range(count)
        )
    )


def test_reports_that_wait_for_a_slow_database_are_bounded_in_bytes() -> None:
    cloud = catching_up(a_view())
    for number in range(1, WAITING_BYTES_MAX // 3_000_000 + 2):
        cloud.receive(reports(number, 1, 3_000_000), at(1))
    assert cloud.state is CloudState.CLOSED


def test_reports_within_the_window_go_on_for_ever() -> None:
    cloud = catching_up(a_view())
    committed = 0
    for number in range(1, 200):
        cloud.receive(reports(number, 1, 1_000_000), at(1))
        for effect in cloud.effects():
            if isinstance(effect, Commit):
                cloud.committed()
                committed += 1
    assert (cloud.state, committed) == (CloudState.CATCHING_UP, 199)


def test_an_edge_that_acknowledges_nothing_holds_back_a_window_and_no_more() -> None:
    view = a_view()
    cloud = catching_up(view)
    for _ in range(50):
        cloud.receive(Fetch(keys=tuple(view.states)), at(1))
    batches = {frame.batch for frame in told(cloud) if isinstance(frame, Objects)}
    assert len(batches) <= SyncSettings().window_batches
    assert cloud.waiting <= VIEW


def test_keys_that_nobody_has_are_taken_in_small_numbers_only() -> None:
    cloud = catching_up(a_view())
    for turn in range(100):
        cloud.receive(Fetch(keys=tuple(key(f"x-{turn}-{number}") for number in range(64))), at(1))
    assert cloud.state is CloudState.CLOSED


def test_buckets_are_answered_once_for_each_time_they_are_asked_for() -> None:
    cloud = catching_up(a_view())
    cloud.receive(Compare(buckets=(0,) * 64), at(1))
    assert cloud.state is CloudState.CLOSED


def test_a_receiver_of_nothing_but_foreign_keys_learns_nothing() -> None:
    cloud = catching_up(a_view())
    cloud.receive(Fetch(keys=(key("theirs"), key("nowhere"))), at(1))
    (said,) = told(cloud)
    assert isinstance(said, Objects)
    assert (said.puts, set(said.deletes)) == ((), {key("theirs"), key("nowhere")})


def test_roots_told_in_a_loop_do_not_make_the_cloud_walk_the_view_each_time() -> None:
    view = a_view()
    cloud = catching_up(view)
    view.walks = 0
    for _ in range(1000):
        cloud.receive(Compare(root=1), at(1))
    assert view.walks <= 1
    view.put(state("c-1", 1000))
    cloud.receive(Compare(root=1), at(1))
    assert view.walks <= 2, "another revision of the view has another root"


# --- bytes ---


def deflated(plain: bytes) -> bytes:
    deflater = zlib.compressobj(level=9, wbits=-15)
    return delimited(31, deflater.compress(plain) + deflater.flush())


def delimited(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    "plain",
    [
        delimited(10, b"\x50\x00" * 2_000_000),
        delimited(10, b"\x08\x01" * 2_000_000),
        b"\x50\x00" * 2_000_000 + delimited(10, b""),
        delimited(6, delimited(3, delimited(1, b"") * 1_000_000)),
        delimited(4, delimited(3, b"\x50\x00" * 100) * 8000),
        b"\x52\x00" * 2_000_000,
    ],
    ids=["unknown", "repeated", "beside", "nested", "spread", "frames"],
)
def test_a_frame_of_endless_fields_is_given_up_early(plain: bytes) -> None:
    bomb = deflated(plain)
    assert len(bomb) < 20_000
    started_s = time.process_time()
    with pytest.raises(ProtocolError, match=f"more than {FIELDS_MAX} fields|without"):
        decode(bomb)
    assert time.process_time() - started_s < 1.0, "about 50 ms on an idle machine; unbounded it was a second"


def test_the_longest_lists_that_are_sent_are_read() -> None:
    entry = Stamped(key=Key("configmaps", "ns", "x"), stamp=Stamp("u", state("x", 1).stamp.revision))
    frame = Stamps(revision=entry.stamp.revision, buckets=tuple(range(64)), entries=(entry,) * LIST_MAX, more=False)
    assert decode(encode(frame)) == frame


def test_a_number_outside_its_range_is_refused_packed_or_not() -> None:
    for content in (b"\x10" + b"\xff" * 9 + b"\x01", b"\x12\x0a" + b"\xff" * 9 + b"\x01"):
        with pytest.raises(ProtocolError, match="buckets"):
            decode(delimited(4, content))


def test_a_reason_ends_a_session_whatever_it_says() -> None:
    cloud = catching_up(a_view())
    cloud.receive(Close(code=2**63 - 1, reason="\n\x1b[2J" * 500, retry_after_ms=2**63 - 1), at(1))
    assert cloud.state is CloudState.CLOSED


def test_acknowledging_what_was_not_sent_ends_the_session() -> None:
    cloud = catching_up(a_view())
    cloud.receive(Ack(batch=1), at(1))
    assert cloud.state is CloudState.CLOSED
