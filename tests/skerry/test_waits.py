"""Waiting for something to happen, but not for longer than a while."""

from __future__ import annotations

import asyncio

import pytest

from skerry.waits import until_set


async def test_who_waits_learns_whether_it_happened_in_time() -> None:
    event = asyncio.Event()
    assert not await until_set(event, within_s=0.0)
    asyncio.get_running_loop().call_soon(event.set)
    assert await until_set(event, within_s=None)
    assert event.is_set()


async def test_who_is_cancelled_meanwhile_is() -> None:
    task = asyncio.create_task(until_set(asyncio.Event(), within_s=60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
