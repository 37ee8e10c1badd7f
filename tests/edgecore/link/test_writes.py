"""Writes of a session are told as written in their order, however long each takes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from edgecore.link.session import LinkParts, _Run
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import UnavailableError
from skerry.ports import Link
from skerry.sync.effects import Write
from skerry.sync.ports import Instant
from tests.skerry.sync.conversation import an_edge, at, key, state


class Slow(AsyncEdgeStore):
    """Its disk takes a write when it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryEdgeStore(incarnation="one", clock=ManualClock()))
        self.room = asyncio.Semaphore(0)

    async def apply(self, batch: EdgeBatch) -> int:
        await self.room.acquire()
        return await super().apply(batch)


class Recorder:
    """The session and its driver, as far as writes go."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.streams = an_edge().streams
        self.tasks: list[asyncio.Task[None]] = []

    def written(self, number: int, now: Instant) -> None:
        self.told.append(number)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    def now(self) -> Instant:
        return at(0)

    def kick(self) -> None:
        pass


async def test_nothing_to_write_is_not_written_before_what_came_first() -> None:
    async def dial(address: str) -> Link:
        raise UnavailableError(address)

    store, recorder = Slow(), Recorder()
    parts = LinkParts(store=store, dialer=dial, clock=ManualClock(), ids=SeededIds(1))
    run = _Run(parts, recorder, recorder, lambda _: None)  # type: ignore[arg-type]
    run.perform(Write(number=1, puts=(state("a", 11),)))
    run.perform(Write(number=2))
    run.perform(Write(number=3, deletes=(key("a"),)))
    run.perform(Write(number=4))
    for _ in range(10):
        await asyncio.sleep(0)
    assert recorder.told == []
    for _ in range(2):
        store.room.release()
    await asyncio.wait(recorder.tasks)
    assert recorder.told == [1, 2, 3, 4]
    store.close()
