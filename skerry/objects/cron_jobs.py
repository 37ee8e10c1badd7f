"""Schedules of CronJobs, as Kubernetes reads them (github.com/robfig/cron v3, `ParseStandard`). Pure; keeps nothing.

Five fields, names, lists, ranges and steps, `@daily` and its kin, `@every 1h30m`. What is an error and its words are
that library's: clients match them. So is the meaning, which differs from `skerry.objects.cron` in three things:
Sunday is 0 alone; `*/2` restricts a day as a list would; and a time of day that a clock put back repeats comes twice.
A time that a clock put forward skips does not come.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from skerry.errors import InvalidError
from skerry.frozen import Frozen

_MONTHS: Final = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)  # noqa: SIM905
}
_DAYS: Final = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}  # noqa: SIM905
_NONE: Final = dict[str, int]()
_BOUNDS: Final = ((0, 59, _NONE), (0, 23, _NONE), (1, 31, _NONE), (1, 12, _MONTHS), (0, 6, _DAYS))
_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY: Final = "@every "
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DURATION: Final = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|[+-]?0", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_S_MAX: Final = 9_223_372_036.0
"""Go counts nanoseconds in 64 bits."""
_YEARS_MAX: Final = 5
"""A schedule that does not come for so long never does (30 February)."""
_LAST_MS: Final = 253_000_000_000_000
"""In the year 9987: a few years on, dates end."""
_ZONE: Final = re.compile(r"[A-Za-z._0-9+-]{1,14}", re.ASCII)


class CronSchedule(Frozen):
    """When something is to begin: at minutes of days, or again and again after a while."""

    fields: tuple[frozenset[int], ...] = ()
    """Minutes, hours, days of the month, months, days of the week; empty where `every_s` says it."""
    either_day: bool = False
    """Both days are restricted: either does."""
    every_s: int = 0
    zone: tzinfo = UTC

    def next_ms(self, after_ms: int) -> int | None:
        """When it comes first after that time; None: never."""
        if self.every_s:
            return after_ms // 1000 * 1000 + self.every_s * 1000
        if after_ms > _LAST_MS or not all(self.fields):
            # A field of commas alone names nothing: that never comes, and to look at each minute takes seconds.
            return None
        at = datetime.fromtimestamp(max(after_ms, 0) // 60_000 * 60, UTC) + timedelta(minutes=1)
        last_year = at.astimezone(self.zone).year + _YEARS_MAX
        while (local := at.astimezone(self.zone)).year <= last_year:
            if local.month not in self.fields[3]:
                at = self._midnight(_next_month(local.date()), at)
            elif not self._has_day(local.date()):
                at = self._midnight(local.date() + timedelta(days=1), at)
            elif local.hour not in self.fields[1]:
                at += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.fields[0]:
                at += timedelta(minutes=1)
            else:
                return int(at.timestamp()) * 1000
        return None

    def _has_day(self, day: date) -> bool:
        """In a month that has it."""
        of_month, of_week = day.day in self.fields[2], day.isoweekday() % 7 in self.fields[4]
        return (of_month or of_week) if self.either_day else (of_month and of_week)

    def _midnight(self, day: date, at: datetime) -> datetime:
        """When that day begins there, and after `at` in any case."""
        begins = datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)
        return max(begins, at + timedelta(minutes=1))


@lru_cache(maxsize=1024)
def parse_schedule(text: str, zone: str = "") -> CronSchedule:
    """Raises `InvalidError`."""
    where = time_zone(zone) if zone else UTC
    if not text:
        raise InvalidError("empty spec string")
    if text.startswith("@"):
        if text.startswith(_EVERY):
            return CronSchedule(every_s=_every_s(text), zone=where)
        if text not in _NAMED:
            raise InvalidError(f"unrecognized descriptor: {text}")
        text = _NAMED[text]
    parts = text.split()
    if len(parts) != len(_BOUNDS):
        raise InvalidError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    fields: list[frozenset[int]] = []
    stars: list[bool] = []
    for part, (low, high, names) in zip(parts, _BOUNDS, strict=True):
        ranges = [_range(each, low, high, names) for each in part.split(",") if each]
        fields.append(frozenset(number for numbers, _ in ranges for number in numbers))
        stars.append(any(star for _, star in ranges))
    return CronSchedule(fields=tuple(fields), either_day=not stars[2] and not stars[4], zone=where)


def time_zone(name: str) -> tzinfo:
    """Raises `InvalidError` for a name that is none, or not known here."""
    parts = name.split("/")
    if any(part in (".", "..") or part.startswith("-") or not _ZONE.fullmatch(part) for part in parts):
        raise InvalidError(f"unknown time zone {name}")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidError(f"unknown time zone {name}") from error


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[range, bool]:
    """The numbers of one part of a field, and whether it is all of them."""
    span, *steps = text.split("/")
    first_text, *lasts = span.split("-")
    is_all = first_text in ("*", "?")
    if is_all:
        first, last = low, high
    else:
        if len(lasts) > 1:
            raise InvalidError(f"too many hyphens: {text}")
        first = _named_number(first_text, names)
        last = _named_number(lasts[0], names) if lasts else first
    if len(steps) > 1:
        raise InvalidError(f"too many slashes: {text}")
    step = 1
    if steps:
        step = _plain_number(steps[0])
        if not is_all and not lasts:
            last = high
    if first < low:
        raise InvalidError(f"beginning of range ({first}) below minimum ({low}): {text}")
    if last > high:
        raise InvalidError(f"end of range ({last}) above maximum ({high}): {text}")
    if first > last:
        raise InvalidError(f"beginning of range ({first}) beyond end of range ({last}): {text}")
    if step == 0:
        raise InvalidError(f"step of range should be a positive number: {text}")
    return range(first, last + 1, step), is_all and step == 1


def _named_number(text: str, names: dict[str, int]) -> int:
    number = names.get(text.lower())
    return _plain_number(text) if number is None else number


def _plain_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise InvalidError(f"negative number ({number}) not allowed: {text}")
    return number


def _every_s(text: str) -> int:
    """Whole seconds, one at least."""
    said = text.removeprefix(_EVERY)
    if not _DURATION.fullmatch(said):
        raise InvalidError(f'failed to parse duration {text}: time: invalid duration "{said}"')
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(said))
    if seconds > _DURATION_S_MAX:
        raise InvalidError(f'failed to parse duration {text}: time: invalid duration "{said}"')
    return max(1, int(-seconds if said.startswith("-") else seconds))
