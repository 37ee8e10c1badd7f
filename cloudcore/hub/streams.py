"""Streams of nodes, as the API reads them: open one, send its body, take its bytes, and let the node know what was
taken.

Keeps the bytes that arrived and were not taken, at most one window a stream, and what of a body has not been sent. A
crash or a lost session ends the stream with an error; whoever reads it asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Protocol

import orjson

from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError, UncertainError
from skerry.objects.device_questions import DEVICES, TIMEOUT_S_MAX, Question
from skerry.objects.json import Json, JsonObject, encode_object
from skerry.objects.logs import LOGS, LogRequest
from skerry.objects.rule_calls import BODY_BYTES, CALL_BYTES_MAX, CALL_HEAD_BYTES_MAX, CALLS
from skerry.sync.effects import StreamArrived, StreamEffect, StreamEnded, StreamOpened, StreamWritable
from skerry.sync.streams import (
    STREAM_BAD_REQUEST,
    STREAM_DONE,
    STREAM_LOST,
    STREAM_NOT_FOUND,
    STREAM_REFUSED,
    STREAM_UNCERTAIN,
    Streams,
)

ANSWER_S_MAX: Final = TIMEOUT_S_MAX + 5.0
"""For a question about a device: as long as a gateway may take, and the way."""
ANSWER_BYTES_MAX: Final = 1024 * 1024


class NodeStreams:
    """The streams opened to one node in one session."""

    def __init__(self, streams: Streams, kick: Callable[[], None]) -> None:
        self._streams = streams
        self._kick = kick
        self._arrived: dict[int, asyncio.Queue[bytes | StreamEnded]] = {}
        self._unsent: dict[int, memoryview] = {}

    def perform(self, effect: StreamEffect) -> None:
        """React to the node."""
        match effect:
            case StreamArrived():
                if effect.stream in self._arrived:
                    self._arrived[effect.stream].put_nowait(effect.data)
            case StreamEnded():
                if effect.stream in self._arrived:
                    self._arrived[effect.stream].put_nowait(effect)
            case StreamOpened():
                self._streams.close(effect.stream, code=STREAM_REFUSED, reason="nodes open no streams")
            case StreamWritable():
                self._send(effect.stream)

    def _send(self, stream: int) -> None:
        """As much of the body as the node takes."""
        left = self._unsent.get(stream)
        room = self._streams.room(stream)
        if left is None or not room:
            return
        self._streams.send(stream, bytes(left[:room]))
        if len(left) > room:
            self._unsent[stream] = left[room:]
        else:
            del self._unsent[stream]
        self._kick()

    async def read(self, kind: str, params: bytes, body: bytes = b"") -> AsyncGenerator[bytes]:
        """What the stream carries, until it ends; `body` is sent to the node. Raises as `cloudcore.api` says of
        logs."""
        if self._streams.full():
            raise UnavailableError("too many streams are open to this node")
        stream = self._streams.open(kind, params)
        # Unbounded in length only by name: the peer stops at its credit.
        arrived = self._arrived[stream] = asyncio.Queue()
        if body:
            self._unsent[stream] = memoryview(body)  # it goes when the node says how much it takes
        self._kick()
        try:
            while True:
                item = await arrived.get()
                if isinstance(item, StreamEnded):
                    if item.code != STREAM_DONE:
                        raise _error(item)
                    return
                yield item
                self._streams.consumed(stream, len(item))
                self._kick()
        finally:
            del self._arrived[stream]
            self._unsent.pop(stream, None)
            self._streams.close(stream)
            self._kick()


class LogQuery(Protocol):
    """Which lines: the API's own record has these, too."""

    @property
    def namespace(self) -> str: ...
    @property
    def pod(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def container(self) -> str: ...
    @property
    def follow(self) -> bool: ...
    @property
    def previous(self) -> bool: ...
    @property
    def timestamps(self) -> bool: ...
    @property
    def tail_lines(self) -> int | None: ...
    @property
    def since_s(self) -> int | None: ...
    @property
    def since_time(self) -> str: ...
    @property
    def limit_bytes(self) -> int | None: ...


class NodeLogs:
    """Pod logs through the hub: the API's `PodLogs`. Of a node at another hub, through that one's replica."""

    def __init__(
        self,
        streams_of: Callable[[str], NodeStreams | None],
        elsewhere: Callable[[str, str, bytes], AsyncGenerator[bytes]],
    ) -> None:
        """`elsewhere`: reads a stream of a node that is not here (node, kind, parameters)."""
        self._streams_of = streams_of
        self._elsewhere = elsewhere

    async def read(self, node: str, query: LogQuery) -> AsyncGenerator[bytes]:
        """The log in pieces. The first step raises `UnavailableError` when the gateway is not connected."""
        request = LogRequest(
            namespace=query.namespace,
            pod=query.pod,
            uid=query.uid,
            container=query.container,
            follow=query.follow,
            previous=query.previous,
            timestamps=query.timestamps,
            tail_lines=query.tail_lines,
            since_s=query.since_s,
            since_time=query.since_time,
            limit_bytes=query.limit_bytes,
        )
        params = encode_object(request.params())
        streams = self._streams_of(node)
        chunks = self._elsewhere(node, LOGS, params) if streams is None else streams.read(LOGS, params)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()


class NodeDevices:
    """Questions about devices through the hub: the API's `NodeDevices`."""

    def __init__(
        self,
        streams_of: Callable[[str], NodeStreams | None],
        elsewhere: Callable[[str, str, bytes], AsyncGenerator[bytes]],
    ) -> None:
        """As `NodeLogs` has them."""
        self._streams_of = streams_of
        self._elsewhere = elsewhere

    async def ask(self, node: str, question: Question) -> JsonObject:
        """See `cloudcore.api.ports.NodeDevices`."""
        params = encode_object(question.params())
        streams = self._streams_of(node)
        pieces = self._elsewhere(node, DEVICES, params) if streams is None else streams.read(DEVICES, params)
        answer = bytearray()
        try:
            async with asyncio.timeout(ANSWER_S_MAX), aclosing(pieces):
                async for piece in pieces:
                    answer += piece
                    if len(answer) > ANSWER_BYTES_MAX:
                        raise UnavailableError(f"node {node} answers more than {ANSWER_BYTES_MAX} bytes")
        except TimeoutError as error:
            raise UnavailableError(f"node {node} does not answer within {ANSWER_S_MAX:g} s") from error
        try:
            told: Json = orjson.loads(answer)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            raise UnavailableError(f"node {node} answers what makes no sense")
        return told


class NodeCalls:
    """What rules ask of gateways, through the hub: see `cloudcore.rules.router.Calls`."""

    def __init__(
        self,
        streams_of: Callable[[str], NodeStreams | None],
        elsewhere: Callable[[str, str, bytes], AsyncGenerator[bytes]],
    ) -> None:
        """As `NodeLogs` has them."""
        self._streams_of = streams_of
        self._elsewhere = elsewhere

    async def call(self, node: str, params: JsonObject, body: bytes) -> bytes:
        """The gateway's answer, when the thing is done. Raises `UnavailableError` where the gateway is not connected
        or could not do it, `UncertainError` where the link is lost before it answers or it does not know."""
        said = encode_object({**params, BODY_BYTES: len(body)})
        streams = self._streams_of(node)
        if streams is None:
            pieces = self._elsewhere(node, CALLS, said + b"\n" + body)
        else:
            pieces = streams.read(CALLS, said, body)
        answer = bytearray()
        async with aclosing(pieces):
            async for piece in pieces:
                answer += piece
                if len(answer) > CALL_BYTES_MAX + CALL_HEAD_BYTES_MAX:
                    raise UnavailableError(f"node {node} answers more than {CALL_BYTES_MAX} bytes")
        return bytes(answer)


def _error(ended: StreamEnded) -> SkerryError:
    if ended.code == STREAM_NOT_FOUND:
        return NotFoundError(ended.reason)
    if ended.code == STREAM_REFUSED:
        return UnavailableError(f"{ended.reason}: its agent may be of an older release")
    if ended.code == STREAM_BAD_REQUEST:
        return BadRequestError(ended.reason)
    reason = ended.reason or f"the stream ended with code {ended.code}"
    return UncertainError(reason) if ended.code in (STREAM_LOST, STREAM_UNCERTAIN) else UnavailableError(reason)
