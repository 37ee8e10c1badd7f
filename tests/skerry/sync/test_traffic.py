"""Every frame counts once, in its class and direction."""

from __future__ import annotations

import pytest

from skerry.objects.traffic import CLASSES, Usage
from skerry.sync.priorities import Priority, classified, priority_of
from skerry.sync.traffic import ANSWER_WIRE_BYTES, FRAME_WIRE_BYTES, Meter, class_of, wire_size
from skerry.wire.codec import FRAME_NUMBERS
from skerry.wire.frames import BULK, PROMPT, Ack, Close, Frame, Ping, Report, Reports
from tests.skerry.wire.samples import SAMPLES


class Wire:
    """A link that counts."""

    def __init__(self) -> None:
        self.counted: tuple[int, int] | None = (100, 60)

    def wire_bytes(self) -> tuple[int, int] | None:
        return self.counted


def reports(lane: int, *, first: int = 1, late: bool = False) -> Reports:
    report = Report(seq=1, kind="telemetry", key="k", body=b"{}", wall_ms=1, age_ms=90_000)
    return Reports(reports=(report,), lane=lane, first=first, late=late)


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (reports(PROMPT), "prompt"),
        (reports(BULK), "live"),
        (reports(BULK, late=True), "backfill"),
        (reports(0, first=0), "prompt"),
        (SAMPLES["objects"], "objects"),
        (SAMPLES["compare"], "session"),
        (Ack(batch=1), "session"),
        (Close(code=1, reason=""), "session"),
        (SAMPLES["stream_data"], "streams"),
        (SAMPLES["hello"], "session"),
        (None, "session"),
    ],
)
def test_frames_have_classes(frame: Frame | None, name: str) -> None:
    assert CLASSES[class_of(frame)] == name


CLASSES_IN_LINE: dict[Priority, set[str]] = {
    Priority.LIVENESS: {"session"},
    Priority.ANSWERS: {"session"},
    Priority.PROMPT: {"session", "prompt"},
    Priority.OBJECTS: {"session", "objects"},
    Priority.STREAMS: {"streams"},
    Priority.LIVE: {"live"},
    Priority.BACKFILL: {"backfill"},
}


def test_frames_wait_and_are_counted_by_one_classification() -> None:
    """What waits as readings or streams is counted as that; only what is the session's own stands in other lines."""
    frames = [*SAMPLES.values(), *(reports(lane, late=late) for lane in (PROMPT, BULK) for late in (False, True))]
    for frame in frames:
        assert CLASSES[class_of(frame)] in CLASSES_IN_LINE[priority_of(frame)], frame
        assert classified(frame) == (priority_of(frame), CLASSES[class_of(frame)])


@pytest.mark.parametrize("size", [4, 1448, 8192, 65_536])
def test_the_network_carries_a_frame_with_headers_for_each_packet_and_record(size: int) -> None:
    assert wire_size(4) == 4 + FRAME_WIRE_BYTES
    assert size < wire_size(size) <= size * 1.05 + FRAME_WIRE_BYTES


def test_every_kind_of_frame_is_counted() -> None:
    meter = Meter()
    for frame in SAMPLES.values():
        meter.sent(frame, 10)
    assert sum(meter.take(None, sent_is_up=True).up.values()) == 10 * len(SAMPLES) >= 10 * len(FRAME_NUMBERS)


def test_what_the_network_says_is_taken_and_counted_once() -> None:
    meter, wire = Meter(), Wire()
    meter.sent(Ping(number=1), 4)
    first = meter.take(wire, sent_is_up=True)
    assert (first.up["session"], first.wire_up, first.wire_down) == (4, 100, 60)
    assert not meter.take(wire, sent_is_up=True)
    wire.counted = (150, 61)
    meter.look(wire)
    wire.counted = None  # it has ended
    last = meter.take(wire, sent_is_up=False)
    assert (last.wire_down, last.wire_up) == (50, 1)


def test_where_nobody_counts_the_network_is_estimated() -> None:
    meter = Meter()
    meter.sent(Ping(number=1), 4)
    usage = meter.take(object(), sent_is_up=True)
    assert (usage.wire_up, usage.wire_down) == (4 + FRAME_WIRE_BYTES, ANSWER_WIRE_BYTES)
    assert meter.take(object(), sent_is_up=True) == Usage(
        up=dict.fromkeys(CLASSES, 0), down=dict.fromkeys(CLASSES, 0)
    )
