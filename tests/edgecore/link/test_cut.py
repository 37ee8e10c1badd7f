"""A link that an operator cut stays cut, whatever happens to the agent."""

from __future__ import annotations

import asyncio
import logging

import pytest

from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import DamagedError, UnavailableError
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


@pytest.mark.parametrize("damaged", [True, False])
async def test_damage_that_a_session_meets_is_left_to_the_guard_to_tell(
    *, damaged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "edgecore.link.session")
    failed = asyncio.Event()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))

    async def dial(address: str) -> Link:
        failed.set()
        error = DamagedError("page 7") if damaged else ZeroDivisionError("a mistake")
        raise ExceptionGroup("of a session", [error])

    settings = LinkSettings(node="eu-1", agent_version="v0", boot_id="boot", addresses=("cloud:1",))
    dialing = EdgeLink(settings, LinkParts(store=store, dialer=dial, clock=ManualClock(), ids=SeededIds(1)))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        runner = tasks.create_task(dialing.run())
        await failed.wait()
        await asyncio.sleep(0)
        runner.cancel()
    (line,) = [each for each in caplog.records if each.message.startswith("session failed")]
    assert (line.exc_info is None) == (line.levelno == logging.DEBUG) == damaged
    assert ("page 7" in line.message) == damaged


async def test_a_session_that_fails_in_the_moment_in_which_the_link_is_ended_does_not_keep_it_going() -> None:
    dialing = asyncio.Event()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))

    async def dial(address: str) -> Link:
        dialing.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ExceptionGroup("of a session", [DamagedError("page 7")])

    settings = LinkSettings(node="eu-1", agent_version="v0", boot_id="boot", addresses=("cloud:1",))
    dialed = EdgeLink(settings, LinkParts(store=store, dialer=dial, clock=ManualClock(), ids=SeededIds(1)))
    runner = asyncio.create_task(dialed.run())
    await dialing.wait()
    runner.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait((runner,))
    assert runner.cancelled()
