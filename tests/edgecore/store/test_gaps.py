"""What is said of what was dropped."""

from __future__ import annotations

from edgecore.store.gaps import SERIES_MAX, Lost, damaged_gap, series_gaps, widen_gap
from edgecore.store.port import OutboxReport
from skerry.objects.json import decode_object
from skerry.objects.reports import GapReport, SeriesGapReport


def dropped(seq: int, key: str = "s") -> OutboxReport:
    return OutboxReport(
        seq=seq,
        report_class="telemetry",
        kind="telemetry",
        key=key,
        body=b"",
        wall_ms=seq * 10,
        boot_id="b",
        monotonic_ms=0,
    )


def test_an_episode_counts_by_reason_and_the_next_begins_anew() -> None:
    gap = widen_gap(None, "telemetry", [dropped(1), dropped(2)], same_episode=False, reason="expired")
    gap = widen_gap(gap, "telemetry", [dropped(3)], same_episode=True, reason="room")
    gap = widen_gap(gap, "telemetry", [dropped(4)], same_episode=True)
    assert (gap.dropped, gap.expired, gap.for_room, gap.total) == (4, 2, 1, 4)
    assert GapReport.decode(decode_object(gap.encode())) == gap
    gap = widen_gap(gap, "telemetry", [dropped(5)], same_episode=False)
    assert (gap.dropped, gap.expired, gap.for_room, gap.total, gap.first_seq) == (1, 0, 0, 5, 5)


def test_what_was_damaged_is_counted_apart_and_may_be_unknown() -> None:
    gap = widen_gap(None, "telemetry", [dropped(1)], same_episode=False, reason="expired")
    gap = damaged_gap(gap, "telemetry", Lost(3, 8, 30, 80), count=5, size=500, same_episode=True)
    assert (gap.dropped, gap.expired, gap.damaged, gap.total, gap.unknown) == (6, 1, 5, 6, False)
    assert (gap.first_seq, gap.last_seq, gap.first_wall_ms, gap.last_wall_ms) == (1, 8, 10, 80)
    gap = damaged_gap(gap, "telemetry", Lost(9, 9, 90, 90), count=0, size=0, same_episode=True)
    gap = widen_gap(gap, "telemetry", [dropped(10)], same_episode=True)
    assert (gap.dropped, gap.damaged, gap.total, gap.unknown) == (7, 5, 7, True)
    assert GapReport.decode(decode_object(gap.encode())) == gap
    gap = damaged_gap(gap, "telemetry", Lost(12, 13, 120, 130), count=2, size=20, same_episode=False)
    assert (gap.dropped, gap.damaged, gap.total, gap.unknown, gap.first_seq) == (2, 2, 9, False, 12)


def test_holes_that_wait_are_widened_when_there_are_as_many_as_may() -> None:
    waiting = {
        f"s{number}": SeriesGapReport(first_seq=number, dropped=1, first_wall_ms=5, last_wall_ms=5)
        for number in range(SERIES_MAX)
    }
    (told,) = series_gaps(waiting, [dropped(900, "s3"), dropped(901, "new"), dropped(902, "s3")], "budget")
    assert told.key == "s3"
    assert SeriesGapReport.decode(decode_object(told.body)) == SeriesGapReport(
        first_seq=3, dropped=3, first_wall_ms=5, last_wall_ms=9020
    )
