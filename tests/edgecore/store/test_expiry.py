"""Ages that are proven."""

from __future__ import annotations

from edgecore.store.expiry import expired, sure_age_ms
from edgecore.store.port import OutboxReport
from skerry.sync.ports import BootTimes

BOOTS = (
    BootTimes(boot_id="a", opened_ms=10, last_ms=100),
    BootTimes(boot_id="b", opened_ms=5, last_ms=1_005),
    BootTimes(boot_id="c", opened_ms=7, last_ms=8),
)
NOW_MS = 10_007


def waiting(boot: str, monotonic_ms: int) -> OutboxReport:
    return OutboxReport(
        seq=1,
        report_class="event",
        kind="event",
        key="",
        body=b"",
        wall_ms=0,
        boot_id=boot,
        monotonic_ms=monotonic_ms,
    )


def test_only_time_that_the_gateway_ran_counts() -> None:
    assert sure_age_ms(waiting("c", 7), BOOTS, NOW_MS) == 10_000
    assert sure_age_ms(waiting("b", 1_000), BOOTS, NOW_MS) == 5 + 10_000
    assert sure_age_ms(waiting("a", 40), BOOTS, NOW_MS) == 60 + 1_000 + 10_000


def test_what_is_not_known_adds_nothing() -> None:
    assert sure_age_ms(waiting("z", 0), BOOTS, NOW_MS) == 0
    assert sure_age_ms(waiting("c", 99_999), BOOTS, NOW_MS) == 0
    unknown = (BootTimes(boot_id="a", opened_ms=0, last_ms=0), BOOTS[1])
    assert sure_age_ms(waiting("a", 500), unknown, 1_005) == 1_000


def test_what_is_behind_one_that_stays_is_not_looked_at() -> None:
    old, young = waiting("a", 40), waiting("c", 10_000)
    assert expired([old, young, old], 11_060, BOOTS, NOW_MS) == [old]
    assert expired([old], 11_061, BOOTS, NOW_MS) == []
