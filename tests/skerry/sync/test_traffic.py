"""Every frame counts once, in its class and direction."""

from __future__ import annotations

import pytest

from skerry.objects.traffic import CLASSES, Usage
from skerry.sync.traffic import ANSWER_WIRE_BYTES, FRAME_WIRE_BYTES, Meter, class_of
from skerry.wire.codec import FRAME_NUMBERS
from skerry.wire.frames import Frame, Ping, Report, Reports
from tests.skerry.wire.samples import SAMPLES


class Wire:
    """A link that counts."""

    def __init__(self) -> None:
        self.counted: tuple[int, int] | None = (100, 60)

    def wire_bytes(self) -> tuple[int, int] | None:
        return self.counted


def reports(kind: str, age_ms: int) -> Reports:
    return Reports(reports=(Report(seq=1, kind=kind, key="k", body=b"{}", wall_ms=1, age_ms=age_ms),))


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (reports("pod_status", 90_000), "prompt"),
        (reports("telemetry", 10), "live"),
        (reports("telemetry", 90_000), "backfill"),
        (SAMPLES["objects"], "objects"),
        (SAMPLES["stream_data"], "streams"),
        (SAMPLES["hello"], "session"),
        (None, "session"),
    ],
)
def test_frames_have_classes(frame: Frame | None, name: str) -> None:
    assert CLASSES[class_of(frame)] == name


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
