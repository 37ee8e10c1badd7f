"""Whether the others believe in a hub, as far as it can know."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from cloudcore.hub.leases import RENEWALS, HubLeases, LeaseParts
from cloudcore.registry.port import Objects
from skerry.errors import UnavailableError
from tests.cloudcore.hub.fleet import eventually
from tests.cloudcore.worlds import World, make_world


class Cut:
    """Objects of a store that can be cut off."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.cut = False
        self.asked = 0

    async def update(self, *args: Any, **more: Any) -> Any:
        self.asked += 1
        if self.cut:
            raise UnavailableError("no route")
        return await self._objects.update(*args, **more)

    async def create(self, *args: Any, **more: Any) -> Any:
        return await self._objects.create(*args, **more)


def leases(world: World, objects: Cut, hub: str) -> HubLeases:
    parts = LeaseParts(
        store=world.store,
        cache=world.cache,
        objects=cast(Objects, objects),
        kind=world.kind("leases.coordination.k8s.io"),
        clock=world.clock,
    )
    return HubLeases(parts, hub=hub, renew_s=0.01)


async def test_a_hub_knows_when_its_lease_has_ended_for_the_others() -> None:
    async with make_world() as world:
        objects = Cut(world.objects)
        found, alone = leases(world, objects, "a"), leases(world, objects, "")
        renewing = asyncio.create_task(found.run())
        await eventually(lambda: objects.asked > 1, "it is renewed")
        world.clock.advance(RENEWALS)
        asked = objects.asked
        await eventually(lambda: objects.asked > asked + 1, "it is renewed again")
        assert found.holds()
        objects.cut = True
        asked = objects.asked
        await eventually(lambda: objects.asked > asked + 1, "it is tried")
        world.clock.advance(1)
        assert not found.holds()
        assert alone.holds(), "nobody else decides"
        renewing.cancel()
        await asyncio.wait([renewing])
