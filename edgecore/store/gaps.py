"""What is said of reports that had to be dropped: nothing is dropped silently. Pure.

One `GapReport` a class counts everything. For telemetry a `SeriesGapReport` a series says in which history there is a
hole; no more than `SERIES_MAX` of them wait for the cloud, beyond those the report of the class counts alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from edgecore.store.port import NewReport, OutboxReport, ReportClass, report_cost_bytes
from skerry.errors import ProtocolError
from skerry.objects.blocks import TELEMETRY_BLOCK, decode_block
from skerry.objects.reports import SERIES_GAP, GapReport, SeriesGapReport

SERIES_MAX: Final = 512

Reason = Literal["budget", "expired", "room", "thinned"]
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
    count, size = sum(report.count for report in dropped), sum(cost_of(report) for report in dropped)
    going_on = before if same_episode else None
    return GapReport(
        report_class=report_class,
        dropped=count + (going_on.dropped if going_on else 0),
        size_bytes=size + (going_on.size_bytes if going_on else 0),
        total=count + (before.total if before else 0),
        first_seq=going_on.first_seq if going_on else dropped[0].seq - dropped[0].count + 1,
        last_seq=dropped[-1].seq,
        first_wall_ms=going_on.first_wall_ms if going_on else dropped[0].wall_ms,
        last_wall_ms=dropped[-1].wall_ms,
        expired=(count if reason == "expired" else 0) + (going_on.expired if going_on else 0),
        for_room=(count if reason == "room" else 0) + (going_on.for_room if going_on else 0),
        thinned=(count if reason == "thinned" else 0) + (going_on.thinned if going_on else 0),
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
        thinned=going_on.thinned if going_on else 0,
        damaged=count + (going_on.damaged if going_on else 0),
        unknown=count == 0 or (going_on is not None and going_on.unknown),
    )


def series_gaps(
    waiting: Mapping[str, SeriesGapReport], dropped: Sequence[OutboxReport], reason: Reason
) -> list[NewReport]:
    """What to tell of each series, given what waits already to be told of series."""
    widened: dict[str, SeriesGapReport] = {}
    for series, seq, wall_ms in (lost for report in dropped for lost in _readings_of(report)):
        before = widened.get(series) or waiting.get(series)
        if before is None and len(waiting.keys() | widened.keys()) >= SERIES_MAX:
            continue
        widened[series] = SeriesGapReport(
            first_seq=before.first_seq if before else seq,
            dropped=1 + (before.dropped if before else 0),
            thinned=(reason == "thinned") + (before.thinned if before else 0),
            first_wall_ms=min(before.first_wall_ms, wall_ms) if before else wall_ms,
            last_wall_ms=max(before.last_wall_ms, wall_ms) if before else wall_ms,
        )
    return [
        NewReport(report_class="state", kind=SERIES_GAP, key=series, body=gap.encode())
        for series, gap in widened.items()
    ]


def _readings_of(report: OutboxReport) -> Iterator[tuple[str, int, int]]:
    """Series, number and the gateway's clock of each reading of a report that was dropped."""
    if report.kind != TELEMETRY_BLOCK:
        yield report.key, report.seq, report.wall_ms
        return
    try:
        block = decode_block(report.body)
    except ProtocolError:
        return  # a page that broke unseen: the report of the class counts what it held
    for seq, reading in enumerate(block, report.seq - len(block) + 1):
        yield reading.series, seq, report.wall_ms - reading.ago_ms
