"""When a node counts as silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.effects import kinds_in
from cloudcore.hub.hub import HubSettings
from cloudcore.hub.liveness import SILENT_REASON, Liveness, LivenessSettings
from cloudcore.registry.kinds import builtin_scheme
from skerry.clocks import ManualClock
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.json import str_at
from skerry.sync.ports import SyncSettings
from tests.cloudcore.hub.fleet import Fleet, a_fleet, eventually


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet() as fleet:
        for name in ("eu-1", "us-1"):
            await fleet.create("nodes", name)
        yield fleet


def is_silent(fleet: Fleet, node: str) -> bool:
    return str_at(condition_of(fleet.now("nodes", node) or {}, "Ready") or {}, "reason") == SILENT_REASON


async def test_the_grace_counts_from_when_a_node_was_heard_last(fleet: Fleet) -> None:
    clock = ManualClock()
    clock.advance(1000)
    liveness = Liveness(fleet.objects, kinds_in(builtin_scheme()), clock, LivenessSettings(grace_s=40))
    liveness.silent("us-1")
    liveness.silent("eu-1", heard_s=clock.monotonic_s() - 60)  # two heartbeats of 30 s have shown its silence
    running = asyncio.create_task(liveness.run())
    await eventually(lambda: is_silent(fleet, "eu-1"))
    assert not is_silent(fleet, "us-1"), "its link was closed just now"
    liveness.silent("us-1", heard_s=clock.monotonic_s() - 40)
    await eventually(lambda: is_silent(fleet, "us-1"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_mute_gateway_is_silent_when_its_session_ends_where_that_is_the_later() -> None:
    settings = HubSettings(
        sync=SyncSettings(heartbeat_s=1.0), liveness=LivenessSettings(grace_s=2.0, lease_s=5.0), retry_s=0.1
    )
    loop = asyncio.get_running_loop()
    async with a_fleet(settings=settings) as fleet, fleet.gateway() as gateway:
        await gateway.tell_node()
        await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        assert gateway.wire is not None
        fleet.down = True
        gateway.wire.silent = True
        mute_s = loop.time()
        await eventually(lambda: is_silent(fleet, "eu-1"))
        assert loop.time() - mute_s < 3.5, "two heartbeats and the grace, one after the other, would be four seconds"


async def test_only_the_last_that_was_told_of_a_node_is_written(fleet: Fleet) -> None:
    clock = ManualClock()
    clock.advance(1000)
    liveness = Liveness(fleet.objects, kinds_in(builtin_scheme()), clock, LivenessSettings(grace_s=40))
    await fleet.create("nodes", "flaps")  # after the fleet's own hub has read its nodes, so that it has no say
    for _ in range(5000):  # a link that flaps must not leave a trail
        liveness.silent("flaps", heard_s=0.0)
        liveness.heard("flaps")
    for number in range(100):
        await fleet.create("nodes", f"n-{number}")
        liveness.silent(f"n-{number}", heard_s=0.0)
    running = asyncio.create_task(liveness.run())
    await eventually(lambda: all(is_silent(fleet, f"n-{number}") for number in range(100)))
    assert not is_silent(fleet, "flaps")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
