"""Which devices of this gateway are held: by the cloud, which says so in the Device, or by somebody who stands here.

What was said here is durable before its author hears of it, in a row beside the twins of the device, and goes with
them. It is in force at once: `edgecore.twins.configuring` takes a held device from its driver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgecore.store.port import EdgeBatch, TwinRow
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.served import Served
from skerry.errors import NotFoundError
from skerry.objects.holds import (
    Holding,
    LocalHold,
    check_hold,
    effective,
    holding_of,
    local_hold_from,
    local_hold_json,
)
from skerry.objects.json import decode_object, encode_object
from skerry.objects.meta import Key
from skerry.ports import Clock

HOLD_ROW: Final = ""
"""Name of the row, where a property's would be."""
CLOCK_S: Final = 30.0
"""While nobody knows the time, no hold ends by it; so often it is looked whether somebody does."""


class Holds:
    """What was said here, and what is in force."""

    def __init__(self, store: AsyncEdgeStore, served: Served, *, clock: Clock, synced: Callable[[], bool]) -> None:
        self._store = store
        self._served = served
        self._clock = clock
        self._synced = synced
        self._local = {
            row.device: local_hold_from(decode_object(row.body)) for row in store.twins() if row.prop == HOLD_ROW
        }
        self.changed: Callable[[], None] = lambda: None
        """Called when something was said."""

    async def hold(self, device: Key, *, reason: str, by: str, until_ms: int | None) -> Holding:
        """See `edgecore.twins.port.Twins`."""
        now_ms = self._clock.wall_ms()
        check_hold(reason, until_ms, now_ms=now_ms)
        holding = Holding(reason=reason, by=by, since_ms=now_ms, until_ms=until_ms)
        await self._say(device, LocalHold(uid=self._uid(device), holding=holding))
        return holding

    async def release(self, device: Key) -> None:
        """See `edgecore.twins.port.Twins`."""
        uid = self._uid(device)
        await self._say(device, LocalHold(uid=uid, released=holding_of(self._served.known[device].body)))

    def holding(self, device: Key) -> Holding | None:
        """The hold in force."""
        known, local = self._served.known.get(device), self._local.get(device)
        if known is None:
            return None
        mine = local if local is not None and local.uid == known.uid else None
        return effective(holding_of(known.body), mine, now_ms=self._clock.wall_ms() if self._synced() else None)

    def next_end_s(self) -> float | None:
        """In how many seconds the next hold may be over; None: none ends by itself."""
        if not self._synced():
            return CLOCK_S
        now_ms = self._clock.wall_ms()
        ends = [
            holding.until_ms
            for device in self._served.known
            if (holding := self.holding(device)) is not None and holding.until_ms is not None
        ]
        return max(0.05, (min(ends) - now_ms) / 1000) if ends else None

    def gone(self) -> set[Key]:
        """Devices that something was said of, and that aren't on this gateway any more."""
        return self._local.keys() - self._served.known.keys()

    def forget(self, device: Key) -> None:
        """The device is gone from this gateway, and its rows with it."""
        self._local.pop(device, None)

    def _uid(self, device: Key) -> str:
        known = self._served.known.get(device)
        if known is None:
            raise NotFoundError(f'device "{device.namespace}/{device.name}" not found on this gateway')
        return known.uid

    async def _say(self, device: Key, local: LocalHold) -> None:
        row = TwinRow(device=device, prop=HOLD_ROW, body=encode_object(local_hold_json(local)))
        await self._store.apply(EdgeBatch(twins=(row,)))
        self._local[device] = local
        self.changed()
