"""Several hubs on one store: who has the say about a node, and who notices that it has gone elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from cloudcore.hub.hub import HubSettings
from cloudcore.hub.liveness import SILENT_REASON, LivenessSettings
from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.memory import MemoryState
from cloudcore.store.port import Advance, Position, Standing
from edgecore.store.memory import MemoryEdgeStore
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.json import str_at
from skerry.sync.ports import SyncSettings
from skerry.wire.frames import Start
from tests.cloudcore.hub.fleet import QUICK, Fleet, Replica, SharedMemoryStore, a_fleet, eventually


def settings(*, lease_s: float = 5.0, grace_s: float = 0.05) -> HubSettings:
    return HubSettings(
        sync=SyncSettings(heartbeat_s=60.0),
        liveness=LivenessSettings(grace_s=grace_s, lease_s=lease_s, retry_s=0.05),
        places=QUICK,
    )


@pytest.fixture
def store() -> SharedMemoryStore:
    return SharedMemoryStore(MemoryState(epoch="e1"))


@pytest.fixture
async def north(store: SharedMemoryStore) -> AsyncIterator[Fleet]:
    async with a_fleet(store, settings(), Replica("north", leading=False)) as fleet:
        yield fleet


def gateway_disk() -> MemoryEdgeStore:
    """What a gateway takes with it from one hub to another."""
    return MemoryEdgeStore(incarnation="eu-1-1", clock=SystemClock())


def is_silent(fleet: Fleet, node: str) -> bool:
    return str_at(condition_of(fleet.now("nodes", node) or {}, "Ready") or {}, "reason") == SILENT_REASON


def is_ready(fleet: Fleet, node: str = "eu-1") -> bool:
    return is_true(fleet.now("nodes", node) or {}, "Ready")


def lease_of(fleet: Fleet, hub: str) -> object:
    return fleet.now("leases.coordination.k8s.io", f"skerry-hub-{hub}", "kube-system")


async def test_a_node_at_one_hub_is_ready_for_all_and_the_leader_speaks_for_those_at_none(
    store: SharedMemoryStore, north: Fleet
) -> None:
    await north.create("nodes", "nowhere")
    await north.create("nodes", "silent")
    async with north.gateway() as gateway:
        await gateway.tell_node()
        await eventually(lambda: is_ready(north))
        leadership = Replica("south", leading=False)
        async with a_fleet(store, settings(), leadership) as south:
            await eventually(lambda: lease_of(south, "north") and lease_of(north, "south"))
            await eventually(lambda: south.hub.leases.lives("north"))
            south.hub.liveness.orphaned(Advance(node="silent", incarnation="", session=0, covered=()), lambda: True)
            await eventually(lambda: is_silent(south, "silent"), "a whole grace to be over")
            assert not is_silent(south, "nowhere"), "who does not lead has no say"
            leadership.lead(True)
            await eventually(lambda: is_silent(south, "nowhere"))
            assert is_ready(south)
            assert (north.hub.connected, south.hub.connected) == (["eu-1"], [])
            assert south.hub.liveness.waiting == 0


async def test_a_session_is_closed_as_soon_as_its_node_has_come_to_another_hub(
    store: SharedMemoryStore, north: Fleet
) -> None:
    disk = gateway_disk()
    async with a_fleet(store, settings(), Replica("south")) as south, north.gateway(store=disk) as old:
        await old.tell_node()
        await eventually(lambda: is_ready(north))
        assert old.wire is not None
        old.wire.silent = True  # half-open: nothing that is said there arrives here, nor the other way round
        north.down = True
        async with south.gateway(store=disk) as new:
            await eventually(lambda: south.hub.connected == ["eu-1"])
            await eventually(lambda: north.hub.connected == [])
            assert new.link.connected
            await eventually(lambda: north.hub.liveness.waiting == 0, "its silence, which the store refuses")
            assert is_ready(south)


async def test_the_leader_takes_a_hub_for_dead_that_renews_no_lease_and_is_contradicted_when_it_lives(
    store: SharedMemoryStore,
) -> None:
    lost = False

    def plan(operation: Operation, number: int) -> Fault | None:
        return Fault(error=UnavailableError("no database")) if lost and operation in ("commit", "enter") else None

    quick = settings(lease_s=0.25)
    async with (
        a_fleet(FailingStore(store, plan), quick, Replica("north", leading=False)) as north,
        a_fleet(store, quick, Replica("south")) as south,
        north.gateway() as gateway,
    ):
        await gateway.tell_node()
        await eventually(lambda: is_ready(south))
        await eventually(lambda: south.hub.leases.lives("north"))
        lost = True
        await eventually(lambda: is_silent(south, "eu-1"))
        await eventually(lambda: lease_of(south, "north") is None, "it is buried")
        lost = False
        await eventually(lambda: is_ready(south), "its gateway was connected all the time")
        await eventually(lambda: lease_of(south, "north"))
        assert north.hub.connected == ["eu-1"]


async def test_a_hub_that_stops_takes_its_lease_with_it_and_its_nodes_have_the_grace(
    store: SharedMemoryStore,
) -> None:
    disk = gateway_disk()
    async with a_fleet(store, settings(grace_s=0.3), Replica("south")) as south:
        async with (
            a_fleet(store, settings(), Replica("north", leading=False)) as north,
            north.gateway(store=disk) as moves,
            north.gateway("us-1") as stays,
        ):
            await moves.tell_node()
            await stays.tell_node()
            await eventually(lambda: is_ready(south) and is_ready(south, "us-1"))
        assert (
            await store.get(south.kind("leases.coordination.k8s.io").key("kube-system", "skerry-hub-north")) is None
        )
        async with south.gateway(store=disk):
            await eventually(lambda: south.hub.connected == ["eu-1"])
            await eventually(lambda: is_silent(south, "us-1"))
            assert is_ready(south)


class SlowStore(SharedMemoryStore):
    """Says only after a while that a session has entered."""

    def __init__(self, state: MemoryState) -> None:
        super().__init__(state)
        self.entered = 0
        self.answers = asyncio.Event()

    async def enter(
        self,
        node: str,
        incarnation: str,
        *,
        hub: str = "",
        while_at: Standing | None = None,
        starts: Sequence[Start] = (),
    ) -> Position:
        position = await super().enter(node, incarnation, hub=hub, while_at=while_at, starts=starts)
        if hub == "north":
            self.entered += 1
            await self.answers.wait()
        return position


async def test_a_session_that_hears_late_that_it_entered_is_over_when_its_node_is_elsewhere_by_then() -> None:
    slow = SlowStore(MemoryState(epoch="e1"))
    async with a_fleet(slow, settings(), Replica("north")) as north, north.gateway() as gateway:
        await eventually(lambda: slow.entered == 1)
        await slow.enter("eu-1", "eu-1-1", hub="south")
        await eventually(lambda: north.hub._slots["eu-1"].elsewhere > 0, "north to hear of it")
        north.down = True
        slow.answers.set()
        await eventually(lambda: "another hub" in gateway.link.status.last_error)
        assert north.hub.connected == []


async def test_without_an_entry_the_newest_session_of_an_older_version_counts(store: SharedMemoryStore) -> None:
    await store.enter("eu-1", "i")
    async with a_fleet(store, settings(), Replica("south", leading=False)) as south:
        await south.create("nodes", "eu-1")
    async with a_fleet(store, settings(), Replica("south-2")) as south:
        await eventually(lambda: is_silent(south, "eu-1"))


async def test_a_node_whose_entry_was_never_answered_is_silent_after_its_grace(
    store: SharedMemoryStore, north: Fleet
) -> None:
    async with north.gateway() as gateway:
        await gateway.tell_node()
        await eventually(lambda: is_ready(north))
        north.down = True
        await store.enter("eu-1", "eu-1-1", hub="north")  # it took effect, and the hub does not know
        await eventually(lambda: north.hub.liveness.waiting or is_silent(north, "eu-1"), "the hub to hear of it")
    await eventually(lambda: is_silent(north, "eu-1"), "the older session's word is refused")
