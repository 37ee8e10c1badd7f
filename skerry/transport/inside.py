"""A pipe within one process, with the session's own multiplexers at both ends: as it is over a link, without one.

So what a gateway does on streams of the cloud it does for whoever asks at its own socket, with the same windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from skerry.errors import SkerryError
from skerry.objects.json import JsonObject
from skerry.ports import Pipe
from skerry.sync.effects import StreamEffect, StreamOpened
from skerry.sync.streams import STREAM_DONE, STREAM_FAILED, STREAM_LOST, Streams
from skerry.transport.hosting import Talker
from skerry.transport.pipes import StreamPipe, code_of
from skerry.waits import end_tasks


class _Wire:
    """Carries frames one at a time, each way, a turn of the loop later."""

    def __init__(self) -> None:
        self.sides = (Streams(first=1), Streams(first=2))
        self.pipes: list[StreamPipe] = []
        self._due = False

    def kick(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._carry)

    def _carry(self) -> None:
        self._due = False
        for at, side in enumerate(self.sides):
            frame = side.next_frame()
            if frame is not None:
                self.sides[1 - at].receive(frame)
        for side, pipe in zip(self.sides, self.pipes, strict=True):
            for effect in side.effects():
                _perform(pipe, effect)
        if any(side.waiting for side in self.sides):
            self.kick()


def _perform(pipe: StreamPipe, effect: StreamEffect) -> None:
    if not isinstance(effect, StreamOpened):
        pipe.perform(effect)


def pipe_pair() -> tuple[StreamPipe, StreamPipe]:
    """Both ends: the one of who opened it, and the other."""
    wire = _Wire()
    stream = wire.sides[0].open("test", b"")
    opening = wire.sides[0].next_frame()
    assert opening is not None
    wire.sides[1].receive(opening)
    wire.pipes = [StreamPipe(side, stream, wire.kick) for side in wire.sides]
    wire.kick()
    return wire.pipes[0], wire.pipes[1]


@asynccontextmanager
async def talked_to(talker: Talker, params: JsonObject) -> AsyncGenerator[Pipe]:
    """The near end of a pipe at whose far end the talker talks, until the end of the block or its own."""
    near, far = pipe_pair()
    talking = asyncio.create_task(_talk(talker, params, far))
    try:
        yield near
    finally:
        await end_tasks(talking)


async def _talk(talker: Talker, params: JsonObject, pipe: StreamPipe) -> None:
    code, reason = STREAM_LOST, "it was broken off"
    try:
        await talker(params, pipe)
        code, reason = STREAM_DONE, ""
    except SkerryError as error:
        code, reason = code_of(error), str(error)
    except OSError as error:
        code, reason = STREAM_FAILED, str(error)
    finally:
        pipe.hang_up(code, reason)
