"""Dates and times as registers keep them, in the forms that meters and controllers use.

Pure. Either one number counts seconds or milliseconds from an epoch, or year, month, day, hour, minute and second
stand in registers of their own. No form says its zone: what a device keeps is taken for UTC, and given as RFC 3339.
A date that does not exist is no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from skerry.errors import InvalidError

MomentForm = Literal["seconds", "milliseconds", "ymdhms6", "ymdhms3", "iec"]
"""`seconds`, `milliseconds`: one number. `ymdhms6`: a register each for year, month, day, hour, minute, second.
`ymdhms3`: three registers of two bytes each, the year counted from 2000. `iec`: four registers as in IEC 60870-5-4,
the binary time of seven bytes that power meters keep: year; month and day; hour and minute; milliseconds."""

MOMENT_FORMS: Final[tuple[MomentForm, ...]] = get_args(MomentForm)
COUNTED: Final = ("seconds", "milliseconds")
MOMENT_REGISTERS: Final[dict[MomentForm, int]] = {"ymdhms6": 6, "ymdhms3": 3, "iec": 4}

_UNIX: Final = datetime(1970, 1, 1, tzinfo=UTC)


def format_moment(moment: datetime) -> str:
    """RFC 3339, with milliseconds where there are some."""
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def parse_moment(text: str) -> datetime:
    """Raises `InvalidError`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidError(f"{text!r} is not a time as 2026-11-28T13:00:00Z is") from error
    if moment.tzinfo is None:
        raise InvalidError(f"{text!r} lacks its zone: end it with Z")
    return moment.astimezone(UTC)


def moment_from_number(form: MomentForm, number: int, epoch_s: int) -> str:
    """Raises `InvalidError` for a moment after the year 9999 or before 1."""
    unit = timedelta(seconds=1) if form == "seconds" else timedelta(milliseconds=1)
    try:
        return format_moment(_UNIX + timedelta(seconds=epoch_s) + number * unit)
    except OverflowError as error:
        raise InvalidError(f"{number} {form} are no date") from error


def moment_to_number(form: MomentForm, text: str, epoch_s: int) -> int:
    """Raises `InvalidError` for a text that is no time, or lies between two of the device's units."""
    since = parse_moment(text) - _UNIX - timedelta(seconds=epoch_s)
    unit = timedelta(seconds=1) if form == "seconds" else timedelta(milliseconds=1)
    if since % unit:
        raise InvalidError(f"{text} lies between two {form}")
    return since // unit


def moment_from_words(form: MomentForm, words: Sequence[int]) -> str:
    """Raises `InvalidError` for what is no date, or for a device that says its clock is not set."""
    milliseconds = 0
    match form:
        case "ymdhms6":
            year, month, day, hour, minute, second = words
        case "ymdhms3":
            (year, month), (day, hour), (minute, second) = (divmod(word, 256) for word in words)
            year += 2000
        case "iec":
            if words[2] & 0x0080:
                raise InvalidError("the device says that its clock is not set")
            year, month, day = 2000 + (words[0] & 0x7F), words[1] >> 8 & 0x0F, words[1] & 0x1F
            hour, minute = words[2] >> 8 & 0x1F, words[2] & 0x3F
            second, milliseconds = divmod(words[3], 1000)
        case _:
            raise AssertionError(f"{form} is one number")
    try:
        moment = datetime(year, month, day, hour, minute, second, milliseconds * 1000, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidError(f"registers {', '.join(map(str, words))} are no date") from error
    return format_moment(moment)


def moment_to_words(form: MomentForm, text: str) -> list[int]:
    """Raises `InvalidError` for what the form can't hold."""
    at = parse_moment(text)
    if (form != "iec" and at.microsecond) or at.microsecond % 1000:
        raise InvalidError(f"{text} is finer than the device keeps time")
    if form != "ymdhms6" and not 2000 <= at.year < (2128 if form == "iec" else 2256):
        raise InvalidError(f"{text}: the device counts years from 2000")
    match form:
        case "ymdhms6":
            return [at.year, at.month, at.day, at.hour, at.minute, at.second]
        case "ymdhms3":
            return [(at.year - 2000) << 8 | at.month, at.day << 8 | at.hour, at.minute << 8 | at.second]
        case "iec":
            date, time = at.month << 8 | at.isoweekday() << 5 | at.day, at.hour << 8 | at.minute
            return [at.year - 2000, date, time, at.second * 1000 + at.microsecond // 1000]
        case _:
            raise AssertionError(f"{form} is one number")
