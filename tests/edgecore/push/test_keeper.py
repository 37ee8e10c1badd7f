"""What most gateways don't need is made with the first Device that asks for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from edgecore.push.keeper import Pushes, PushGround
from edgecore.push.places import Places
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SeededIds, SystemClock
from tests.edgecore.push.test_shell import DEVICE, Memory, device, held, pushes


async def test_places_are_made_with_the_first_device_that_pushes_or_for_what_waits_since_before() -> None:
    for before in (False, True):
        clock, places, made = SystemClock(), Memory(), list[Places]()
        store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
        asked = device("a.example")
        if before:
            await store.apply(held(asked))

        def make(places: Memory = places, made: list[Places] = made) -> Places:
            made.append(places)
            return places

        keeper = Pushes(PushGround(node="eu-1", store=store, places=make, clock=clock, ids=SeededIds(1)))
        running = asyncio.create_task(keeper.run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert bool(made) is before
        assert (keeper.note_of(DEVICE), list(keeper.sights())) == ("", [])
        await store.apply(held({**asked, "spec": {"protocol": {"protocolName": "modbus"}}}, 2))
        await store.apply(held(asked, 3))
        await store.apply(pushes(asked, "p0", 1))
        async with asyncio.timeout(10):
            while not places.arrived:
                await asyncio.sleep(0.005)
        assert len(made) == 1
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
