"""All streams of one session, as both sides have them: those that the peer opens are talked on, others are opened.

Keeps the pipes that are open, and a task for each that the peer opened. A crash or a lost session ends them with an
error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

from skerry.errors import BadRequestError, SkerryError, UnavailableError
from skerry.objects.json import Json, JsonObject
from skerry.ports import Pipe
from skerry.sync.effects import StreamEffect, StreamEnded, StreamOpened
from skerry.sync.streams import (
    STREAM_BAD_REQUEST,
    STREAM_DONE,
    STREAM_FAILED,
    STREAM_LOST,
    STREAM_REFUSED,
    Streams,
)
from skerry.transport.pipes import StreamPipe, code_of


class Talker(Protocol):
    """Talks over the stream until it is over, which it is when this returns. An error of `skerry.errors` ends it with
    its text; it is cancelled when the peer hangs up."""

    async def __call__(self, params: JsonObject, pipe: Pipe, /) -> None: ...


class StreamHost:
    """See the module. `talker_of` says what is done on streams of a kind that the peer opens; None: they are refused.
    `stopping`: what the peer is told when this side ends one in the midst of it."""

    def __init__(
        self,
        streams: Streams,
        talker_of: Callable[[str], Talker | None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        kick: Callable[[], None],
        *,
        stopping: str,
    ) -> None:
        self._streams = streams
        self._talker_of = talker_of
        self._spawn = spawn
        self._kick = kick
        self._stopping = stopping
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._pipes: dict[int, StreamPipe] = {}

    def perform(self, effect: StreamEffect) -> None:
        """React to the peer."""
        if isinstance(effect, StreamOpened):
            self._opened(effect)
            return
        pipe = self._pipes.get(effect.stream)
        if pipe is None:
            return
        pipe.perform(effect)
        if isinstance(effect, StreamEnded) and (task := self._tasks.get(effect.stream)) is not None:
            task.cancel()

    @asynccontextmanager
    async def open(self, kind: str, params: bytes, *, full: str) -> AsyncGenerator[Pipe]:
        """A stream to the peer, hung up at the end of the block. Raises `UnavailableError` saying `full` where there
        is no room."""
        if self._streams.full():
            raise UnavailableError(full)
        pipe = StreamPipe(self._streams, self._streams.open(kind, params), self._kick)
        self._pipes[pipe.stream] = pipe
        self._kick()
        try:
            yield pipe
        finally:
            del self._pipes[pipe.stream]
            pipe.hang_up(STREAM_DONE, "")

    def _opened(self, opened: StreamOpened) -> None:
        talker = self._talker_of(opened.kind)
        if talker is None:
            self._streams.close(opened.stream, code=STREAM_REFUSED, reason=f"no streams of kind {opened.kind}")
            return
        pipe = self._pipes[opened.stream] = StreamPipe(self._streams, opened.stream, self._kick)
        self._tasks[opened.stream] = self._spawn(self._serve(opened, talker, pipe))

    async def _serve(self, opened: StreamOpened, talker: Talker, pipe: StreamPipe) -> None:
        code, reason = STREAM_DONE, ""
        try:
            await talker(_params(opened.params), pipe)
        except ValueError as error:
            code, reason = STREAM_BAD_REQUEST, str(error)
        except SkerryError as error:
            code, reason = code_of(error), str(error)
        except OSError as error:
            code, reason = STREAM_FAILED, str(error)
        except asyncio.CancelledError:
            code, reason = STREAM_LOST, self._stopping
            raise
        finally:
            self._tasks.pop(opened.stream, None)
            self._pipes.pop(opened.stream, None)
            pipe.hang_up(code, reason)


def _params(data: bytes) -> JsonObject:
    value: Json = json.loads(data or b"{}")
    if not isinstance(value, dict):
        raise BadRequestError("stream parameters are a JSON object")
    return value
