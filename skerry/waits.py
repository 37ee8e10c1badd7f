"""Waiting for something to happen, but not for longer than a while: as every worker does between two looks.

Keeps nothing.
"""

from __future__ import annotations

import asyncio


async def until_set(event: asyncio.Event, *, within_s: float | None) -> bool:
    """Whether it was set in time; it stays as it is. None: without end."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
