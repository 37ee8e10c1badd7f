"""Times of day in the five fields of cron, as CronJob has them: minute, hour, day of month, month, day of week.

Where both days are given, either does, as in cron. Pure; keeps nothing. A time that summer time skips does not come;
one that its end repeats comes once, but of a schedule of every hour, whose pace goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from skerry.errors import InvalidError
from skerry.frozen import Frozen

_MONTHS: Final = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
_DAYS: Final = "SUN MON TUE WED THU FRI SAT"
_FIELDS: Final[tuple[tuple[str, int, int, tuple[str, ...]], ...]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, tuple(_MONTHS.split())),
    ("day of week", 0, 7, tuple(_DAYS.split())),
)
_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART: Final = re.compile(r"(?:(?P<all>[*?])|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d{1,3}))?", re.ASCII)
_MINUTE_MS: Final = 60_000
_HOURS: Final = 24
LOOK_BACK_MIN: Final = 3
"""Minutes that are looked at after a pause: a busy machine may be late, and what an agent that was off has missed is
past."""


class Schedule(Frozen):
    """Minutes of some days."""

    text: str
    fields: tuple[frozenset[int], ...]
    any_day: bool
    """Both days are given: either does."""
    zone: tzinfo

    def is_on(self, at: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.fields
        of_month, of_week = at.day in days, at.isoweekday() % 7 in weekdays
        day = (of_month or of_week) if self.any_day else (of_month and of_week)
        return at.minute in minutes and at.hour in hours and at.month in months and day

    def came(self, *, after_ms: int, until_ms: int) -> bool:
        """Whether one of its minutes began after the one time and not after the other."""
        minute = max(after_ms // _MINUTE_MS + 1, until_ms // _MINUTE_MS - LOOK_BACK_MIN)
        while minute <= until_ms // _MINUTE_MS:
            if self._begins(minute):
                return True
            minute += 1
        return False

    def _begins(self, minute: int) -> bool:
        at = datetime.fromtimestamp(minute * 60, UTC).astimezone(self.zone)
        # The second passing of a minute that a clock that is put back repeats is no new time of day; but who names no
        # hour means a pace.
        return self.is_on(at) and (at.fold == 0 or len(self.fields[1]) == _HOURS)


def next_minute_ms(now_ms: int) -> int:
    return (now_ms // _MINUTE_MS + 1) * _MINUTE_MS


def schedule_of(text: str, zone: str = "") -> Schedule:
    """Raises `InvalidError`."""
    parts = _NAMED.get(text.strip().lower(), text).split()
    if len(parts) != len(_FIELDS):
        raise InvalidError(
            f"{text!r}: has five fields: minute, hour, day of month, month, day of week, as 0 6 * * 1-5"
        )
    fields = tuple(frozenset(_field(part, *form)) for part, form in zip(parts, _FIELDS, strict=True))
    week = frozenset(day % 7 for day in fields[4])
    schedule = Schedule(
        text=text,
        fields=(*fields[:4], week),
        any_day=parts[2][0] not in "*?" and parts[4][0] not in "*?",
        zone=_zone(zone),
    )
    if not _happens(schedule):
        raise InvalidError(f"{text!r}: there is no such day")
    return schedule


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidError(f"time zone {name!r} is not known here: write one such as Europe/Berlin") from error


def _field(text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> Iterable[int]:
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise InvalidError(f"{part!r} is no {name}: write a number from {low} to {high}, 1-5, */10 or *")
        first = low if found["all"] else _number(found["low"], name, low, high, words)
        last = first
        if found["all"] or (found["step"] and not found["high"]):
            last = high
        elif found["high"]:
            last = _number(found["high"], name, low, high, words)
        step = int(found["step"] or 1)
        if first > last or not step:
            raise InvalidError(f"{part!r} is no {name}: from the smaller to the larger, by steps of 1 and more")
        yield from range(first, last + 1, step)


def _number(text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> int:
    if text.upper() in words:
        return words.index(text.upper()) + low
    number = int(text) if text.isdecimal() and len(text) < 4 else -1
    if not low <= number <= high:
        raise InvalidError(f"{text!r} is no {name}: write a number from {low} to {high}")
    return number


def _happens(schedule: Schedule) -> bool:
    """Some day of eight years, which have every date."""
    minute, hour = min(schedule.fields[0]), min(schedule.fields[1])
    day = datetime(2024, 1, 1, hour, minute, tzinfo=UTC)
    return any(schedule.is_on(day + timedelta(days=number)) for number in range(8 * 366))
