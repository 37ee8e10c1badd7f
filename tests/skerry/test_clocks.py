"""The machine's clocks."""

from __future__ import annotations

import time

import pytest

from skerry.clocks import SystemClock, uptime_s


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the system has no clock that counts suspended time")
def test_time_in_which_the_machine_was_suspended_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    slept_s = 3600.0
    readings = {time.CLOCK_MONOTONIC: 100.0, time.CLOCK_BOOTTIME: 100.0 + slept_s}
    monkeypatch.setattr(time, "clock_gettime", readings.__getitem__)
    assert uptime_s() == SystemClock().monotonic_s() == 100.0 + slept_s
