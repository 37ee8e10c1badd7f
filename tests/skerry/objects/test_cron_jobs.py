"""When a CronJob's schedule comes, against looking at every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.cron_jobs import CronSchedule, parse_schedule, time_zone

ZONES = ("", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def shown(at_ms: int | None) -> str:
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


@pytest.mark.parametrize(
    ("schedule", "after", "comes"),
    [
        ("*/15 * * * *", "2026-07-09T14:45:00Z", "2026-07-09T15:00:00+00:00"),
        ("*/15 * * * *", "2026-07-09T14:59:59Z", "2026-07-09T15:00:00+00:00"),
        ("20-35/15 * * * *", "2026-07-09T14:36:00Z", "2026-07-09T15:20:00+00:00"),
        ("5/20 * * * *", "2026-07-09T14:06:00Z", "2026-07-09T14:25:00+00:00"),
        ("0 0 29 feb ?", "2026-07-09T14:06:00Z", "2028-02-29T00:00:00+00:00"),
        ("0 0 * Feb Mon", "2026-07-09T00:00:00Z", "2027-02-01T00:00:00+00:00"),
        ("@daily", "2026-12-31T23:59:00Z", "2027-01-01T00:00:00+00:00"),
        ("@weekly", "2026-07-09T00:00:00Z", "2026-07-12T00:00:00+00:00"),
        ("@yearly", "2026-07-09T00:00:00Z", "2027-01-01T00:00:00+00:00"),
        ("59 23 31 2 *", "2026-07-09T00:00:00Z", ""),
        ("0 0 13 * 5", "2026-11-01T00:00:00Z", "2026-11-06T00:00:00+00:00"),
        ("0 0 */13 * 5", "2026-11-12T00:00:00Z", "2026-11-13T00:00:00+00:00"),
        ("0 0 */13 * 5", "2026-11-13T00:00:00Z", "2026-11-14T00:00:00+00:00"),
        ("0 0 * * 5", "2026-11-01T00:00:00Z", "2026-11-06T00:00:00+00:00"),
        ("@every 1h30m", "2026-07-09T14:45:30Z", "2026-07-09T16:15:30+00:00"),
        ("@every 10ms", "2026-07-09T14:45:30Z", "2026-07-09T14:45:31+00:00"),
    ],
)
def test_when_a_schedule_comes(schedule: str, after: str, comes: str) -> None:
    assert shown(parse_schedule(schedule).next_ms(ms(after))) == comes


@pytest.mark.parametrize(
    ("schedule", "after", "comes"),
    [
        # Put forward at 2:00: that day it does not come.
        ("30 2 * * *", "2026-03-08T00:00:00-05:00", "2026-03-09T02:30:00-04:00"),
        # Put back at 2:00: it comes twice.
        ("30 1 * * *", "2026-11-01T00:00:00-04:00", "2026-11-01T01:30:00-04:00"),
        ("30 1 * * *", "2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00"),
        ("0 * * * *", "2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"),
    ],
)
def test_summer_time_in_new_york(schedule: str, after: str, comes: str) -> None:
    assert parse_schedule(schedule, "America/New_York").next_ms(ms(after)) == ms(comes)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("0 0 L * *", 'failed to parse int from L: strconv.Atoi: parsing "L": invalid syntax'),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("@Daily", "unrecognized descriptor: @Daily"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
        ("@every 99999999h", 'failed to parse duration @every 99999999h: time: invalid duration "99999999h"'),
    ],
)
def test_what_is_no_schedule_says_why(text: str, fault: str) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_schedule(text)
    assert str(refused.value) == fault


@pytest.mark.parametrize("name", ["Nowhere/City", "../zone", "-x", "a" * 15, "Europe//Berlin", "."])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        time_zone(name)


PARTS = st.sampled_from(["*", "?", "*/2", "*/7", "3", "1,5", "2-4", "10/3", "0-59/20"])
HOURS = st.sampled_from(["*", "0", "1", "2", "3", "23", "1-3", "*/6", "0,12"])
DAYS = st.sampled_from(["*", "1", "15", "*/10", "28-31"])
MONTHS = st.sampled_from(["*", "3", "10,11", "apr", "*/4"])
WEEKDAYS = st.sampled_from(["*", "0", "sun", "1-5", "*/3"])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(PARTS, HOURS, DAYS, MONTHS, WEEKDAYS),
    st.sampled_from(ZONES),
    st.integers(ms("2026-01-01T00:00:00Z") // 60_000, ms("2026-12-31T00:00:00Z") // 60_000),
)
def test_a_schedule_comes_at_the_first_minute_that_fits(parts: tuple[str, ...], zone: str, minute: int) -> None:
    schedule = parse_schedule(" ".join(parts), zone)
    found = schedule.next_ms(minute * 60_000)
    at = datetime.fromtimestamp(minute * 60, UTC)
    for _ in range(3 * 24 * 60):
        at += timedelta(minutes=1)
        if fits(schedule, at, zone):
            assert found == int(at.timestamp() * 1000)
            return
    assert found is None or found > int(at.timestamp() * 1000)


def fits(schedule: CronSchedule, at: datetime, zone: str) -> bool:
    local = at.astimezone(ZoneInfo(zone) if zone else UTC)
    minutes, hours, days, months, weekdays = schedule.fields
    of_month, of_week = local.day in days, local.isoweekday() % 7 in weekdays
    day = (of_month or of_week) if schedule.either_day else (of_month and of_week)
    return local.minute in minutes and local.hour in hours and local.month in months and day


def test_times_at_the_end_of_time_are_no_fault() -> None:
    schedule = parse_schedule("0 0 29 2 *")
    assert schedule.next_ms(ms("9998-01-01T00:00:00Z")) is None
    assert schedule.next_ms(-62_135_596_800_000) == ms("1972-02-29T00:00:00Z")


class Looks(tzinfo):
    """UTC, which counts how often it is asked."""

    count = 0

    def utcoffset(self, dt: datetime | None, /) -> timedelta:
        self.count += 1
        return timedelta(0)

    def dst(self, dt: datetime | None, /) -> timedelta:
        return timedelta(0)

    def fromutc(self, dt: datetime, /) -> datetime:
        self.count += 1
        return dt


@pytest.mark.parametrize(
    ("text", "comes"),
    [
        (", * * * *", ""),
        ("* , * * *", ""),
        ("* * , * *", ""),
        ("* * * , *", ""),
        ("* * * * ,", ""),
        ("59 23 30 2 *", ""),
        ("59 23 31 2,4,6,9,11 *", ""),
        ("59 23 29 2 *", "2028-02-29T23:59:00+00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59:00+00:00"),
        ("0 0 1 1 *", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_what_comes_seldom_or_never_is_found_in_few_looks(text: str, comes: str) -> None:
    looks = Looks()
    schedule = replace(parse_schedule(text), zone=looks)
    assert shown(schedule.next_ms(ms("2026-03-01T00:00:00Z"))) == comes
    assert looks.count < 4_000
