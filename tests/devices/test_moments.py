"""Dates in registers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.moments import (
    COUNTED,
    MOMENT_REGISTERS,
    MomentForm,
    format_moment,
    moment_from_number,
    moment_from_words,
    moment_to_number,
    moment_to_words,
)
from skerry.errors import InvalidError

SECONDS = st.datetimes(datetime(2000, 1, 1), datetime(2127, 12, 31)).map(  # noqa: DTZ001 - given its zone
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)


@given(SECONDS, st.sampled_from(("ymdhms6", "ymdhms3", "iec")))
def test_a_date_in_registers_of_its_own_comes_back(at: datetime, form: MomentForm) -> None:
    text = format_moment(at)
    words = moment_to_words(form, text)
    assert len(words) == MOMENT_REGISTERS[form] and all(0 <= word <= 0xFFFF for word in words)
    assert moment_from_words(form, words) == text


@given(st.datetimes(), st.sampled_from(COUNTED), st.sampled_from((0, 946_684_800)))
def test_a_number_of_seconds_or_milliseconds_comes_back(at: datetime, form: MomentForm, epoch_s: int) -> None:
    text = format_moment(
        at.replace(microsecond=0 if form == "seconds" else at.microsecond // 1000 * 1000, tzinfo=UTC)
    )
    assert moment_from_number(form, moment_to_number(form, text, epoch_s), epoch_s) == text


def test_the_forms_as_devices_have_them() -> None:
    assert moment_from_number("seconds", 1_700_000_000, 0) == "2023-11-14T22:13:20Z"
    assert moment_from_number("seconds", 0, 946_684_800) == "2000-01-01T00:00:00Z"
    assert moment_from_words("ymdhms6", [2026, 11, 28, 13, 5, 9]) == "2026-11-28T13:05:09Z"
    assert moment_from_words("ymdhms3", [0x1A0B, 0x1C0D, 0x0509]) == "2026-11-28T13:05:09Z"
    # Year; month and day with its weekday; hour (and summer time) and minute; milliseconds.
    assert moment_from_words("iec", [26, 0x0BDC, 0x8D05, 9250]) == "2026-11-28T13:05:09.250Z"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("ymdhms6", [2026, 2, 30, 0, 0, 0]), ("ymdhms6", [0, 0, 0, 0, 0, 0]), ("ymdhms3", [0xFFFF, 0xFFFF, 0xFFFF]),
        ("iec", [26, 0x0B1C, 0x0D85, 0]), ("iec", [26, 0x0B1C, 0x0D05, 60_000]),
    ],
)  # fmt: skip
def test_what_is_no_date_is_no_value(form: MomentForm, words: list[int]) -> None:
    with pytest.raises(InvalidError):
        moment_from_words(form, words)


@pytest.mark.parametrize(
    ("form", "text", "says"),
    [
        ("ymdhms6", "2026-11-28T13:05:09.5Z", "finer than the device keeps time"),
        ("ymdhms6", "2026-11-28T13:05:09", "lacks its zone"),
        ("ymdhms6", "tomorrow", "is not a time"),
        ("iec", "1999-01-01T00:00:00Z", "counts years from 2000"),
    ],
)
def test_what_the_device_can_t_keep_is_refused(form: MomentForm, text: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        moment_to_words(form, text)
    with pytest.raises(InvalidError):
        moment_from_number("seconds", 10**15, 0)
