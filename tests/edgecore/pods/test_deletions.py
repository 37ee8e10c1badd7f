"""What takes long is done beside the loop, and its faults are told to who waits."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edgecore.pods.deletions import beside


async def test_the_loop_goes_on_meanwhile() -> None:
    may_end = threading.Event()
    task = asyncio.create_task(beside(lambda: may_end.wait(10)))
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    await task


async def test_a_fault_is_told() -> None:
    def fails() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await beside(fails)


async def test_who_waits_may_go() -> None:
    may_end = threading.Event()
    task = asyncio.create_task(beside(lambda: may_end.wait(10)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    may_end.set()
    await beside(lambda: None)
