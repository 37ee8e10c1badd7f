"""Waiting for something to happen, but not for longer than a while: as every worker does between two looks.

Keeps nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any


async def until_set(event: asyncio.Event, *, within_s: float | None) -> bool:
    """Whether it was set in time; it stays as it is. None: without end."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def longer_s(before_s: float, *, least_s: float, most_s: float) -> float:
    """How long to wait after one more failure in a row: twice as long as before, 0 for the first, within bounds."""
    return min(most_s, max(least_s, 2 * before_s))


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel them and wait until all have ended: what they raise is nobody's any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
