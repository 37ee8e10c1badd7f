"""Keeping the store small: old history is compacted, old records are dropped.

Remembers when which revision was the newest, so that history is kept by age; a restart forgets that, and then
history is kept a little longer. Clients that are slower than the history list again (410 Gone), which costs
them more than it costs us to keep ten minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from cloudcore.store.port import Store
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.meta import Revision
from skerry.ports import Clock

log: Final = logging.getLogger(__name__)

_MS_PER_DAY: Final = 24 * 3600 * 1000


class HousekeepingSettings(Frozen):
    interval_s: float = 60.0
    """How often to look: a minute's writes are dropped in well under a second."""
    history_s: float = 300.0
    """History kept at least: pages of a list and watches that reconnect want minutes (kube-apiserver: five, and
    its conformance tests wait ten for a page to expire)."""
    history_min: int = 16
    """Revisions kept however old they are, so that the watches of an idle cluster resume. Few: where the last
    thousand are kept, pages of a list never expire in a small fleet, and clients depend on what a busy one breaks."""
    record_age_days: int = 30
    """Telemetry and device history kept in the cloud."""
    records_per_series: int = 100_000
    """At one reading a second, more than a day of one property."""


class History:
    """Which revision may be compacted, decided from when revisions were the newest. Pure."""

    def __init__(self, settings: HousekeepingSettings) -> None:
        self._settings = settings
        self._seen: deque[tuple[float, Revision]] = deque()

    def observe(self, now_s: float, newest: Revision) -> Revision:
        """Take note of the newest revision; up to which one history is no longer wanted (0: none)."""
        self._seen.append((now_s, newest))
        old = Revision(0)
        while self._seen and self._seen[0][0] <= now_s - self._settings.history_s:
            old = self._seen.popleft()[1]
        return max(Revision(0), min(old, Revision(newest - self._settings.history_min)))


class Housekeeping:
    """Looks after one store until cancelled."""

    def __init__(self, store: Store, clock: Clock, settings: HousekeepingSettings | None = None) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings or HousekeepingSettings()
        self._history = History(self._settings)

    async def run(self) -> None:
        """One round after the other; a store that is unavailable is tried again in the next."""
        failed = False
        while True:
            try:
                await self.round()
                failed = False
            except UnavailableError as error:
                if not failed:
                    log.warning("housekeeping postponed reason=%s", error)
                failed = True
            await asyncio.sleep(self._settings.interval_s)

    async def round(self) -> None:
        """Compact and trim what is due now."""
        to = self._history.observe(self._clock.monotonic_s(), await self._store.revision())
        if to:
            await self._store.compact(to)
        before_ms = self._clock.wall_ms() - self._settings.record_age_days * _MS_PER_DAY
        await self._store.trim_records(before_ms=before_ms, keep_per_series=self._settings.records_per_series)
