"""Events live for an hour. The task that ends them.

Kubernetes gives Events a time to live (`--event-ttl`); here a loop deletes the old ones, and the oldest when there
are too many. Keeps when each event was last seen, to parse it once; a crash loses that and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from cloudcore.api.writing import parse
from cloudcore.registry.port import DeleteOptions, Objects
from cloudcore.store.port import Stored
from skerry.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, Revision
from skerry.objects.scheme import Kind, Scheme
from skerry.objects.times import ms_at
from skerry.ports import Clock

LOG: Final = logging.getLogger(__name__)
_RESOURCE: Final = "events"
_TIMES: Final = (
    ("metadata", "creationTimestamp"),
    ("firstTimestamp",),
    ("lastTimestamp",),
    ("eventTime",),
    ("series", "lastObservedTime"),
)
_PARSED_AT_ONCE: Final = 500


class ExpirySettings(Frozen):
    life_s: float = 3600.0
    """Seconds an event is kept after it was last seen (kube-apiserver's default)."""
    events_max: int = 50_000
    """More are not kept, oldest first: a gateway in a crash loop must not fill the store."""
    interval_s: float = 60.0
    """Between two looks."""


class Seen(Frozen, kw_only=False):
    """An event, and when it was last seen (milliseconds since the epoch)."""

    key: Key
    revision: Revision
    at_ms: int


def seen_at(event: JsonObject, *, now_ms: int) -> int:
    """The latest time that an event gives for itself.

    A time ahead of ours is a wrong clock's: then the time at which we stored it counts.
    """
    times: list[int] = []
    for path in _TIMES:
        try:
            times.append(ms_at(str_at(event, *path)))
        except BadRequestError:
            continue
    return max((time for time in times if time <= now_ms), default=0)


def expired(events: Iterable[Seen], *, now_ms: int, settings: ExpirySettings) -> list[Seen]:
    """Those whose time is over, and the oldest of those that are too many."""
    ordered = sorted(events, key=lambda event: event.at_ms)
    surplus = max(0, len(ordered) - settings.events_max)
    limit = now_ms - round(settings.life_s * 1000)
    return [event for at, event in enumerate(ordered) if at < surplus or event.at_ms < limit]


class EventExpiry:
    """Deletes old events for as long as `run` runs."""

    def __init__(
        self, objects: Objects, scheme: Scheme, clock: Clock, settings: ExpirySettings | None = None
    ) -> None:
        kind = scheme.at("", "v1", _RESOURCE)
        assert kind is not None, "core events are built in"
        self._kind: Kind = kind
        self._objects = objects
        self._clock = clock
        self._settings = settings or ExpirySettings()
        self._known: dict[Key, Seen] = {}

    async def run(self) -> None:
        """For ever. A store that can't answer now is asked again at the next look."""
        failed = False
        while True:
            try:
                await self.sweep()
                failed = False
            except UnavailableError as error:
                if not failed:
                    LOG.warning("events not expired reason=%s", error)
                failed = True
            await asyncio.sleep(self._settings.interval_s)

    async def sweep(self) -> int:
        """Delete what is over now; how many. Raises `UnavailableError`."""
        now_ms = self._clock.wall_ms()
        self._known = await self._look(now_ms)
        gone = 0
        for event in expired(self._known.values(), now_ms=now_ms, settings=self._settings):
            try:
                await self._objects.delete(self._kind, event.key, DeleteOptions(revision=event.revision))
                gone += 1
            except (NotFoundError, ConflictError):
                continue  # deleted by another, or seen again since
        return gone

    async def _look(self, now_ms: int) -> dict[Key, Seen]:
        known: dict[Key, Seen] = {}
        parsed = 0
        for stored in self._objects.select(_RESOURCE):
            seen = self._known.get(stored.key)
            if seen is None or seen.revision != stored.revision:
                seen = _seen(stored, now_ms)
                parsed += 1
                if parsed % _PARSED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            known[stored.key] = seen
        return known


def _seen(stored: Stored, now_ms: int) -> Seen:
    return Seen(stored.key, stored.revision, seen_at(parse(stored.body), now_ms=now_ms))
