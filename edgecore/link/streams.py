"""What a gateway streams on request: pod logs, answers. One task for each open stream; nothing is kept.

A source is asked with the stream's parameters and yields bytes; it is paced by the reader's credit, so that `logs -f`
on a slow link holds no more than a window in memory. One that takes a body is asked when all of it has come.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from skerry.errors import BadRequestError, NotFoundError, SkerryError, UncertainError
from skerry.objects.json import Json, JsonObject, int_at
from skerry.objects.rule_calls import BODY_BYTES, CALL_BYTES_MAX
from skerry.sync.effects import StreamArrived, StreamEffect, StreamEnded, StreamOpened, StreamWritable
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


class StreamSource(Protocol):
    """Yields what the stream carries until it is over. An error of `skerry.errors` ends it with its text."""

    def __call__(self, params: JsonObject, /) -> AsyncIterator[bytes]: ...


class BodySource(Protocol):
    """The same, with what the cloud sends down the stream, whole."""

    def __call__(self, params: JsonObject, body: bytes, /) -> AsyncIterator[bytes]: ...


@dataclass(slots=True)
class _Body:
    """What came of a body."""

    data: bytearray = field(default_factory=bytearray)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes) -> None:
        if len(self.data) < CALL_BYTES_MAX:
            self.data += data
            self.more.set()

    async def first(self, size: int) -> bytes:
        while len(self.data) < size:
            self.more.clear()
            await self.more.wait()
        return bytes(self.data[:size])


class StreamHost:
    """The streams that the cloud opened in one session."""

    def __init__(
        self,
        streams: Streams,
        sources: Mapping[str, StreamSource],
        body_sources: Mapping[str, BodySource],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        kick: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._sources = sources
        self._body_sources = body_sources
        self._spawn = spawn
        self._kick = kick
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._writable: dict[int, asyncio.Event] = {}
        self._bodies: dict[int, _Body] = {}

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
                if effect.stream in self._bodies:
                    self._bodies[effect.stream].take(effect.data)
                self._streams.consumed(effect.stream, len(effect.data))
                self._kick()

    def _open(self, opened: StreamOpened) -> None:
        if opened.kind not in self._sources and opened.kind not in self._body_sources:
            self._streams.close(opened.stream, code=STREAM_REFUSED, reason=f"no streams of kind {opened.kind}")
            return
        self._writable[opened.stream] = asyncio.Event()
        if opened.kind in self._body_sources:
            self._bodies[opened.stream] = _Body()
        self._tasks[opened.stream] = self._spawn(self._serve(opened))

    async def _answers(self, opened: StreamOpened) -> AsyncIterator[bytes]:
        params = _params(opened.params)
        source = self._sources.get(opened.kind)
        if source is not None:
            return source(params)
        return self._body_sources[opened.kind](params, await self._body(opened.stream, params))

    async def _body(self, stream: int, params: JsonObject) -> bytes:
        """Raises `BadRequestError` for one that is too large. Ends with the stream at the latest."""
        size = int_at(params, BODY_BYTES)
        if not 0 <= size <= CALL_BYTES_MAX:
            raise BadRequestError(f"a body of {size} bytes: at most {CALL_BYTES_MAX} are taken")
        return await self._bodies[stream].first(size)

    async def _serve(self, opened: StreamOpened) -> None:
        code, reason = STREAM_DONE, ""
        try:
            async with aclosing(cast("Any", await self._answers(opened))) as chunks:
                async for chunk in chunks:
                    await self._send(opened.stream, chunk)
        except NotFoundError as error:
            code, reason = STREAM_NOT_FOUND, str(error)
        except (BadRequestError, ValueError) as error:
            code, reason = STREAM_BAD_REQUEST, str(error)
        except UncertainError as error:
            code, reason = STREAM_UNCERTAIN, str(error)
        except (SkerryError, OSError) as error:
            code, reason = STREAM_FAILED, str(error)
        except asyncio.CancelledError:
            code, reason = STREAM_LOST, "the gateway's agent stops"
            raise
        finally:
            self._tasks.pop(opened.stream, None)
            self._writable.pop(opened.stream, None)
            self._bodies.pop(opened.stream, None)
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
