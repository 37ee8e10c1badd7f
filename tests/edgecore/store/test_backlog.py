"""What is told of a backlog: in steps, and dated by whatever clock is known."""

from __future__ import annotations

import pytest

from edgecore.store.backlog import MOVES_MS, WAITS_MS, Backlog, Now, backlog_of, backlog_text, waits_long, written_ms
from edgecore.store.port import ClassWaits, OutboxReport, StoreStats
from skerry.objects.reports import GapReport
from skerry.sync.ports import BootTimes, Reading

NOW = Now(wall_ms=1_790_000_000_000, monotonic_ms=50_000)
MINUTE = 60_000


def report(*, boot_id: str = "b", wall_ms: int = 0, monotonic_ms: int = 0) -> OutboxReport:
    return OutboxReport(
        seq=1,
        report_class="telemetry",
        kind="telemetry",
        key="s",
        body=b"",
        wall_ms=wall_ms,
        boot_id=boot_id,
        monotonic_ms=monotonic_ms,
    )


def boot(boot_id: str, reading: Reading | None = None) -> BootTimes:
    return BootTimes(boot_id=boot_id, opened_ms=0, last_ms=0, reading=reading)


def test_a_report_is_dated_by_the_best_clock_that_is_known() -> None:
    heard = Reading(said_ms=10_000, heard_ms=10_000, server_ms=1_780_000_000_000)
    boots = [boot("heard", heard), boot("deaf"), boot("b")]
    assert written_ms(report(monotonic_ms=20_000, wall_ms=7), boots, NOW) == NOW.wall_ms - 30_000
    assert written_ms(report(boot_id="heard", monotonic_ms=10_000, wall_ms=7), boots, NOW) == 1_780_000_000_000
    assert written_ms(report(boot_id="deaf", wall_ms=1_785_000_000_000), boots, NOW) == 1_785_000_000_000
    assert written_ms(report(boot_id="forgotten", wall_ms=2 * NOW.wall_ms), boots, NOW) == NOW.wall_ms


def test_all_classes_and_all_gaps_count() -> None:
    waits = [
        ClassWaits(report_class="state", reports=2, size_bytes=10, oldest=report(monotonic_ms=40_000)),
        ClassWaits(report_class="telemetry", reports=5, size_bytes=10, oldest=report(monotonic_ms=30_000)),
    ]
    gap = GapReport(
        report_class="telemetry",
        dropped=1,
        size_bytes=1,
        total=3,
        first_seq=1,
        last_seq=1,
        first_wall_ms=0,
        last_wall_ms=0,
    )
    stats = StoreStats(outbox_reports=7, outbox_bytes=20, waiting=tuple(waits), objects=0, gaps=(gap, gap))
    assert backlog_of(stats, [boot("b")], NOW) == Backlog(reports=7, since_ms=NOW.wall_ms - 20_000, dropped=6)
    empty = StoreStats(outbox_reports=0, outbox_bytes=0, waiting=(), objects=0, gaps=())
    assert not waits_long(backlog_of(empty, [boot("b")], NOW), NOW.wall_ms, before=True)


def test_it_begins_late_and_ends_early() -> None:
    backlog = Backlog(reports=1, since_ms=0, dropped=0)
    assert [waits_long(backlog, at, before=False) for at in (WAITS_MS - 1, WAITS_MS)] == [False, True]
    assert [waits_long(backlog, at, before=True) for at in (MOVES_MS - 1, MOVES_MS)] == [False, True]


@pytest.mark.parametrize(
    ("reports", "minutes", "dropped", "text"),
    [
        (1, 1, 0, "edgecore has a report that waits for the cloud, the oldest for a minute or longer"),
        (1023, 9, 0, "edgecore has at least 512 reports that wait for the cloud, the oldest for 5 minutes or longer"),
        (
            2047,
            1439,
            0,
            "edgecore has at least 1024 reports that wait for the cloud, the oldest for 12 hours or longer",
        ),
        (
            5000,
            99_999,
            300,
            (
                "edgecore has at least 4096 reports that wait for the cloud, the oldest for 30 days or longer; "
                "at least 256 were dropped since its outbox was made"
            ),
        ),
        (2, 0, 0, "edgecore has at least 2 reports that wait for the cloud"),
    ],
)
def test_the_message_has_lower_bounds(reports: int, minutes: int, dropped: int, text: str) -> None:
    backlog = Backlog(reports=reports, since_ms=0, dropped=dropped)
    assert backlog_text(backlog, minutes * MINUTE, long=True) == text


def test_what_was_dropped_is_told_when_nothing_waits_any_more() -> None:
    assert backlog_text(Backlog(reports=0, since_ms=0, dropped=0), 0, long=False) == (
        "edgecore has nothing that waits long for the cloud"
    )
    assert "at least 8 were dropped" in backlog_text(Backlog(reports=0, since_ms=0, dropped=9), 0, long=False)
