"""What a gateway does on streams that the cloud opens: pod logs, answers, conversations. One task for each open
stream; nothing is kept.

A source is asked with the stream's parameters and yields bytes; it is paced by the reader's credit, so that `logs -f`
on a slow link holds no more than a window in memory. One that takes a body is asked when all of it has come. A talker
has the whole pipe, both ways.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

from skerry.errors import BadRequestError, SkerryError
from skerry.frozen import Frozen, field
from skerry.objects.json import Json, JsonObject, int_at
from skerry.objects.rule_calls import BODY_BYTES, CALL_BYTES_MAX
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


class StreamSource(Protocol):
    """Yields what the stream carries until it is over. An error of `skerry.errors` ends it with its text."""

    def __call__(self, params: JsonObject, /) -> AsyncIterator[bytes]: ...


class BodySource(Protocol):
    """The same, with what the cloud sends down the stream, whole."""

    def __call__(self, params: JsonObject, body: bytes, /) -> AsyncIterator[bytes]: ...


class Talker(Protocol):
    """Talks over the stream until it is over, which it is when this returns. An error of `skerry.errors` ends it with
    its text; it is cancelled when the cloud hangs up."""

    async def __call__(self, params: JsonObject, pipe: Pipe, /) -> None: ...


class StreamKinds(Frozen):
    """What a gateway does on streams, by kind."""

    sources: Mapping[str, StreamSource] = field(default_factory=dict[str, StreamSource])
    body_sources: Mapping[str, BodySource] = field(default_factory=dict[str, BodySource])
    talkers: Mapping[str, Talker] = field(default_factory=dict[str, Talker])

    def talker(self, kind: str) -> Talker | None:
        """Whatever is done on streams of a kind, in its most general form; None for an unknown one."""
        if (source := self.sources.get(kind)) is not None:
            return _Telling(source)
        if (body_source := self.body_sources.get(kind)) is not None:
            return _Answering(body_source)
        return self.talkers.get(kind)


class _Telling(Frozen, kw_only=False):
    source: StreamSource

    async def __call__(self, params: JsonObject, pipe: Pipe, /) -> None:
        await _tell(pipe, self.source(params))


class _Answering(Frozen, kw_only=False):
    source: BodySource

    async def __call__(self, params: JsonObject, pipe: Pipe, /) -> None:
        """Raises `BadRequestError` for a body that is too large."""
        size = int_at(params, BODY_BYTES)
        if not 0 <= size <= CALL_BYTES_MAX:
            raise BadRequestError(f"a body of {size} bytes: at most {CALL_BYTES_MAX} are taken")
        body = bytearray()
        while len(body) < size and (piece := await pipe.read()):
            body += piece
        if len(body) < size:
            raise BadRequestError(f"a body of {size} bytes ends after {len(body)}")
        await _tell(pipe, self.source(params, bytes(body[:size])))


async def _tell(pipe: Pipe, pieces: AsyncIterator[bytes]) -> None:
    async with aclosing(cast("Any", pieces)) as chunks:
        async for chunk in chunks:
            await pipe.write(chunk)


class StreamHost:
    """Serves the streams of one session."""

    def __init__(
        self,
        streams: Streams,
        kinds: StreamKinds,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        kick: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._kinds = kinds
        self._spawn = spawn
        self._kick = kick
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._pipes: dict[int, StreamPipe] = {}

    def perform(self, effect: StreamEffect) -> None:
        """React to the peer."""
        if isinstance(effect, StreamOpened):
            self._open(effect)
            return
        pipe = self._pipes.get(effect.stream)
        if pipe is None:
            return
        pipe.perform(effect)
        if isinstance(effect, StreamEnded) and (task := self._tasks.get(effect.stream)) is not None:
            task.cancel()

    def _open(self, opened: StreamOpened) -> None:
        talker = self._kinds.talker(opened.kind)
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
            code, reason = STREAM_LOST, "the gateway's agent stops"
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
