"""How much waits for the cloud and since when, for people. Pure; it reads what `EdgeStore.stats` counted.

On the gateway the figures are exact. In the cloud they are a condition of the Node (`BACKLOG`), and that must
cost nothing while all is well and little while it is not: so it speaks of what has waited for a minute, in steps that
double. A week without a link is a dozen changes of one coalesced report, and so is making up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgecore.store.port import OutboxReport, StoreStats
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.times import time_text
from skerry.sync.ages import cloud_time
from skerry.sync.ports import BootTimes

WAITS_MS: Final = 60_000
"""A receipt takes a round trip and a commit; what has waited for this long waits for something else."""
MOVES_MS: Final = 30_000
"""The condition ends when nothing has waited for this long."""
_AGES: Final = (
    (1, "a minute"),
    (2, "2 minutes"),
    (5, "5 minutes"),
    (10, "10 minutes"),
    (30, "half an hour"),
    (60, "an hour"),
    (120, "2 hours"),
    (360, "6 hours"),
    (720, "12 hours"),
    (1440, "a day"),
    (2880, "2 days"),
    (10080, "a week"),
    (43200, "30 days"),
)
"""Minutes, and how they are said."""


class Backlog(Frozen):
    """What waits, all classes together."""

    reports: int
    since_ms: int
    """When the oldest was written; of no meaning where nothing waits."""
    dropped: int
    """Since the outbox was made: gaps."""


class Now(Frozen):
    """The present boot's clocks, read together."""

    wall_ms: int
    """By what is known of the cloud's clock."""
    monotonic_ms: int


def backlog_of(stats: StoreStats, boots: Sequence[BootTimes], now: Now) -> Backlog:
    """`boots`: of the same store, the present one last."""
    return Backlog(
        reports=stats.outbox_reports,
        since_ms=min((written_ms(waits.oldest, boots, now) for waits in stats.waiting), default=now.wall_ms),
        dropped=sum(gap.total for gap in stats.gaps),
    )


def backlog_shown(stats: StoreStats, boots: Sequence[BootTimes], now: Now) -> list[JsonObject]:
    """By class, for the gateway's own API."""
    return [
        {
            "class": waits.report_class,
            "reports": waits.reports,
            "bytes": waits.size_bytes,
            "since": time_text(written_ms(waits.oldest, boots, now)),
            "ageMs": max(0, now.wall_ms - written_ms(waits.oldest, boots, now)),
        }
        for waits in stats.waiting
    ]


def written_ms(report: OutboxReport, boots: Sequence[BootTimes], now: Now) -> int:
    """When it was written, as far as this gateway knows."""
    boot = next((boot for boot in boots if boot.boot_id == report.boot_id), None)
    if boot is not None and boot is boots[-1]:
        return now.wall_ms - max(0, now.monotonic_ms - report.monotonic_ms)
    if boot is not None and boot.reading is not None:
        return cloud_time(boot.reading, report.monotonic_ms).middle_ms
    return min(report.wall_ms, now.wall_ms)


def waits_long(backlog: Backlog, now_ms: int, *, before: bool) -> bool:
    """Whether the condition holds; `before`: it did."""
    return backlog.reports > 0 and now_ms - backlog.since_ms >= (MOVES_MS if before else WAITS_MS)


def backlog_text(backlog: Backlog, now_ms: int, *, long: bool) -> str:
    """The condition's message: lower bounds, each a step of a ladder."""
    lost = f"; at least {_step(backlog.dropped)} were dropped since its outbox was made" if backlog.dropped else ""
    if not long:
        return f"edgecore has nothing that waits long for the cloud{lost}"
    minutes = (now_ms - backlog.since_ms) // 60_000
    age = next((text for least, text in reversed(_AGES) if minutes >= least), "")
    oldest = f", the oldest for {age} or longer" if age else ""
    what = "a report that waits" if backlog.reports == 1 else f"at least {_step(backlog.reports)} reports that wait"
    return f"edgecore has {what} for the cloud{oldest}{lost}"


def _step(count: int) -> int:
    return 1 << (count.bit_length() - 1)
