"""How old a waiting report is for sure, on a gateway whose clock may have been in 1970 or on its shelf. Pure.

What expires is gone, so its age must be proven. Wall clocks prove nothing: a board without a battery begins in 1970,
or with the time at which it was switched off, looks right, and is set weeks forward when it meets a time server. So
only time that the gateway was seen to run counts: the rest of the report's boot, the boots between, and this one.
Time without power is left out, and the age is never more than the true one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from edgecore.store.port import OutboxReport
from skerry.sync.ports import BootTimes

EXPIRY_MS: Final = 60_000
"""Between two looks for what has expired."""


def sure_age_ms(report: OutboxReport, boots: Sequence[BootTimes], now_ms: int) -> int:
    """At least so old. `boots` are in order, the last is the present one, and `now_ms` is its monotonic clock; a
    report of a boot that is not among them has no age."""
    age_ms = 0
    for boot in reversed(boots):
        last_ms = now_ms if boot is boots[-1] else boot.last_ms
        if boot.boot_id == report.boot_id:
            return age_ms + max(0, last_ms - report.monotonic_ms)
        age_ms += max(0, last_ms - boot.opened_ms)
    return 0


def expired(
    oldest_first: Sequence[OutboxReport], ttl_ms: int, boots: Sequence[BootTimes], now_ms: int
) -> list[OutboxReport]:
    """Those of a class that have outlived their time; it ends at the first that has not."""
    return list(takewhile(lambda report: sure_age_ms(report, boots, now_ms) >= ttl_ms, oldest_first))
