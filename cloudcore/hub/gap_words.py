"""What is said of reports that a gateway had to drop. Pure."""

from __future__ import annotations

from skerry.objects.reports import GapReport


def why_of(gap: GapReport) -> str:
    """In brackets, by cause; "" where there is none."""
    causes = {
        "the outbox was full": gap.dropped - gap.expired - gap.for_room - gap.damaged - gap.thinned,
        "the outbox was full, from between others that stayed": gap.thinned,
        "their time was over": gap.expired,
        "the disk was nearly full": gap.for_room,
        "the gateway's store was damaged": gap.damaged,
    }
    told = [f"{count} because {cause}" for cause, count in causes.items() if count > 0]
    if gap.unknown:
        told.append("an unknown number because the gateway's store was damaged")
    return f" ({', '.join(told)})" if told else ""


def how_many(gap: GapReport) -> str:
    """As far as it is known."""
    if not gap.unknown:
        return f"{gap.dropped} {gap.report_class} reports ({gap.size_bytes} bytes)"
    if not gap.dropped:
        return f"an unknown number of {gap.report_class} reports"
    return f"at least {gap.dropped} {gap.report_class} reports ({gap.size_bytes} bytes)"
