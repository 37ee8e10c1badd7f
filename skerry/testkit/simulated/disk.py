"""A gateway's disk: what is written takes effect when it is synced, and what is not synced is lost with the power.

Stands where the agent has a thread for SQLite: an `Executor` that carries out one write after the other, each a
little later in virtual time. The memory store therefore always holds what a power cut would leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from random import Random
from typing import Any, Final, TypeVar

from skerry.errors import UnavailableError
from skerry.testkit.simulated.loop import VirtualLoop

T = TypeVar("T")

SYNC_S: Final = 0.005
"""One fsync of an SD card on a good day; enough for a power cut to come between a write and its effect."""


class Disk(Executor):
    """See the module. Belongs to one life of one agent."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Callable[[], None], Future[Any]]] = deque()
        self._dead = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        if self._dead:
            future.set_exception(UnavailableError("the process was killed"))
            return future
        self._waiting.append((partial(_carry_out, future, partial(fn, *args, **kwargs)), future))
        if len(self._waiting) == 1:
            self._loop.call_later(SYNC_S, self._sync)
        return future

    def _sync(self) -> None:
        if not self._waiting:
            return  # the process was killed meanwhile
        write, _ = self._waiting.popleft()
        if self._waiting:
            self._loop.call_later(SYNC_S, self._sync)
        write()

    def cut(self, random: Random) -> None:
        """The process ends now: of the writes under way some had reached the disk, in order; nobody was told."""
        self._dead = True
        reached = random.randint(0, len(self._waiting))
        for number, (write, future) in enumerate(tuple(self._waiting)):
            if number < reached:
                write()
            else:
                future.set_exception(UnavailableError("the process was killed"))
        self._waiting.clear()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing runs beside the loop."""


def _carry_out(future: Future[T], write: Callable[[], T]) -> None:
    try:
        result = write()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)
