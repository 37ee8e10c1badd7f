"""A link that an operator cut stays cut, whatever happens to the agent."""

from __future__ import annotations

import asyncio

import pytest

from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import UnavailableError
from skerry.ports import Link
from skerry.transport.memory import pair


class Dialed:
    """Counts dials, and reaches nobody."""

    def __init__(self) -> None:
        self.count = 0
        self.once = asyncio.Event()

    async def dial(self, address: str) -> Link:
        self.count += 1
        self.once.set()
        raise UnavailableError(f"no route to {address}")


def link(store: AsyncEdgeStore, dialed: Dialed) -> EdgeLink:
    settings = LinkSettings(node="eu-1", agent_version="v0", boot_id="boot", addresses=("cloud:1",))
    return EdgeLink(settings, LinkParts(store=store, dialer=dialed.dial, clock=ManualClock(), ids=SeededIds(1)))


async def test_a_cut_link_stays_cut_when_the_agent_starts_again_and_dials_once_healed() -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))
    await link(store, Dialed()).cut()
    dialed = Dialed()
    again = link(store, dialed)
    assert again.status.state == "cut"
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        runner = tasks.create_task(again.run())
        await asyncio.sleep(0)
        assert dialed.count == 0
        await again.heal()
        await dialed.once.wait()
        runner.cancel()
    assert not link(store, Dialed()).is_cut


async def test_a_link_that_is_cut_while_it_is_dialled_does_not_come_up() -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))
    dialing, answer = asyncio.Event(), asyncio.Event()
    edge, cloud = pair(edge_name="system:node:eu-1")

    async def dial(address: str) -> Link:
        dialing.set()
        await answer.wait()
        return edge

    settings = LinkSettings(node="eu-1", agent_version="v0", boot_id="boot", addresses=("cloud:1",))
    ours = EdgeLink(settings, LinkParts(store=store, dialer=dial, clock=ManualClock(), ids=SeededIds(1)))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        runner = tasks.create_task(ours.run())
        await dialing.wait()
        await ours.cut()
        answer.set()
        with pytest.raises(UnavailableError):
            await cloud.receive()
        assert ours.status.state == "cut"
        runner.cancel()
