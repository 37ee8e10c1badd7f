"""DMI's calls over gRPC: serving them on a socket, and making them.

grpclib speaks gRPC; this puts our codec, bounds and errors to it. A message larger than `MESSAGE_BYTES_MAX` is
refused by its announced length, before it is read: grpclib itself knows no limit, which is why its stream is read
here (`_stream` is private to it: hence its pinned version). Imported when the first mapper may come: with h2 it takes
2.5 MB.

Keeps nothing.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from grpclib import client, server
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.exceptions import ProtocolError as GrpcProtocolError

from devices.dmi.codec import decode, encode
from devices.dmi.messages import Call
from skerry.errors import ConflictError, InvalidError, NotFoundError, ProtocolError, UnavailableError

LOG: Final = logging.getLogger(__name__)

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""gRPC's own default for what a program takes."""
WINDOW_BYTES: Final = 1024 * 1024
"""What a peer may send of a message that nobody has begun to read."""
CALLS_MAX: Final = 64
"""Served at a time on one connection; more wait in the peer."""

Serve = Callable[[Any], Awaitable[object]]
"""Answers a request. Raises one of our errors for what it refuses."""

_STATUS: Final[tuple[tuple[type[Exception], Status], ...]] = (
    (NotFoundError, Status.NOT_FOUND),
    (ConflictError, Status.FAILED_PRECONDITION),
    (UnavailableError, Status.UNAVAILABLE),
    (InvalidError, Status.INVALID_ARGUMENT),
    (ProtocolError, Status.INVALID_ARGUMENT),
)


class Codec(CodecBase):
    """Our messages, as gRPC's content type `application/grpc+proto`, and without a name."""

    __content_subtype__ = "proto"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride] - grpclib's way

    def encode(self, message: Any, message_type: Any) -> bytes:
        return encode(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return decode(data, message_type)


def configuration() -> Configuration:
    return Configuration(http2_connection_window_size=WINDOW_BYTES, http2_stream_window_size=WINDOW_BYTES)


class Service:
    """A service's calls, for `grpclib.server.Server`."""

    def __init__(self, name: str, calls: Mapping[str, Call], serve: Mapping[str, Serve]) -> None:
        self._name = name
        self._calls = calls
        self._serve = serve
        self._turns = asyncio.Semaphore(CALLS_MAX)

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            f"/{self._name}/{call}": Handler(self._handler(call), Cardinality.UNARY_UNARY, request, answer)
            for call, (request, answer) in self._calls.items()
        }

    def _handler(self, call: str) -> Callable[[server.Stream[Any, Any]], Awaitable[None]]:
        request, serve = self._calls[call][0], self._serve[call]

        async def handle(stream: server.Stream[Any, Any]) -> None:
            try:
                async with self._turns:
                    received = await _received(stream, request)
                    if received is None:
                        raise ProtocolError("there is no message")
                    answer = await serve(received)
            except Exception as error:
                status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
                if status is None:
                    raise
                raise GRPCError(status, str(error)) from error
            await stream.send_message(answer)

        return handle


async def call(
    channel: client.Channel, name: str, calls: Mapping[str, Call], call: str, request: object, *, timeout_s: float
) -> Any:
    """Make a call. Raises `UnavailableError` when nobody answers, `InvalidError` with the peer's words when it
    refuses."""
    kinds: tuple[Any, Any] = calls[call]
    method: client.UnaryUnaryMethod[Any, Any] = client.UnaryUnaryMethod(channel, f"/{name}/{call}", *kinds)
    try:
        async with asyncio.timeout(timeout_s), method.open(timeout=timeout_s) as stream:
            await stream.send_message(request, end=True)
            await stream.recv_initial_metadata()
            answer: Any = await _received(stream, calls[call][1])
            await stream.recv_trailing_metadata()
    except GRPCError as error:
        if error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
            raise UnavailableError(error.message or error.status.name) from error
        raise InvalidError(error.message or error.status.name) from error
    except TimeoutError as error:
        raise UnavailableError(f"no answer within {timeout_s:g} s") from error
    except (OSError, StreamTerminatedError, GrpcProtocolError, ProtocolError) as error:
        raise UnavailableError(str(error) or type(error).__name__) from error
    if answer is None:
        raise UnavailableError("an answer without a message")
    return answer


async def _received(stream: object, message: type) -> Any:
    """The one message that comes; None for none. Raises `ProtocolError`."""
    inner = cast(Any, stream)._stream
    try:
        head: bytes = await inner.recv_data(5)
        if not head:
            return None
        compressed, size = struct.unpack(">?I", head)
        if compressed:
            raise ProtocolError("compressed messages are not taken: none was offered")
        if size > MESSAGE_BYTES_MAX:
            raise ProtocolError(f"a message of {size} bytes is larger than {MESSAGE_BYTES_MAX}")
        data: bytes = await inner.recv_data(size)
        return cast(Any, decode(data, message))
    except AssertionError as error:  # grpclib's word for a stream that ends too early
        raise ProtocolError("the message is cut short") from error
