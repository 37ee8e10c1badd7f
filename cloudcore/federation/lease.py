"""How long a region may run what must not run twice: so long after the global cloud answered last.

It counts from when the region asked, so that an answer that was long on its way lends nothing, and only while all
that the global cloud wants is here. The time is written down now and then, for a restart of the region's cloud: read
by the wall clock, and worth nothing where that went back. A crash leaves a time that is older than the truth.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from cloudcore.federation.link import RegionMember
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError, SkerryError
from skerry.objects.federation import NAMESPACE, REGION_OBJECTS
from skerry.objects.json import JsonObject, int_at, map_at, str_at
from skerry.objects.meta import Key, Revision

log = logging.getLogger(__name__)

_NAME: Final = "skerry-region-lease"
_FIELD: Final = "confirmedAtMs"
_LOOK_S: Final = 1.0
_WRITE_S: Final = 10.0
_PARTS: Final = 5
"""It is asked so often in the time of the shortest lease."""


class RegionLease:
    """See the module. Run `run` in a task group."""

    def __init__(self, tools: Tools, member: RegionMember) -> None:
        self._tools = tools
        self._member = member
        self._kind = tools.kind("configmaps")
        self._confirmed_s: float | None = None
        self._looked_at = Revision(-1)
        self._shortest_s = 0
        self._asked_s = 0.0
        self._written_s = 0.0

    def left_s(self, lease_s: int) -> float:
        """Of a lease of so long; 0 or less: it has ended."""
        known = [each for each in (self._confirmed_s, self._member.confirmed_s) if each is not None]
        if not known:
            return 0.0
        return max(known) + lease_s - self._tools.clock.monotonic_s()

    async def run(self) -> None:
        """Until cancelled."""
        self.remember()
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    def remember(self) -> None:
        """Begin with what was written down before a restart."""
        self._confirmed_s = self._remembered()

    async def look(self) -> None:
        """Ask where it is time to, and take note of the answer."""
        shortest_s = self._shortest()
        if not shortest_s:
            return
        now_s = self._tools.clock.monotonic_s()
        confirmed_s = self._member.confirmed_s
        if confirmed_s is not None and (self._confirmed_s is None or confirmed_s > self._confirmed_s):
            self._confirmed_s = confirmed_s
            if now_s >= self._written_s + _WRITE_S or not self._written_s:
                await self._write_down(confirmed_s)
                self._written_s = now_s
        if now_s >= self._asked_s + shortest_s / _PARTS:
            self._asked_s = now_s
            self._member.ask()

    def _shortest(self) -> int:
        """Lease of all that are here; 0 for none. Rows are many, and seldom change."""
        changed = self._tools.cache.changed(REGION_OBJECTS)
        if changed != self._looked_at:
            self._looked_at = changed
            specs = [map_at(self._tools.cache.obj(each), "spec") for each in self._tools.cache.select(REGION_OBJECTS)]
            leases = [int_at(spec, "leaseSeconds") for spec in specs if not spec.get("remove")]
            self._shortest_s = min((lease_s for lease_s in leases if lease_s > 0), default=0)
        return self._shortest_s

    def _remembered(self) -> float | None:
        stored = self._tools.objects.read(Key("configmaps", NAMESPACE, _NAME))
        text = "" if stored is None else str_at(self._tools.cache.obj(stored), "data", _FIELD)
        ago_ms = self._tools.clock.wall_ms() - int(text) if text.isdecimal() else -1
        return None if ago_ms < 0 else self._tools.clock.monotonic_s() - ago_ms / 1000

    async def _write_down(self, confirmed_s: float) -> None:
        ago_ms = round((self._tools.clock.monotonic_s() - confirmed_s) * 1000)
        data: JsonObject = {_FIELD: str(self._tools.clock.wall_ms() - ago_ms)}

        def noted(current: JsonObject) -> JsonObject:
            return {**current, "data": data}

        obj: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _NAME}, "data": data}
        try:
            try:
                await self._tools.objects.update(self._kind, self._kind.key(NAMESPACE, _NAME), noted)
            except NotFoundError:
                await self._tools.objects.create(self._kind, NAMESPACE, obj)
        except SkerryError as error:
            log.warning("until when leases hold is not written down error=%s", error)
