"""When a node counts as silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.effects import kinds_in
from cloudcore.hub.hub import HubSettings
from cloudcore.hub.liveness import SILENT_REASON, Liveness, LivenessSettings
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.store.port import Advance
from skerry.clocks import ManualClock
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.json import str_at
from skerry.sync.ports import SyncSettings
from tests.cloudcore.hub.fleet import QUICK, Fleet, a_fleet, eventually


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet() as fleet:
        for name in ("eu-1", "us-1"):
            await fleet.create("nodes", name)
        yield fleet


async def entered(fleet: Fleet, node: str) -> Advance:
    """A session of the node."""
    position = await fleet.store.enter(node, "i")
    return Advance(node=node, incarnation="i", session=position.session, covered=())


def is_silent(fleet: Fleet, node: str) -> bool:
    return str_at(condition_of(fleet.now("nodes", node) or {}, "Ready") or {}, "reason") == SILENT_REASON


async def test_the_grace_counts_from_when_a_node_was_heard_last(fleet: Fleet) -> None:
    clock = ManualClock()
    clock.advance(1000)
    liveness = Liveness(fleet.objects, kinds_in(builtin_scheme()), clock, LivenessSettings(grace_s=40))
    us, eu = await entered(fleet, "us-1"), await entered(fleet, "eu-1")
    liveness.silent(us)
    liveness.silent(eu, heard_s=clock.monotonic_s() - 60)  # two heartbeats of 30 s have shown its silence
    running = asyncio.create_task(liveness.run())
    await eventually(lambda: is_silent(fleet, "eu-1"))
    assert not is_silent(fleet, "us-1"), "its link was closed just now"
    liveness.silent(us, heard_s=clock.monotonic_s() - 40)
    await eventually(lambda: is_silent(fleet, "us-1"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_mute_gateway_is_silent_when_its_session_ends_where_that_is_the_later() -> None:
    settings = HubSettings(
        sync=SyncSettings(heartbeat_s=1.0), liveness=LivenessSettings(grace_s=2.0, lease_s=5.0), places=QUICK
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
    flaps = await entered(fleet, "flaps")
    for _ in range(5000):  # a link that flaps must not leave a trail
        liveness.silent(flaps, heard_s=0.0)
        liveness.heard(flaps)
    for number in range(100):
        await fleet.create("nodes", f"n-{number}")
        liveness.silent(await entered(fleet, f"n-{number}"), heard_s=0.0)
    running = asyncio.create_task(liveness.run())
    await eventually(lambda: all(is_silent(fleet, f"n-{number}") for number in range(100)))
    assert not is_silent(fleet, "flaps")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_of_two_sessions_only_the_newer_one_has_a_say(fleet: Fleet) -> None:
    clock = ManualClock()
    clock.advance(1000)
    liveness = Liveness(fleet.objects, kinds_in(builtin_scheme()), clock, LivenessSettings(grace_s=40))
    for name in ("two", "one"):  # after the fleet's own hub has read its nodes, so that it has no say
        await fleet.create("nodes", name)
    older, us = await entered(fleet, "two"), await entered(fleet, "one")
    await entered(fleet, "two")  # at another hub, which is none of this one's business
    liveness.silent(older, heard_s=0.0)
    liveness.silent(us, heard_s=0.0)
    running = asyncio.create_task(liveness.run())
    await eventually(lambda: is_silent(fleet, "one"))
    assert not is_silent(fleet, "two")
    newest = await entered(fleet, "one")
    liveness.heard(newest)
    liveness.silent(us, heard_s=0.0)  # told late: the session that it is of is over
    assert liveness.waiting == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_orphan_is_silent_after_its_grace_if_it_still_is_one(fleet: Fleet) -> None:
    clock = ManualClock()
    clock.advance(1000)
    liveness = Liveness(fleet.objects, kinds_in(builtin_scheme()), clock, LivenessSettings(grace_s=40))
    lost = {"gone": True, "back": False}
    for node in lost:
        await fleet.create("nodes", node)
        liveness.orphaned(await entered(fleet, node), lambda node=node: lost[node])
    never = Advance(node="never", incarnation="", session=0, covered=())
    await fleet.create("nodes", "never")
    liveness.orphaned(never, lambda: True)
    clock.advance(39)
    running = asyncio.create_task(liveness.run())
    await asyncio.sleep(0)
    assert liveness.waiting == 3
    clock.advance(2)
    liveness.heard(await entered(fleet, "wakes-it"))
    await eventually(lambda: liveness.waiting == 0)
    assert (is_silent(fleet, "gone"), is_silent(fleet, "back"), is_silent(fleet, "never")) == (True, False, True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
