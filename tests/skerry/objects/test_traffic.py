"""Bytes added up by hour and day, and said as a bill has them."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError
from skerry.objects.traffic import (
    DAY_MS,
    DAYS_KEPT,
    HOUR_MS,
    HOURS_KEPT,
    TrafficBook,
    Usage,
    parse_budget,
    parse_size,
    size_text,
    whole_since,
)

T0_MS = 1_790_000_000_000 - 1_790_000_000_000 % DAY_MS


def usage(up: int = 1) -> Usage:
    return Usage(up={"live": up}, down={"session": 2}, wire_up=10 * up, wire_down=20)


def test_usage_adds_up_class_by_class() -> None:
    total = usage(1) + Usage(up={"live": 2, "session": 3}, wire_down=5)
    assert total == Usage(up={"live": 3, "session": 3}, down={"session": 2}, wire_up=10, wire_down=25)
    assert total.wire == 35
    assert not Usage() and not Usage(up={"live": 0})
    assert Usage.read(total.shown()) == total


def test_a_book_keeps_some_hours_and_more_days() -> None:
    book = TrafficBook()
    for hour in range(24 * (DAYS_KEPT + 5)):
        book.add(usage(), T0_MS + hour * HOUR_MS + 5)
    end_ms = T0_MS + 24 * (DAYS_KEPT + 5) * HOUR_MS
    shown = book.shown()
    assert len(shown["hours"]) == HOURS_KEPT and len(shown["days"]) == DAYS_KEPT  # type: ignore[arg-type]
    assert book.since(end_ms - 2 * HOUR_MS).wire_up == 20
    assert book.since(end_ms - 30 * DAY_MS).wire_up == 30 * 24 * 10
    assert TrafficBook.read(shown).shown() == shown


def test_the_running_hour_counts_whole() -> None:
    book = TrafficBook.of([(T0_MS + 10, usage())])
    assert book.since(T0_MS + 20).wire_up == 10


def test_what_was_counted_before_is_taken_away() -> None:
    assert usage(3) - usage(1) == Usage(up={"live": 2}, down={"session": 0}, wire_up=20, wire_down=0)
    assert not usage() - usage()


def test_a_time_is_asked_for_by_whole_hours_then_days_and_not_before_what_is_kept() -> None:
    now_ms = T0_MS + 10 * DAY_MS + 6 * HOUR_MS + 180_000
    assert whole_since(now_ms - HOUR_MS, now_ms) == T0_MS + 10 * DAY_MS + 5 * HOUR_MS
    assert whole_since(now_ms - 70 * HOUR_MS, now_ms) == T0_MS + 7 * DAY_MS + 8 * HOUR_MS
    assert whole_since(now_ms - 80 * HOUR_MS, now_ms) == T0_MS + 6 * DAY_MS
    assert whole_since(now_ms - 300 * DAY_MS, now_ms, days_kept=5) == T0_MS + 6 * DAY_MS
    assert whole_since(now_ms - 300 * DAY_MS, now_ms, days_kept=1) == T0_MS + 9 * DAY_MS + 7 * HOUR_MS


def test_a_young_book_counts_by_hours_however_far_back_it_is_asked() -> None:
    at_ms = T0_MS + 5 * HOUR_MS
    book = TrafficBook.of([(at_ms + 10, usage())])
    assert book.begin_ms == at_ms and TrafficBook().begin_ms is None
    assert book.since(T0_MS - 40 * DAY_MS).wire_up == 10
    assert book.since(at_ms + HOUR_MS) == Usage(), "the day that it lies in has an hour which does not count"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (4096, "4.1 kB"), (1_300_000, "1.3 MB"), (2 * 10**12, "2000.0 GB")],
)
def test_sizes_are_said_in_powers_of_ten(count: int, text: str) -> None:
    assert size_text(count) == text


def test_budgets_are_read_or_named() -> None:
    assert parse_size("1.5GiB") == 1_610_612_736
    assert parse_budget("daily=2MB, monthly=50 MB") == {"daily": 2_000_000, "monthly": 50_000_000}
    for bad in ("", "weekly=1MB", "daily", "daily=lots", "daily=5", "daily=1MB,", "daily=" + "9" * 40 + "MB"):
        with pytest.raises(InvalidError, match=r"skerry.dev/traffic-budget, part \d \(.*write"):
            parse_budget(bad)
    with pytest.raises(InvalidError, match="f: 2000 characters are over 200"):
        parse_budget("x" * 2000, source="f")
    with pytest.raises(InvalidError, match=r"f, part 2 .*daily is given twice"):
        parse_budget("daily=1MB,daily=2MB", source="f")
