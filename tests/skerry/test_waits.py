"""Waiting for something to happen, but not for longer than a while."""

from __future__ import annotations

import asyncio

import pytest

from skerry.waits import end_tasks, longer_s, until_set


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


def test_who_fails_again_waits_twice_as_long_within_bounds() -> None:
    waits = [0.0]
    for _ in range(5):
        waits.append(longer_s(waits[-1], least_s=2.0, most_s=10.0))
    assert waits[1:] == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert longer_s(0.5, least_s=2.0, most_s=10.0) == 2.0


async def test_all_have_ended_and_what_they_raise_is_nobodys() -> None:
    ended: list[str] = []

    async def late(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)
            raise OSError(name)

    tasks = [asyncio.create_task(late(name)) for name in "ab"]
    await asyncio.sleep(0)
    await end_tasks(*tasks)
    assert ended == ["a", "b"]
    await end_tasks(*tasks)  # again is no harm
