"""When a node counts as silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.hub import HubSettings
from cloudcore.hub.liveness import SILENT_REASON, Liveness, LivenessSettings
from cloudcore.hub.node_writes import GATEWAY_READY
from cloudcore.hub.outcomes import kinds_in
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Advance
from edgecore.store.memory import MemoryEdgeStore
from skerry.clocks import ManualClock, SystemClock
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.commands import CAPABILITY
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Revision, revision_of
from skerry.sync.hashes import bucket_hashes, root_of
from skerry.sync.ports import SyncSettings
from skerry.transport.memory import pair
from skerry.wire.codec import decode, encode
from skerry.wire.frames import Ack, Close, CloseCode, Compare, Frame, Hello, Ping, Pong, Welcome
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


async def test_a_session_that_failed_leaves_a_grace_that_runs_and_the_next_has_to_last(fleet: Fleet) -> None:
    clock = ManualClock()
    clock.advance(1000)
    liveness = Liveness(fleet.objects, kinds_in(builtin_scheme()), clock, LivenessSettings(grace_s=40))
    for name in ("bad", "wakes-it"):  # after the fleet's own hub has read its nodes, so that it has no say
        await fleet.create("nodes", name)
    await fleet.objects.update(fleet.kind("nodes"), fleet.kind("nodes").key("", "bad"), _ready, subresource="status")
    running = asyncio.create_task(liveness.run())

    async def after(seconds: float) -> None:
        """Time passes, and what is due is written."""
        clock.advance(seconds)
        liveness.heard(await entered(fleet, "wakes-it"))
        await eventually(lambda: liveness.waiting <= 1)

    liveness.silent(await entered(fleet, "bad"))
    await after(30)
    for _ in range(3):
        spoke = await entered(fleet, "bad")
        liveness.heard(spoke)
        liveness.failed(spoke)
    liveness.failed(await entered(fleet, "bad"))  # this one never spoke
    await after(39)
    assert not is_silent(fleet, "bad"), "the first that failed had spoken, and was believed"
    await after(2)
    assert is_silent(fleet, "bad")
    for _ in range(3):
        spoke = await entered(fleet, "bad")
        liveness.heard(spoke)
        await after(9)
        assert is_silent(fleet, "bad"), "it has not lasted yet"
        liveness.failed(spoke)
        await after(1)
        assert is_silent(fleet, "bad")
    good = await entered(fleet, "bad")
    liveness.heard(good)
    await after(11)
    await eventually(lambda: not is_silent(fleet, "bad"))
    liveness.failed(good)
    await after(39)
    assert not is_silent(fleet, "bad"), "it had lasted, and so its end begins a grace"
    await after(2)
    await eventually(lambda: is_silent(fleet, "bad"))
    liveness.silent(await entered(fleet, "bad"))
    liveness.heard(await entered(fleet, "bad"))
    await eventually(lambda: not is_silent(fleet, "bad"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _ready(node: JsonObject) -> JsonObject:
    told: list[JsonObject] = [{"type": kind, "status": "True", "reason": "R"} for kind in ("Ready", GATEWAY_READY)]
    return {**node, "status": {"conditions": [*told]}}


async def test_a_gateway_that_is_in_step_and_has_nothing_to_say_is_asked_with_welcome() -> None:
    """Else it would say something after more than a heartbeat, and be silent until then."""
    settings = HubSettings(
        sync=SyncSettings(heartbeat_s=3000.0), liveness=LivenessSettings(grace_s=0.05, lease_s=5.0)
    )
    async with a_fleet(settings=settings) as fleet:
        async with fleet.gateway() as gateway:
            await gateway.tell_node()
            await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        await eventually(lambda: is_silent(fleet, "eu-1"))
        node = fleet.now("nodes", "eu-1") or {}
        await eventually(lambda: fleet.hub.view("eu-1").revision >= revision_of(node))
        edge, cloud = pair(edge_name="system:node:eu-1")
        serving = asyncio.create_task(fleet.hub.handle(cloud))
        root = root_of(bucket_hashes(fleet.hub.view("eu-1").stamps()))
        await edge.send(encode(replace(HELLO, root=root, epoch=fleet.store.epoch)))
        welcome, ping = decode(await edge.receive()), decode(await edge.receive())
        assert isinstance(welcome, Welcome)
        assert welcome.in_step
        assert isinstance(ping, Ping)
        assert is_silent(fleet, "eu-1")
        await edge.send(encode(Pong(number=ping.number)))
        await eventually(lambda: not is_silent(fleet, "eu-1"))
        edge.cut()
        await serving


HELLO = Hello(
    versions=(2, 1),
    node="eu-1",
    agent_version="0",
    incarnation="eu-1-1",
    epoch="",
    revision=Revision(0),
    root=1,
    outbox_head=0,
    capabilities=(CAPABILITY,),
)


async def ends_at_once(fleet: Fleet, *words: Frame) -> None:
    """A session that is welcomed, says this, and breaks."""
    edge, cloud = pair(edge_name="system:node:eu-1")
    serving = asyncio.create_task(fleet.hub.handle(cloud))
    await edge.send(encode(HELLO))
    assert type(decode(await edge.receive())).__name__ == "Welcome"
    for word in words:
        await edge.send(encode(word))
    edge.cut()
    await serving


async def test_a_gateway_whose_every_session_ends_at_once_is_silent_and_stays_so() -> None:
    settings = HubSettings(
        sync=SyncSettings(heartbeat_s=30.0), liveness=LivenessSettings(grace_s=3.0, lease_s=5.0), places=QUICK
    )
    ways: tuple[tuple[Frame, ...], ...] = (
        (),
        (Close(code=CloseCode.PROTOCOL, reason="never heard of it"),),
        (Pong(number=1),),
        (Compare(batch=0, root=0, buckets=(0,) * 64), Ack(batch=99)),
    )
    store = MemoryEdgeStore(incarnation="eu-1-1", clock=SystemClock())
    async with a_fleet(settings=settings) as fleet:
        async with fleet.gateway(store=store) as gateway:
            await gateway.tell_node()
            await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        attempts = 0
        async with asyncio.timeout(30):
            while not is_silent(fleet, "eu-1"):
                await ends_at_once(fleet, *ways[attempts % len(ways)])
                attempts += 1
        assert attempts > 1
        before = fleet.now("nodes", "eu-1")
        for number in range(40):
            await ends_at_once(fleet, *ways[number % len(ways)])
            assert is_silent(fleet, "eu-1")
        await eventually(lambda: fleet.hub.liveness.waiting == 0)
        assert fleet.now("nodes", "eu-1") == before, "nothing is written of it in between"
        async with fleet.gateway(store=store) as gateway:
            await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))


async def test_a_hub_that_is_alone_calls_a_node_silent_whose_last_entry_was_never_answered() -> None:
    lost = entered = 0

    def plan(operation: Operation, _number: int) -> Fault | None:
        nonlocal entered
        entered += lost if operation == "enter" else 0
        return Fault(error=UnavailableError("no answer"), after=True) if lost and operation == "enter" else None

    settings = HubSettings(liveness=LivenessSettings(grace_s=0.5), places=QUICK)
    disk = MemoryEdgeStore(incarnation="eu-1-1", clock=SystemClock())
    async with a_fleet(FailingStore(MemoryStore(MemoryState(epoch="e1")), plan), settings) as fleet:
        async with fleet.gateway(store=disk) as gateway:
            await gateway.tell_node()
            await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        lost = 1
        async with fleet.gateway(store=disk):
            await eventually(lambda: entered)
            fleet.down = True
        await eventually(lambda: is_silent(fleet, "eu-1"), "what the older session says is refused")


async def test_what_was_not_answered_lets_a_grace_that_is_running_go_on(fleet: Fleet) -> None:
    clock = ManualClock()
    clock.advance(1000)
    liveness = Liveness(fleet.objects, kinds_in(builtin_scheme()), clock, LivenessSettings(grace_s=40))
    for name in ("here", "alone", "speaks"):
        await fleet.create("nodes", name)
        liveness.silent(await entered(fleet, name))
    clock.advance(39)
    for name in ("here", "speaks"):
        liveness.entered(await entered(fleet, name))
    liveness.unanswered("alone")
    newest = await fleet.store.position("speaks")
    assert newest is not None
    liveness.heard(Advance(node="speaks", incarnation="i", session=newest.session, covered=()))
    clock.advance(2)
    running = asyncio.create_task(liveness.run())
    await eventually(lambda: liveness.waiting == 0)
    assert (is_silent(fleet, "here"), is_silent(fleet, "alone"), is_silent(fleet, "speaks")) == (True, True, False)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
