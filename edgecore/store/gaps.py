"""What is said of reports that had to be dropped: nothing is dropped silently. Pure.

One `GapReport` a class counts everything. For telemetry a `SeriesGapReport` a series says in which history there is a
hole; no more than `SERIES_MAX` of them wait for the cloud, beyond those the report of the class counts alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from edgecore.store.port import NewReport, OutboxReport, ReportClass, report_cost_bytes
from skerry.objects.reports import SERIES_GAP, GapReport, SeriesGapReport

SERIES_MAX: Final = 64

Reason = Literal["budget", "expired", "room"]
"""Why a report was dropped."""


class Lost(NamedTuple):
    """From where to where reports can't be read any more: numbers, and the gateway's clock around them."""

    first_seq: int
    last_seq: int
    first_wall_ms: int
    last_wall_ms: int


def cost_of(report: OutboxReport) -> int:
    """What it takes of its class's budget."""
    return report_cost_bytes(
        NewReport(report_class=report.report_class, kind=report.kind, key=report.key, body=report.body)
    )


def widen_gap(
    before: GapReport | None,
    report_class: ReportClass,
    dropped: Sequence[OutboxReport],
    *,
    same_episode: bool,
    reason: Reason = "budget",
) -> GapReport:
    """The gap after these reports were dropped too; a new episode counts from zero and keeps the total."""
    count, size = len(dropped), sum(cost_of(report) for report in dropped)
    going_on = before if same_episode else None
    return GapReport(
        report_class=report_class,
        dropped=count + (going_on.dropped if going_on else 0),
        size_bytes=size + (going_on.size_bytes if going_on else 0),
        total=count + (before.total if before else 0),
        first_seq=going_on.first_seq if going_on else dropped[0].seq,
        last_seq=dropped[-1].seq,
        first_wall_ms=going_on.first_wall_ms if going_on else dropped[0].wall_ms,
        last_wall_ms=dropped[-1].wall_ms,
        expired=(count if reason == "expired" else 0) + (going_on.expired if going_on else 0),
        for_room=(count if reason == "room" else 0) + (going_on.for_room if going_on else 0),
        damaged=going_on.damaged if going_on else 0,
        unknown=going_on is not None and going_on.unknown,
    )


def damaged_gap(
    before: GapReport | None, report_class: ReportClass, lost: Lost, *, count: int, size: int, same_episode: bool
) -> GapReport:
    """The gap after so many reports can't be read any more; 0 for a number that nobody knows."""
    going_on = before if same_episode else None
    return GapReport(
        report_class=report_class,
        dropped=count + (going_on.dropped if going_on else 0),
        size_bytes=size + (going_on.size_bytes if going_on else 0),
        total=count + (before.total if before else 0),
        first_seq=going_on.first_seq if going_on else lost.first_seq,
        last_seq=lost.last_seq,
        first_wall_ms=going_on.first_wall_ms if going_on else lost.first_wall_ms,
        last_wall_ms=lost.last_wall_ms,
        expired=going_on.expired if going_on else 0,
        for_room=going_on.for_room if going_on else 0,
        damaged=count + (going_on.damaged if going_on else 0),
        unknown=count == 0 or (going_on is not None and going_on.unknown),
    )


def series_gaps(waiting: Mapping[str, SeriesGapReport], dropped: Sequence[OutboxReport]) -> list[NewReport]:
    """What to tell of each series, given what waits already to be told of series."""
    widened: dict[str, SeriesGapReport] = {}
    for report in dropped:
        before = widened.get(report.key) or waiting.get(report.key)
        if before is None and len(waiting.keys() | widened.keys()) >= SERIES_MAX:
            continue
        widened[report.key] = SeriesGapReport(
            first_seq=before.first_seq if before else report.seq,
            dropped=1 + (before.dropped if before else 0),
            first_wall_ms=before.first_wall_ms if before else report.wall_ms,
            last_wall_ms=report.wall_ms,
        )
    return [
        NewReport(report_class="state", kind=SERIES_GAP, key=series, body=gap.encode())
        for series, gap in widened.items()
    ]
