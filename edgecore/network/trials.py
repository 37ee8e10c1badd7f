"""Tries addresses for the cloud, from where this gateway is: a source of streams of kind `probes`.

Clients of a service are out here, not where the cloud is. Keeps nothing; what is under way ends with the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from skerry.objects.json import JsonObject, encode_object
from skerry.probing.asking import Try, answer, tries_of

TOGETHER_MAX: Final = 20


async def trials(params: JsonObject, /) -> AsyncGenerator[bytes]:
    """See the module. Raises `InvalidError`."""
    # A gateway that is never asked has no part of it in memory.
    from skerry.probing.attempts import tried

    turns = asyncio.Semaphore(TOGETHER_MAX)

    async def one(each: Try) -> str:
        async with turns:
            return await tried(each.address, each.probe)

    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(one(each)) for each in tries_of(params)]
    yield encode_object(answer([task.result() for task in made]))
