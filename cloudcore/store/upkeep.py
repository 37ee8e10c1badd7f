"""What the store needs now and then: old history compacted, old records dropped.

Keeps marks of (when, revision) in memory, as many as fit the history kept. A crash forgets them, and the next
compaction comes one history later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

from cloudcore.store.port import Store
from skerry.errors import UnavailableError
from skerry.objects.meta import Revision
from skerry.ports import Clock

log: Final = logging.getLogger(__name__)

MARKS: Final = 10
"""Steps in which a history's worth of changes is compacted."""
_DAY_MS: Final = 86_400_000
_TRIM_EVERY_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """How much is kept."""

    history_s: int
    record_days: int
    records_per_series: int


async def keep_up(store: Store, clock: Clock, upkeep: Upkeep) -> None:
    """Compact and trim for ever. A store that is not there now is tried again at the next step."""
    marks: deque[tuple[float, Revision]] = deque()
    trimmed_s = clock.monotonic_s()
    failing = False
    while True:
        await asyncio.sleep(upkeep.history_s / MARKS)
        now_s = clock.monotonic_s()
        try:
            marks.append((now_s, await store.revision()))
            due = due_mark(marks, before_s=now_s - upkeep.history_s)
            if due is not None and due > await store.compacted():
                await store.compact(due)
            if now_s - trimmed_s >= _TRIM_EVERY_S:
                trimmed_s = now_s
                before_ms = clock.wall_ms() - upkeep.record_days * _DAY_MS
                await store.trim_records(before_ms=before_ms, keep_per_series=upkeep.records_per_series)
            failing = False
        except UnavailableError as error:
            if not failing:
                log.warning("store upkeep put off error=%s", error)
            failing = True


def due_mark(marks: deque[tuple[float, Revision]], *, before_s: float) -> Revision | None:
    """Take out the marks from before `before_s`; the revision of the newest of them, None: there are none."""
    due: Revision | None = None
    while marks and marks[0][0] <= before_s:
        due = marks.popleft()[1]
    return due
