"""Streams of nodes, as the API uses them: open one, send, take its bytes, and let the node know what was taken.

Keeps nothing but the pipes that are open (`skerry.transport.pipes`). A crash or a lost session ends a stream with an
error; whoever reads it asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final, Protocol

import orjson

from skerry.errors import SkerryError, UnavailableError
from skerry.objects.device_questions import DEVICES, TIMEOUT_S_MAX, Question
from skerry.objects.json import Json, JsonObject, encode_object
from skerry.objects.logs import LOGS, LogRequest
from skerry.objects.rule_calls import BODY_BYTES, CALL_BYTES_MAX, CALL_HEAD_BYTES_MAX, CALLS
from skerry.ports import Pipe
from skerry.transport.hosting import StreamHost

ANSWER_S_MAX: Final = TIMEOUT_S_MAX + 5.0
"""For a question about a device: as long as a gateway may take, and the way."""
ANSWER_BYTES_MAX: Final = 1024 * 1024


FULL: Final = "too many streams are open to this node"


class Elsewhere(Protocol):
    """Streams of nodes that are not here: `cloudcore.hub.elsewhere`."""

    def open(self, node: str, kind: str, params: bytes) -> AbstractAsyncContextManager[Pipe]: ...


class NodePipes:
    """Opens streams to nodes, at this hub or through the replica where a node is: the API's `Pipes`."""

    def __init__(self, streams_of: Callable[[str], StreamHost | None], elsewhere: Elsewhere) -> None:
        self._streams_of = streams_of
        self._elsewhere = elsewhere

    def open(self, node: str, kind: str, params: bytes) -> AbstractAsyncContextManager[Pipe]:
        """See `cloudcore.api.ports.Pipes`."""
        streams = self._streams_of(node)
        return self._elsewhere.open(node, kind, params) if streams is None else streams.open(kind, params, full=FULL)

    async def read(self, node: str, kind: str, params: bytes, body: bytes = b"") -> AsyncGenerator[bytes]:
        """What the stream carries, until it ends; `body` is sent to the node, which may be done with it before all
        of it is sent. Raises as `cloudcore.api` says of logs."""
        async with self.open(node, kind, params) as pipe:
            sending = asyncio.create_task(_send(pipe, body))
            try:
                while piece := await pipe.read():
                    yield piece
            finally:
                sending.cancel()
                await asyncio.wait((sending,))


async def _send(pipe: Pipe, body: bytes) -> None:
    # Whoever reads is told how the stream ended.
    with contextlib.suppress(SkerryError):
        await pipe.write(body)


class NodeLogs:
    """Pod logs through the hub: the API's `PodLogs`. Of a node at another hub, through that one's replica."""

    def __init__(self, pipes: NodePipes) -> None:
        self._pipes = pipes

    async def read(self, node: str, request: LogRequest) -> AsyncGenerator[bytes]:
        """The log in pieces. The first step raises `UnavailableError` when the gateway is not connected."""
        async with aclosing(self._pipes.read(node, LOGS, encode_object(request.params()))) as chunks:
            async for chunk in chunks:
                yield chunk


class NodeDevices:
    """Questions about devices through the hub: the API's `NodeDevices`."""

    def __init__(self, pipes: NodePipes) -> None:
        self._pipes = pipes

    async def ask(self, node: str, question: Question) -> JsonObject:
        """See `cloudcore.api.ports.NodeDevices`."""
        pieces = self._pipes.read(node, DEVICES, encode_object(question.params()))
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

    def __init__(self, pipes: NodePipes) -> None:
        self._pipes = pipes

    async def call(self, node: str, params: JsonObject, body: bytes) -> bytes:
        """The gateway's answer, when the thing is done. Raises `UnavailableError` where the gateway is not connected
        or could not do it, `UncertainError` where the link is lost before it answers or it does not know."""
        said = encode_object({**params, BODY_BYTES: len(body)})
        answer = bytearray()
        async with aclosing(self._pipes.read(node, CALLS, said, body)) as pieces:
            async for piece in pieces:
                answer += piece
                if len(answer) > CALL_BYTES_MAX + CALL_HEAD_BYTES_MAX:
                    raise UnavailableError(f"node {node} answers more than {CALL_BYTES_MAX} bytes")
        return bytes(answer)
