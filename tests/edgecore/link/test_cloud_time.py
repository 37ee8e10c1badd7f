"""What is known of the cloud's clock errs on the late side, never on the early one."""

from __future__ import annotations

from edgecore.link.cloud_time import HeardTime

HEARD = HeardTime(server_ms=1_000_000, said_s=100.0)


def test_the_round_trip_counts_whole_and_a_quartz_may_be_slow() -> None:
    assert HEARD.latest_ms(100.0) == 1_000_000
    assert HEARD.latest_ms(102.0) == 1_002_001
    assert HEARD.latest_ms(100.0 + 7 * 86_400) >= 1_000_000 + 7 * 86_400_000 + 60_000


def test_a_clock_that_reads_less_changes_nothing() -> None:
    assert HEARD.latest_ms(99.0) == 1_000_000
