"""Writes of a session are told as written in their order, however long each takes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from skerry.errors import UnavailableError
from skerry.sync.effects import BeginLife, Prune, Write
from skerry.sync.ports import Instant
from skerry.transport.session_shell import DialledRun
from tests.skerry.sync.conversation import an_edge, at, key, state


class Slow:
    """Its disk takes a write when it is told to."""

    def __init__(self) -> None:
        self.room = asyncio.Semaphore(0)
        self.written: list[int] = []
        self.pruned: list[Prune] = []
        self.full = False

    async def write(self, write: Write) -> None:
        await self.room.acquire()
        if self.full:
            raise UnavailableError("no room")
        self.written.append(write.number)

    async def begin_life(self, effect: BeginLife) -> None:
        raise AssertionError("nobody asked for one")

    async def prune(self, prune: Prune) -> None:
        self.pruned.append(prune)


class Recorder:
    """The session and its driver, as far as writes go."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.streams = an_edge().streams
        self.tasks: list[asyncio.Task[None]] = []
        self.closed = ""

    def written(self, number: int, now: Instant) -> None:
        self.told.append(number)

    def close(self, code: int, reason: str, now: Instant) -> None:
        self.closed = reason

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    def now(self) -> Instant:
        return at(0)

    def kick(self) -> None:
        pass


def run_of(keeping: Slow, recorder: Recorder) -> DialledRun:
    return DialledRun(keeping, recorder, recorder, lambda _: None, whose="the gateway's")  # type: ignore[arg-type]


async def test_nothing_to_write_is_not_written_before_what_came_first() -> None:
    store, recorder = Slow(), Recorder()
    run = run_of(store, recorder)
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
    assert (recorder.told, store.written) == ([1, 2, 3, 4], [1, 3])


async def test_what_could_not_be_written_ends_the_session_and_is_not_told_as_written() -> None:
    store, recorder = Slow(), Recorder()
    store.full = True
    store.room.release()
    run_of(store, recorder).perform(Write(number=1, puts=(state("a", 11),)))
    await asyncio.wait(recorder.tasks)
    assert (recorder.told, recorder.closed) == ([], "the gateway's store: no room")


async def test_neighbours_are_forgotten_at_once() -> None:
    store, recorder = Slow(), Recorder()
    run = run_of(store, recorder)
    for number in (1, 2, 3, 7):
        run.perform(Prune(first=number, through=number, lane=0))
    await asyncio.wait(recorder.tasks)
    assert [(each.first, each.through) for each in store.pruned] == [(1, 3), (7, 7)]
