"""Times of rules, as cron has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.objects.cron import LOOK_BACK_MIN, next_minute_ms, schedule_of

BERLIN = ZoneInfo("Europe/Berlin")


def ms(*at: int, zone: object = UTC) -> int:
    assert isinstance(zone, ZoneInfo) or zone is UTC
    return round(datetime(*at, tzinfo=zone).timestamp() * 1000)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "at", "is_on"),
    [
        ("0 6 * * 1-5", (2026, 11, 27, 6, 0), True),
        ("0 6 * * 1-5", (2026, 11, 28, 6, 0), False),
        ("0 6 * * MON-fri", (2026, 11, 27, 6, 0), True),
        ("*/15 * * * *", (2026, 1, 1, 3, 45), True),
        ("*/15 * * * *", (2026, 1, 1, 3, 46), False),
        ("5/20 * * * *", (2026, 1, 1, 3, 45), True),
        ("0 0 1 * 0", (2026, 11, 29, 0, 0), True),
        ("0 0 1 * 0", (2026, 12, 1, 0, 0), True),
        ("0 0 1 * *", (2026, 11, 29, 0, 0), False),
        ("0 0 * * 7", (2026, 11, 29, 0, 0), True),
        ("0 0 29 2 *", (2028, 2, 29, 0, 0), True),
        ("0 0 * jan,DEC *", (2026, 12, 5, 0, 0), True),
        ("@hourly", (2026, 12, 5, 7, 0), True),
        ("@weekly", (2026, 11, 29, 0, 0), True),
    ],
)
def test_minutes_are_those_of_cron(text: str, at: tuple[int, ...], *, is_on: bool) -> None:
    assert schedule_of(text).is_on(datetime(*at, tzinfo=UTC)) is is_on


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* * * *", "five fields"),
        ("60 * * * *", "no minute"),
        ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day of month"),
        ("* * * 13 *", "no month"),
        ("* * * * 8", "no day of week"),
        ("a * * * *", "no minute"),
        ("5-1 * * * *", "smaller to the larger"),
        ("*/0 * * * *", "steps of 1"),
        ("1,,2 * * * *", "no minute"),
        ("0 0 31 2 *", "no such day"),
    ],
)
def test_what_is_no_time_is_refused_with_its_field(text: str, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        schedule_of(text)


def test_a_minute_comes_once_and_one_that_was_missed_is_past() -> None:
    schedule = schedule_of("0 6 * * *")
    six = ms(2026, 11, 27, 6, 0)
    assert schedule.came(after_ms=six - 1, until_ms=six)
    assert not schedule.came(after_ms=six, until_ms=six + 30_000)
    assert schedule.came(after_ms=six - 3_600_000, until_ms=six + LOOK_BACK_MIN * 60_000)
    assert not schedule.came(after_ms=six - 3_600_000, until_ms=six + (LOOK_BACK_MIN + 1) * 60_000)
    assert not schedule.came(after_ms=six + 3_600_000, until_ms=six)
    assert next_minute_ms(six) == six + 60_000


def test_times_are_of_a_zone_and_a_clock_that_is_put_back_repeats_none() -> None:
    schedule = schedule_of("30 2 * * *", "Europe/Berlin")
    at = datetime(2026, 10, 25, tzinfo=UTC) - timedelta(hours=1)
    came = 0
    for _ in range(6 * 60):
        before, at = at, at + timedelta(minutes=1)
        came += schedule.came(after_ms=round(before.timestamp() * 1000), until_ms=round(at.timestamp() * 1000))
    assert came == 1


@pytest.mark.parametrize(("text", "minutes"), [("*/5 * * * *", 5), ("0 * * * *", 60), ("7,37 * * * *", 30)])
@pytest.mark.parametrize("day", [(2026, 10, 25), (2026, 3, 29)])
def test_a_pace_goes_on_when_summer_time_ends_or_begins(text: str, minutes: int, day: tuple[int, int, int]) -> None:
    schedule = schedule_of(text, "Europe/Berlin")
    start = ms(*day, 0, 0)
    came = [
        minute
        for minute in range(6 * 60)
        if schedule.came(after_ms=start + (minute - 1) * 60_000, until_ms=start + minute * 60_000)
    ]
    assert {later - earlier for earlier, later in pairwise(came)} == {minutes}


@given(st.integers(0, 2**41), st.integers(0, 10**7))
def test_every_minute_comes_in_any_span_that_has_one(after_ms: int, span_ms: int) -> None:
    until_ms = after_ms + span_ms
    assert schedule_of("* * * * *").came(after_ms=after_ms, until_ms=until_ms) == (
        until_ms >= next_minute_ms(after_ms)
    )
