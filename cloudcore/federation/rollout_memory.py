"""Since when members are heard, and since when what they have is in order, by a clock that nobody sets. Pure.

What a member says of the time counts for nothing. After a crash what is not in order has its full time again, and
what is in order counts from when the cloud was told so.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen, replace

STALE_MS: Final = 10_000
"""What was seen so much earlier than the change is not of it, whatever its number says; clouds' clocks differ."""


class Sight(Frozen):
    """Of one member and object, now."""

    revision: int
    """Of the row."""
    ready: bool
    heard: bool
    planned_ms: int
    observed_ms: int
    heard_ms: int
    """Since when it is heard, as it is written."""


class Memory(Frozen):
    revision: int
    ready: bool
    since_ms: int
    """Ready, or not."""
    started_ms: int
    """When it began to become ready last."""
    heard: bool
    heard_since_ms: int


def remembered(before: Memory | None, sight: Sight, *, now_ms: int, min_ready_ms: int) -> Memory:
    """`now_ms`: by a clock that nobody sets; what is written is by others, and never later than that."""
    heard_ms = min(now_ms, sight.heard_ms)
    if before is not None:
        heard_ms = before.heard_since_ms if before.heard == sight.heard else now_ms
    made = Memory(
        revision=sight.revision,
        ready=sight.ready,
        since_ms=now_ms,
        started_ms=now_ms,
        heard=sight.heard,
        heard_since_ms=heard_ms,
    )
    told_ms = min(now_ms, max(sight.planned_ms, sight.observed_ms))
    if before is None:
        return replace(made, since_ms=told_ms) if sight.ready else made
    if before.revision != sight.revision:
        # Lately, as it is looked at with each change; what is written says when, by a clock that may have been set.
        planned_ms = _lately(sight.planned_ms, now_ms)
        return replace(made, since_ms=_lately(told_ms, now_ms) if sight.ready else planned_ms, started_ms=planned_ms)
    if before.ready == sight.ready:
        return replace(made, since_ms=before.since_ms, started_ms=before.started_ms)
    if sight.ready:
        return replace(made, started_ms=before.started_ms)
    if now_ms - before.since_ms < min_ready_ms:
        # It was not in order for long enough to count: it is becoming so ever since.
        return replace(made, since_ms=before.started_ms, started_ms=before.started_ms)
    return made


def _lately(at_ms: int, now_ms: int) -> int:
    return at_ms if now_ms - STALE_MS <= at_ms <= now_ms else now_ms
