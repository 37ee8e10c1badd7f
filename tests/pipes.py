"""A pipe within one process, with the session's own multiplexers at both ends: as it is over a link, without one."""

from __future__ import annotations

import asyncio

from skerry.sync.effects import StreamEffect, StreamOpened
from skerry.sync.streams import Streams
from skerry.transport.pipes import StreamPipe


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
