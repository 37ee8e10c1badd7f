"""One stream of a session as both sides use it: read, write, end one's own half, hang up.

A pipe keeps what arrived and was not read, at most the credit that was given for it; what is written waits for the
peer's credit and for room in line. A crash or a lost session ends it with an error; whoever reads it asks again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from skerry.errors import (
    BadRequestError,
    NotFoundError,
    SkerryError,
    UnavailableError,
    UncertainError,
)
from skerry.ports import Pipe
from skerry.sync.effects import (
    StreamArrived,
    StreamEffect,
    StreamEnded,
    StreamInputEnded,
    StreamOpened,
    StreamWritable,
)
from skerry.sync.streams import (
    STREAM_BAD_REQUEST,
    STREAM_DONE,
    STREAM_FAILED,
    STREAM_LOST,
    STREAM_NOT_FOUND,
    STREAM_REFUSED,
    STREAM_UNCERTAIN,
    Streams,
)
from skerry.waits import end_tasks

_HUNG_UP: Final = "the other side has hung up"


class StreamPipe:
    """A `skerry.ports.Pipe` over one stream of a session's `Streams`. One task reads, one writes; they may be two."""

    def __init__(self, streams: Streams, stream: int, kick: Callable[[], None]) -> None:
        self.stream = stream
        self._streams = streams
        self._kick = kick
        self._arrived: deque[bytes] = deque()
        # Unbounded in length only by name: the peer stops at its credit.
        self._taken = 0
        """Bytes that were read last; whoever comes for more has used them."""
        self._input_over = False
        self._ended: StreamEnded | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    def perform(self, effect: StreamEffect) -> None:
        """React to the peer."""
        match effect:
            case StreamArrived():
                self._arrived.append(effect.data)
                self._readable.set()
            case StreamInputEnded():
                self._input_over = True
                self._readable.set()
            case StreamWritable():
                self._writable.set()
            case StreamEnded():
                self._ended = effect
                self._readable.set()
                self._writable.set()
            case StreamOpened():
                raise AssertionError("a pipe is of a stream that is open")

    async def read(self) -> bytes:
        """See `skerry.ports.Pipe`."""
        if self._taken:
            self._streams.consumed(self.stream, self._taken)
            self._taken = 0
            self._kick()
        while not self._arrived:
            if self._ended is not None and self._ended.code != STREAM_DONE:
                raise ended_error(self._ended)
            if self._input_over or self._ended is not None:
                return b""
            self._readable.clear()
            await self._readable.wait()  # ends with the session at the latest: its silence deadline holds
        data = self._arrived.popleft()
        self._taken = len(data)
        return data

    async def write(self, data: bytes) -> None:
        """See `skerry.ports.Pipe`."""
        at = 0
        while at < len(data):
            if self._ended is not None:
                raise UnavailableError(_HUNG_UP) if self._ended.code == STREAM_DONE else ended_error(self._ended)
            room = self._streams.room(self.stream)
            if room == 0:
                self._writable.clear()
                await self._writable.wait()
                continue
            self._streams.send(self.stream, data[at : at + room])
            at += room
            self._kick()

    async def end(self) -> None:
        """See `skerry.ports.Pipe`."""
        self._streams.end(self.stream)
        self._kick()

    async def close(self, error: SkerryError | None = None) -> None:
        """See `skerry.ports.Pipe`."""
        code, reason = (STREAM_DONE, "") if error is None else (code_of(error), str(error))
        self.hang_up(code, reason)

    def hang_up(self, code: int, reason: str) -> None:
        """The same, at once."""
        self._streams.close(self.stream, code=code, reason=reason)
        self._kick()


class Carried(Protocol):
    """One connection's way to whoever opened it: a pipe, or less."""

    async def read(self) -> bytes:
        """The next bytes; b"" where no more comes. Raises `SkerryError`."""
        ...

    async def write(self, data: bytes) -> None: ...
    async def end(self) -> None: ...


async def relay(near: Carried, far: Pipe) -> None:
    """Carry both ways until the far side is done, or the near one has gone. Raises what the far side ended with."""
    up = asyncio.create_task(_carry(near, far))
    down = asyncio.create_task(_carry(far, near))
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        if not down.done() and up.exception() is not None:
            return  # nobody is there to whom it could be carried
        await down
    finally:
        await end_tasks(up, down)


async def _carry(source: Carried, sink: Carried) -> None:
    while data := await source.read():
        await sink.write(data)
    await sink.end()


_CODES: Final[tuple[tuple[type[SkerryError], int], ...]] = (
    (NotFoundError, STREAM_NOT_FOUND),
    (BadRequestError, STREAM_BAD_REQUEST),
    (UncertainError, STREAM_UNCERTAIN),
)


def code_of(error: SkerryError) -> int:
    """With which code a stream ends that failed with this."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), STREAM_FAILED)


def ended_error(ended: StreamEnded) -> SkerryError:
    """What a reader is told of a stream that ended before its end."""
    if ended.code == STREAM_NOT_FOUND:
        return NotFoundError(ended.reason)
    if ended.code == STREAM_REFUSED:
        return UnavailableError(f"{ended.reason}: its agent may be of an older release")
    if ended.code == STREAM_BAD_REQUEST:
        return BadRequestError(ended.reason)
    reason = ended.reason or f"the stream ended with code {ended.code}"
    return UncertainError(reason) if ended.code in (STREAM_LOST, STREAM_UNCERTAIN) else UnavailableError(reason)
