"""What a gateway streams on request: pod logs. One task for each open stream; nothing is kept.

A source is asked with the stream's parameters and yields bytes; it is paced by the reader's credit, so that
`logs -f` on a slow link holds no more than a window in memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

from skerry.errors import BadRequestError, NotFoundError, SkerryError
from skerry.objects.json import Json, JsonObject
from skerry.sync.effects import StreamArrived, StreamEffect, StreamEnded, StreamOpened, StreamWritable
from skerry.sync.streams import (
    STREAM_BAD_REQUEST,
    STREAM_DONE,
    STREAM_FAILED,
    STREAM_NOT_FOUND,
    STREAM_REFUSED,
    Streams,
)


class StreamSource(Protocol):
    """Yields what the stream carries until it is over. An error of `skerry.errors` ends it with its text."""

    def __call__(self, params: JsonObject, /) -> AsyncIterator[bytes]: ...


class StreamHost:
    """The streams that the cloud opened in one session."""

    def __init__(
        self,
        streams: Streams,
        sources: Mapping[str, StreamSource],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        kick: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._sources = sources
        self._spawn = spawn
        self._kick = kick
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._writable: dict[int, asyncio.Event] = {}

    def perform(self, effect: StreamEffect) -> None:
        """React to the peer."""
        match effect:
            case StreamOpened():
                self._open(effect)
            case StreamWritable():
                if effect.stream in self._writable:
                    self._writable[effect.stream].set()
            case StreamEnded():
                task = self._tasks.get(effect.stream)
                if task is not None:
                    task.cancel()
            case StreamArrived():
                self._streams.consumed(effect.stream, len(effect.data))

    def _open(self, opened: StreamOpened) -> None:
        source = self._sources.get(opened.kind)
        if source is None:
            self._streams.close(opened.stream, code=STREAM_REFUSED, reason=f"no streams of kind {opened.kind}")
            return
        self._writable[opened.stream] = asyncio.Event()
        self._tasks[opened.stream] = self._spawn(self._serve(opened, source))

    async def _serve(self, opened: StreamOpened, source: StreamSource) -> None:
        code, reason = STREAM_DONE, ""
        try:
            async with aclosing(cast("Any", source(_params(opened.params)))) as chunks:
                async for chunk in chunks:
                    await self._send(opened.stream, chunk)
        except NotFoundError as error:
            code, reason = STREAM_NOT_FOUND, str(error)
        except (BadRequestError, ValueError) as error:
            code, reason = STREAM_BAD_REQUEST, str(error)
        except (SkerryError, OSError) as error:
            code, reason = STREAM_FAILED, str(error)
        finally:
            self._tasks.pop(opened.stream, None)
            self._writable.pop(opened.stream, None)
            self._streams.close(opened.stream, code=code, reason=reason)
            self._kick()

    async def _send(self, stream: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            room = self._streams.room(stream)
            if room == 0:
                writable = self._writable[stream]
                writable.clear()
                await writable.wait()  # ends with the session at the latest: its silence deadline holds
                continue
            self._streams.send(stream, data[at : at + room])
            at += room
            self._kick()


def _params(data: bytes) -> JsonObject:
    value: Json = json.loads(data or b"{}")
    if not isinstance(value, dict):
        raise BadRequestError("stream parameters are a JSON object")
    return value
