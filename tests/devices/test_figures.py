"""Rates of the last minute."""

from __future__ import annotations

import pytest

from devices.figures import RECENT_S, Recent


def test_rates_are_of_the_last_minute_and_of_less_where_there_was_less() -> None:
    recent = Recent(1000.0)
    assert recent.rates(1000.0) == (0.0, 0.0)
    for at in range(10):
        recent.add(1000.0 + at + 0.5, 0.25)
    assert recent.rates(1010.0) == (1.0, 0.25)
    assert recent.rates(1059.9) == pytest.approx((10 / 59.9, 2.5 / 59.9))
    assert recent.rates(1000.0 + 2 * RECENT_S) == (0.0, 0.0)


def test_it_keeps_no_more_than_two_minutes_and_no_share_is_more_than_all() -> None:
    recent = Recent(0.0)
    for at in range(10_000):
        recent.add(float(at), 3.0)
    assert len(recent._cells) <= 2 * RECENT_S
    requests_s, used = recent.rates(10_000.0)
    assert requests_s == pytest.approx(1.0, rel=0.05) and used == 1.0
