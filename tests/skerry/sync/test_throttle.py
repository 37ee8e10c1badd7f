"""A cap in virtual time: the average is the rate, nothing is too large to go, what is urgent never waits for bulk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.objects.bandwidth import BandwidthPlan, parse_bandwidth
from skerry.sync.priorities import Priority
from skerry.sync.throttle import DEPTH_BYTES_MIN, PAUSE_BYTES_S, URGENT_BYTES_MIN, Throttle, Urgency, urgency_of

NOON_MS = 1_795_867_200_000
"""2026-11-28 12:00 UTC."""


def throttle(*texts: str, wall_ms: int | None = NOON_MS) -> Throttle:
    made = Throttle("up")
    made.hold([parse_bandwidth(text) for text in texts])
    made.at(0.0, wall_ms)
    return made


def carried(cap: Throttle, size: int, seconds: float, urgency: Urgency = Urgency.CAPPED) -> int:
    """Bytes of frames of one size that go within so much time, by a sender that always has one."""
    now_s, total = 0.0, 0
    while True:
        opens_s = cap.opens_s(urgency, now_s)
        if opens_s is None or opens_s > seconds:
            return total
        assert opens_s >= now_s
        now_s = opens_s
        cap.took(size, urgency, now_s)
        total += size


def test_classes_are_free_urgent_or_capped() -> None:
    assert [urgency_of(each) for each in Priority] == [
        Urgency.FREE,
        Urgency.FREE,
        Urgency.URGENT,
        *[Urgency.CAPPED] * 4,
    ]


@pytest.mark.parametrize("size", [60, 1500, 7500, 100_000])
def test_the_average_is_the_rate_whatever_the_frames_are(size: int) -> None:
    total = carried(throttle("64kbit"), size, 1000.0)
    assert 8_000_000 - size <= total <= 8_000_000 + 8000 + size


def test_half_a_minute_is_within_a_tenth_of_the_rate() -> None:
    assert carried(throttle("16kbit"), 2000, 30.0) == pytest.approx(60_000, rel=0.1)


@given(
    st.lists(st.tuples(st.integers(1, 200_000), st.sampled_from(Urgency), st.floats(0, 20)), max_size=60),
    st.integers(125, 1_000_000),
)
def test_never_more_goes_than_the_rate_a_second_s_worth_and_what_is_urgent(
    steps: list[tuple[int, Urgency, float]], rate: int
) -> None:
    cap = throttle(f"{rate}B/s")
    now_s, capped, largest = 0.0, 0, 0
    for size, urgency, passes_s in steps:
        now_s += passes_s
        opens_s = cap.opens_s(urgency, now_s)
        assert opens_s is not None
        if opens_s <= now_s:
            cap.took(size, urgency, now_s)
            if urgency is Urgency.CAPPED:
                capped, largest = capped + size, max(largest, size)
    assert capped <= rate * now_s + max(rate, DEPTH_BYTES_MIN) + largest + 1


def test_a_frame_larger_than_the_bucket_goes_and_the_next_waits_until_it_is_paid() -> None:
    cap = throttle("16kbit")
    assert cap.opens_s(Urgency.CAPPED, 0.0) == 0.0
    cap.took(1_000_000, Urgency.CAPPED, 0.0)
    opens_s = cap.opens_s(Urgency.CAPPED, 0.0)
    assert opens_s == pytest.approx(499, abs=0.1)
    assert cap.opens_s(Urgency.URGENT, 1.0) == 1.0, "a setpoint does not pay for it"
    assert cap.opens_s(Urgency.FREE, 1.0) == 1.0


def test_what_is_urgent_is_paid_for_by_what_is_not() -> None:
    cap = throttle("16kbit")
    cap.took(6000, Urgency.URGENT, 0.0)
    assert cap.opens_s(Urgency.CAPPED, 0.0) == pytest.approx(2.0, abs=0.01)
    cap.took(2000, Urgency.FREE, 0.0)
    assert cap.opens_s(Urgency.CAPPED, 0.0) == pytest.approx(3.0, abs=0.01)


def test_a_flood_of_what_is_urgent_keeps_to_the_rate_as_well() -> None:
    total = carried(throttle("16kbit"), 300, 1000.0, Urgency.URGENT)
    assert 2_000_000 - 300 <= total <= 2_000_000 + URGENT_BYTES_MIN + 300


def test_signs_of_life_wait_for_nothing() -> None:
    cap = throttle("pause")
    cap.took(10_000_000, Urgency.URGENT, 0.0)
    assert cap.opens_s(Urgency.FREE, 0.0) == 0.0


def test_a_pause_lets_pass_what_is_urgent_at_a_rate_of_its_own() -> None:
    assert carried(throttle("pause"), 100, 1000.0) == 0
    assert throttle("pause").opens_s(Urgency.CAPPED, 5.0) is None
    total = carried(throttle("pause"), 100, 1000.0, Urgency.URGENT)
    assert total <= 1000 * PAUSE_BYTES_S + URGENT_BYTES_MIN + 100


def test_the_rate_changes_with_the_minute() -> None:
    cap = throttle("12:00-12:01 16kbit; else 1mbit")
    assert cap.rate == 2000
    assert not cap.at(59.0, NOON_MS + 59_999)
    assert cap.at(60.0, NOON_MS + 60_000)
    assert cap.rate == 125_000
    assert not cap.at(61.0, NOON_MS + 61_000)


def test_another_rate_forgives_nothing_and_no_rate_everything() -> None:
    cap = throttle("12:00-12:01 16kbit; 12:01-12:02 32kbit; else unlimited")
    cap.took(1_002_000, Urgency.CAPPED, 0.0)
    cap.at(60.0, NOON_MS + 60_000)
    assert cap.opens_s(Urgency.CAPPED, 60.0) == pytest.approx(60 + (1_000_000 - 120_000) / 4000, abs=0.1)
    cap.at(120.0, NOON_MS + 120_000)
    assert (cap.rate, cap.opens_s(Urgency.CAPPED, 120.0)) == (None, 120.0)
    cap.hold([parse_bandwidth("16kbit")])
    cap.at(121.0, NOON_MS + 121_000)
    assert cap.opens_s(Urgency.CAPPED, 121.0) == 121.0


def test_from_a_pause_nothing_is_saved_up() -> None:
    cap = throttle("12:00-12:01 pause; else 16kbit")
    assert cap.opens_s(Urgency.CAPPED, 50.0) is None
    cap.at(60.0, NOON_MS + 60_000)
    opens_s = cap.opens_s(Urgency.CAPPED, 60.0)
    assert opens_s is not None and 60 <= opens_s < 60.01


def test_an_unknown_time_is_the_strictest_hour_until_it_is_known() -> None:
    cap = throttle("06:00-22:00 64kbit; else unlimited", wall_ms=None)
    assert cap.rate == 8000
    assert cap.at(1.0, NOON_MS + 12 * 3_600_000)
    assert cap.rate is None


def test_the_lower_of_two_plans_holds_and_none_is_no_cap() -> None:
    assert throttle("up 64kbit", "up 32kbit down pause").rate == 4000
    assert throttle("down pause").rate is None
    none: list[BandwidthPlan] = []
    cap = throttle("up 64kbit")
    cap.hold(none)
    assert cap.at(1.0, NOON_MS) and cap.rate is None


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    cap = throttle("16kbit")
    cap.took(10_000, Urgency.CAPPED, 100.0)
    before = cap.opens_s(Urgency.CAPPED, 100.0)
    assert cap.opens_s(Urgency.CAPPED, 50.0) == before
