"""Times as Kubernetes writes them, and as milliseconds since the epoch, which is how Skerry computes with them.

`Time` has seconds, `MicroTime` six decimals, both in UTC with a Z; years have four digits (a Go zero time is
year 1). Pure; keeps nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from skerry.errors import BadRequestError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MIN: Final = -62_135_596_800_000
"""0001-01-01T00:00:00Z."""
_MS_MAX: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z."""
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
_SECOND_S: Final = 1
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


def time_text(ms: int) -> str:
    """metav1.Time: `2026-11-21T03:04:05Z`; the fraction is cut off, as Go does."""
    return _at(ms).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def micro_time_text(ms: int) -> str:
    """metav1.MicroTime: `2026-11-21T03:04:05.678000Z`."""
    return _at(ms).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@lru_cache(maxsize=256)
def parse_time(text: str) -> int:
    """RFC 3339 with any offset and fraction, as milliseconds since the epoch, rounded down.

    Raises `BadRequestError` in the words of Go's time package.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise BadRequestError(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as a time'
        )
    year, month, day, hour, minute, second, fraction, _, sign, off_hours, off_minutes = found.groups()
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        raise BadRequestError(f'parsing time "{text}": {error}') from error
    ms = (local - _EPOCH) // timedelta(milliseconds=1) + int((fraction or "0").ljust(9, "0")[:3])
    if sign:
        offset_ms = (int(off_hours) * 60 + int(off_minutes)) * 60_000
        ms += -offset_ms if sign == "+" else offset_ms
    return ms


def ms_at(text: str, *, default: int = 0) -> int:
    """`parse_time` of a field that was checked when it was written; `default` where it is empty."""
    return parse_time(text) if text else default


def human_duration(seconds: float) -> str:
    """Two or three figures, as the AGE column shows: 45s, 5m10s, 3h, 2d3h, 410d, 3y20d (duration.HumanDuration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * _MINUTE_S:
        return f"{whole}s"
    if whole < 10 * _MINUTE_S:
        return _two(whole, _MINUTE_S, "m", _SECOND_S, "s")
    if whole < 3 * _HOUR_S:
        return f"{whole // _MINUTE_S}m"
    if whole < 8 * _HOUR_S:
        return _two(whole, _HOUR_S, "h", _MINUTE_S, "m")
    if whole < 2 * _DAY_S:
        return f"{whole // _HOUR_S}h"
    if whole < 8 * _DAY_S:
        return _two(whole, _DAY_S, "d", _HOUR_S, "h")
    if whole < 2 * 365 * _DAY_S:
        return f"{whole // _DAY_S}d"
    if whole < 8 * 365 * _DAY_S:
        return _two(whole, 365 * _DAY_S, "y", _DAY_S, "d")
    return f"{whole // (365 * _DAY_S)}y"


def _two(whole: int, large_s: int, large: str, small_s: int, small: str) -> str:
    rest = whole % large_s // small_s
    return f"{whole // large_s}{large}" + (f"{rest}{small}" if rest else "")


def _at(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=min(max(ms, _MS_MIN), _MS_MAX))
