"""The pushes of a gateway, of which most gateways have none: what carries them out is loaded with the first.

Keeps nothing; what waits to be pushed is in the edge store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Final

from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.frozen import Frozen
from skerry.objects.device_models import DEVICES
from skerry.objects.meta import Key
from skerry.ports import Clock, Ids

if TYPE_CHECKING:
    from edgecore.push.places import Places
    from edgecore.push.shell import Pusher, QueueSight

_ASKS: Final = b"pushMethod"
"""In a Device that asks for pushes; in another it does no harm."""


class PushGround(Frozen):
    """What it stands on; see `edgecore.push.shell.PushParts`."""

    node: str
    store: AsyncEdgeStore
    places: Callable[[], Places]
    clock: Clock
    ids: Ids
    drivers: Container[str] = ()


class Pushes:
    """Run `run` in a task group."""

    def __init__(self, ground: PushGround) -> None:
        self._ground = ground
        self._pusher: Pusher | None = None
        self._some = asyncio.Event()

    def note_of(self, device: Key) -> str:
        """See `Pusher.note_of`."""
        return "" if self._pusher is None else self._pusher.note_of(device)

    def sights(self) -> Sequence[QueueSight]:
        """See `Pusher.sights`."""
        return () if self._pusher is None else self._pusher.sights()

    def _committed(self, batch: EdgeBatch) -> None:
        if batch.pushes or any(_asks(held) for held in batch.puts):
            self._some.set()

    async def run(self) -> None:
        """Until cancelled."""
        store = self._ground.store
        stop = store.listen(self._committed)
        try:
            if not store.push_queues() and not any(_asks(held) for held in store.list(DEVICES)):
                await self._some.wait()
        finally:
            stop()
        from edgecore.push.shell import Pusher, PushParts  # half a megabyte: only who pushes pays

        ground = self._ground
        self._pusher = Pusher(
            PushParts(
                node=ground.node,
                store=store,
                places=ground.places(),
                clock=ground.clock,
                ids=ground.ids,
                drivers=ground.drivers,
            )
        )
        await self._pusher.run()


def _asks(held: Held) -> bool:
    return held.key.resource == DEVICES and _ASKS in held.body
