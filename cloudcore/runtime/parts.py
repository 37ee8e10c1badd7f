"""The parts of a process that have to run: named when they fail, and run by the leader alone where that is asked.

The leader's parts are made anew for each time of leading, so that nothing of an earlier one is believed; they have
ended before the lease is left. Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from cloudcore.runtime.election import Election, Leadership
from skerry.errors import SkerryError


class PartFailedError(SkerryError):
    """A part of the process ended that has to run; the process stops."""


async def part(name: str, work: Awaitable[None]) -> None:
    """Run a part; however it ends, it is named."""
    try:
        await work
    except SkerryError as error:
        raise PartFailedError(f"the {name} failed: {error}") from error
    raise PartFailedError(f"the {name} ended, which it never should")


async def lead(leadership: Leadership, parts: Callable[[], Mapping[str, Awaitable[None]]]) -> None:
    """Stand for election where there is one, and run the parts whenever this replica leads, until cancelled.

    The lease is left when all of them have ended.
    """
    if not isinstance(leadership, Election):
        await while_leading(leadership, parts)
        return
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(leadership.run())
            tasks.create_task(while_leading(leadership, parts))
    finally:
        await leadership.release()


async def while_leading(leadership: Leadership, parts: Callable[[], Mapping[str, Awaitable[None]]]) -> None:
    """Run the parts whenever this replica leads, until cancelled."""
    while True:
        while not leadership.leading:
            await leadership.changed()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(part(name, work)) for name, work in parts().items()]
            await leadership.changed()
            for task in running:
                task.cancel()
