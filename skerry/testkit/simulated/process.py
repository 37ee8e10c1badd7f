"""A process of a simulated machine: parts that run in one task group, and end without a last word when it is killed.

A killed process may not touch the world any more, whatever its code does while it is cancelled: who owns it closes
its doors (store, runtime, connections) first. Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Final

from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.transcript import PROCESS, Speaker

_END_S_MAX: Final = 60.0


@dataclass(slots=True)
class _State:
    task: asyncio.Task[None]
    tasks: asyncio.TaskGroup | None = None


class Process:
    """See the module. One life; a restart is another `Process`."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self._loop = loop
        self._speaker = Speaker(name)
        self._context: Context = copy_context()
        self._context.run(PROCESS.set, self._speaker)
        self._state: _State | None = None

    @property
    def runs(self) -> bool:
        return self._state is not None and not self._state.task.done()

    @property
    def fault(self) -> BaseException | None:
        """What it ended with by itself; None while it runs, or when it was killed."""
        task = self._state.task if self._state is not None else None
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    def start(self, main: Callable[[asyncio.TaskGroup], Coroutine[Any, Any, None]]) -> None:
        """`main` starts the parts in the group; returns when it has."""
        ready = self._loop.create_future()

        async def run() -> None:
            async with asyncio.TaskGroup() as tasks:
                assert self._state is not None
                self._state.tasks = tasks
                await main(tasks)
                ready.set_result(None)

        task = self._loop.create_task(run(), name=self._speaker.name, context=self._context)
        self._state = _State(task)
        self._loop.do(_either(ready, task))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """One more part; nothing once the process has ended."""
        if self._state is None or self._state.tasks is None or self._state.task.done():
            work.close()
            return
        self._state.tasks.create_task(work, context=self._context)

    def silence(self) -> None:
        """Nothing that it still says is noted."""
        self._speaker.silent = True

    def kill(self) -> None:
        state, self._state = self._state, None
        if state is None:
            return
        self.silence()
        if not state.task.done():
            self._loop.do(_end(state.task))
        if not state.task.cancelled():
            state.task.exception()  # seen


async def _either(ready: Awaitable[None], task: asyncio.Task[None]) -> None:
    await asyncio.wait((asyncio.ensure_future(ready), task), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()


async def _end(task: asyncio.Task[None]) -> None:
    for _ in range(10):  # a wait in a library may swallow a cancellation
        task.cancel()
        await asyncio.wait((task,), timeout=_END_S_MAX / 10)
        if task.done():
            return
    raise AssertionError(f"the process {task.get_name()} can't be ended")
