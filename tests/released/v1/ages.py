"""How old a report is, on a gateway whose clock may be wrong. Pure; see "Wrong clock" in the design of sync."""

from __future__ import annotations

from tests.released.v1.ports import Instant, OutboxItem


def age_of(item: OutboxItem, now: Instant, boot_id: str) -> tuple[int, bool]:
    """(age in milliseconds, estimated).

    Within one boot the monotonic clock tells exactly, however the wall clock stepped meanwhile. A report from
    before the boot is aged by the wall clock: the best there is, never negative.
    """
    if item.boot_id == boot_id:
        return max(0, round(now.monotonic_s * 1000) - item.monotonic_ms), False
    return max(0, now.wall_ms - item.wall_ms), True
