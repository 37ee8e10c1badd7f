"""The guard of the edge store: who ends the agent, and when."""

from __future__ import annotations

import asyncio
import queue
import threading

import pytest

from edgecore.store.guard import StoreGuard
from skerry.errors import DamagedError, UnavailableError


async def test_damage_that_somebody_meets_ends_it_before_any_look() -> None:
    guard = StoreGuard()
    looks: list[None] = []

    def look() -> str:
        looks.append(None)
        return ""

    task = asyncio.create_task(guard.run(look, after_s=3600))
    await asyncio.sleep(0)
    await asyncio.to_thread(guard.damaged, "page 7")
    with pytest.raises(DamagedError, match="page 7"):
        await task
    assert looks == []


async def test_it_looks_once_beside_the_loop_and_ends_for_what_it_finds() -> None:
    threads: list[threading.Thread] = []

    def look() -> str:
        threads.append(threading.current_thread())
        return "page 9"

    with pytest.raises(DamagedError, match="page 9"):
        await StoreGuard().run(look, after_s=0)
    (thread,) = threads
    assert thread is not threading.main_thread()
    assert thread.daemon, "an agent that is told to stop does not wait for it"


@pytest.mark.parametrize("fails", [False, True])
async def test_it_goes_on_where_nothing_is_wrong_or_nothing_can_be_said(
    *, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    looks: queue.Queue[threading.Thread] = queue.Queue()

    def look() -> str:
        looks.put(threading.current_thread())
        if fails:
            raise UnavailableError("a sector can't be read")
        return ""

    guard = StoreGuard()
    task = asyncio.create_task(guard.run(look, after_s=0))
    thread = await asyncio.to_thread(looks.get, timeout=30)
    await asyncio.to_thread(thread.join, 30)
    await asyncio.sleep(0)
    assert not task.done()
    guard.damaged("later")
    with pytest.raises(DamagedError, match="later"):
        await task
    assert ("a sector can't be read" in caplog.text) == fails
