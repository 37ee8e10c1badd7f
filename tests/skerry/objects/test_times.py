"""Times and durations as Kubernetes writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError
from skerry.objects.times import human_duration, micro_time_text, ms_at, parse_time, time_text


def test_times_have_seconds_and_micro_times_six_digits():
    assert time_text(1_700_000_000_999) == "2023-11-14T22:13:20Z"
    assert micro_time_text(1_700_000_000_999) == "2023-11-14T22:13:20.999000Z"


def test_years_have_four_digits():
    assert time_text(parse_time("0001-01-01T00:00:00Z")) == "0001-01-01T00:00:00Z"
    assert time_text(10**18) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1970-01-01T00:00:00.123456789z", 123),
    ],
)
def test_any_offset_and_fraction_is_understood(text, ms):
    assert parse_time(text) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "2023-13-01T00:00:00Z", "2023-01-01", "2023-01-01T00:00:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(BadRequestError, match="parsing time"):
        parse_time(text)


def test_an_empty_field_has_its_default():
    assert ms_at("", default=7) == 7
    assert ms_at("1970-01-01T00:00:01Z", default=7) == 1000


@given(st.integers(-(10**13), 10**14))
def test_a_micro_time_keeps_the_millisecond(ms):
    assert parse_time(micro_time_text(ms)) == ms


M, H, D, Y = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (2 * M, "2m"),
        (5 * M + 10, "5m10s"),
        (10 * M + 10, "10m"),
        (179 * M, "179m"),
        (3 * H, "3h"),
        (3 * H + 5 * M, "3h5m"),
        (8 * H + 5 * M, "8h"),
        (47 * H, "47h"),
        (48 * H, "2d"),
        (2 * D + 3 * H, "2d3h"),
        (8 * D + 3 * H, "8d"),
        (729 * D, "729d"),
        (2 * Y, "2y"),
        (3 * Y + 20 * D, "3y20d"),
        (9 * Y + 20 * D, "9y"),
    ],
)
def test_ages_have_two_or_three_figures(seconds, text):
    assert human_duration(seconds) == text
