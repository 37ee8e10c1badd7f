"""An event loop in virtual time: when nothing is ready, the clock jumps to the next timer.

No selector, no sockets, no threads: what an executor would do is done at once, connections are made within the loop's
own network. The same callbacks in the same order give the same run, whatever the machine is doing meanwhile. Keeps
nothing but asyncio's own queues.

Source: asyncio's `BaseEventLoop`, whose subclasses supply a selector and `_process_events`
(Lib/asyncio/base_events.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import events
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from skerry.errors import SkerryError

T = TypeVar("T")

_RESOLUTION_S: Final = 1e-9
"""Timers this close are due together; far below anything that the product waits for, far above float's own error."""


class StandstillError(SkerryError):
    """Nothing is left that could ever happen: somebody waits for what nobody will do."""


class _Jump:
    """In the place of a selector: waiting for events is letting the clock jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise StandstillError("nothing is left to happen in this fleet")
        if timeout > 0:
            self._loop.jump()
        return []


Connector = Callable[[Callable[[], asyncio.BaseProtocol], str, int], Awaitable[tuple[Any, Any]]]


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `connector` makes the connections that the code on this loop asks for."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = _Jump(self)
        self._clock_resolution = _RESOLUTION_S
        self.connector: Connector | None = None

    def time(self) -> float:
        return self._now_s

    def jump(self) -> None:
        """To the next timer, exactly."""
        scheduled: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009 - asyncio's own, untyped
        self._now_s = max(self._now_s, scheduled[0].when())

    def _process_events(self, event_list: list[object]) -> None:
        assert not event_list, "there is nothing here that could have events"

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Done at once, in this thread: a run does not depend on when a thread gets its turn."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def create_connection(  # pyright: ignore[reportIncompatibleMethodOverride] - as much of it as clients here ask for
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str = "", port: int = 0, **_options: Any
    ) -> tuple[Any, Any]:
        if self.connector is None:
            raise ConnectionRefusedError(f"{host}:{port}: nothing listens in this fleet")
        return await self.connector(protocol_factory, host, port)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run until the work is done; time passes as far as it must."""
        with _alone():
            return self.run_until_complete(work)

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        with _alone():
            stop = self.call_at(self._now_s + seconds, self.stop)
            try:
                self.run_forever()
            finally:
                stop.cancel()


@contextlib.contextmanager
def _alone() -> Generator[None]:
    """A test may run on a loop of its own; ours runs inside of one of its steps, as any other call would."""
    outer = events._get_running_loop()
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(outer)
