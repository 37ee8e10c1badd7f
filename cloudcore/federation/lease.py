"""How long a region may run what must not run twice: so long after the global cloud answered last.

It counts from when the region asked, so that an answer that was long on its way lends nothing, and only while all
that the global cloud wants is here. The time is written down now and then, for a restart of the region's cloud on the
same machine, in the same boot of it: by the machine's own time, which nobody sets. To whoever leads on another
machine, or after a boot, it proves nothing: nothing is lent until the global cloud has answered, and what is there is
stopped if that takes longer than a handover. A crash leaves a time that is older than the truth.
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
_BOOT: Final = "bootId"
_UP: Final = "confirmedUpMs"
_HANDOVER_S: Final = 10.0
"""Of one that leads without proof, until it stops what is there. Gateways stop by themselves, whoever leads."""
_LOOK_S: Final = 1.0
_WRITE_S: Final = 10.0
_PARTS: Final = 5
"""It is asked so often in the time of the shortest lease."""


class RegionLease:
    """See the module. Run `run` in a task group."""

    def __init__(self, tools: Tools, member: RegionMember, boot_id: str) -> None:
        """`boot_id`: changes with each boot of the machine; "" where that is not known."""
        self._tools = tools
        self._member = member
        self._boot_id = boot_id
        self._unproven_since_s: float | None = None
        self._kind = tools.kind("configmaps")
        self._confirmed_s: float | None = None
        self._looked_at = Revision(-1)
        self._shortest_s = 0
        self._asked_s = 0.0
        self._written_s = 0.0

    def ago_s(self) -> float | None:
        """How long ago the global cloud was asked what it answered last; None: that is not proven."""
        known = [each for each in (self._confirmed_s, self._member.confirmed_s) if each is not None]
        return self._tools.clock.monotonic_s() - max(known) if known else None

    def left_s(self, lease_s: int) -> float:
        """Of a lease of so long, until what is there is stopped; 0 or less: it has ended."""
        ago_s = self.ago_s()
        if ago_s is not None:
            return lease_s - ago_s
        if self._unproven_since_s is None:
            return 0.0
        return self._unproven_since_s + min(_HANDOVER_S, lease_s) - self._tools.clock.monotonic_s()

    async def run(self) -> None:
        """Until cancelled."""
        self.remember()
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    def remember(self) -> None:
        """Begin with what was written down before a restart."""
        self._confirmed_s = self._remembered()
        self._unproven_since_s = self._tools.clock.monotonic_s()

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
        data = {} if stored is None else map_at(self._tools.cache.obj(stored), "data")
        boot_id, text = str_at(data, _BOOT), str_at(data, _UP)
        if not boot_id or boot_id != self._boot_id or not text.isdecimal():
            return None
        return min(int(text) / 1000, self._tools.clock.monotonic_s())

    async def _write_down(self, confirmed_s: float) -> None:
        if not self._boot_id:
            return
        data: JsonObject = {_BOOT: self._boot_id, _UP: str(int(confirmed_s * 1000))}

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
