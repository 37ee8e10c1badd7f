"""Calls over gRPC with messages from tables: what KubeEdge's mappers and container runtimes are asked by.

grpclib speaks gRPC; this puts our tables, bounds and errors to it. A message larger than the limit is refused by its
announced length, before it is read: grpclib itself knows no limit, which is why its stream is read here (`_stream` is
private to it: hence its pinned version). Imported when somebody is to be asked: with h2 it takes 2.5 MB.

Keeps nothing.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, cast

from grpclib import client
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.exceptions import ProtocolError as GrpcProtocolError

from skerry.errors import InvalidError, ProtocolError, UnavailableError
from skerry.wire.tables import Table

WINDOW_BYTES: Final = 1024 * 1024
"""What a peer may send of a message that nobody has begun to read."""

Call = tuple[type, type]
"""Of what class the request and the answer are."""


class RefusedError(InvalidError):
    """The peer refused; the text is its own."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class DeadlineError(UnavailableError):
    """There was no answer in time; the peer may be the one who says so."""


class Codec(CodecBase):
    """A table's messages, as gRPC's content type `application/grpc+proto`, and without a name."""

    __content_subtype__ = "proto"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride] - grpclib's way

    def __init__(self, table: Table) -> None:
        self._table = table

    def encode(self, message: Any, message_type: Any) -> bytes:
        return self._table.encode(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return self._table.decode(data, message_type)


def configuration() -> Configuration:
    return Configuration(http2_connection_window_size=WINDOW_BYTES, http2_stream_window_size=WINDOW_BYTES)


class Peer:
    """One service of a program on a unix socket, or at a host and port without TLS; the connection is made when
    needed, and again when it broke."""

    def __init__(
        self, place: str | tuple[str, int], service: str, calls: Mapping[str, Call], table: Table, *, bytes_max: int
    ) -> None:
        """`bytes_max`: of one answer."""
        if isinstance(place, str):
            self._channel = client.Channel(path=place, codec=Codec(table), config=configuration())
        else:
            self._channel = client.Channel(*place, codec=Codec(table), config=configuration())
        self._place = place if isinstance(place, str) else f"{place[0]}:{place[1]}"
        self._service = service
        self._calls = calls
        self._table = table
        self._bytes_max = bytes_max

    async def call(self, name: str, request: object, *, timeout_s: float) -> Any:
        """Make a call. Raises `UnavailableError` when nobody answers, `RefusedError` with the peer's words when it
        refuses."""
        request_type, answer_type = self._calls[name]
        method: client.UnaryUnaryMethod[Any, Any] = client.UnaryUnaryMethod(
            self._channel, f"/{self._service}/{name}", request_type, answer_type
        )
        try:
            async with asyncio.timeout(timeout_s), method.open(timeout=timeout_s) as stream:
                await stream.send_message(request, end=True)
                await stream.recv_initial_metadata()
                answer = await received(stream, self._table, answer_type, self._bytes_max)
                await stream.recv_trailing_metadata()
        except TimeoutError as error:
            raise DeadlineError(f"no answer within {timeout_s:g} s") from error
        except _FAULTS as error:
            raise self._translated(error) from error
        if answer is None:
            raise UnavailableError("an answer without a message")
        return answer

    async def stream(self, name: str, request: object) -> AsyncGenerator[Any]:
        """Every message that the peer sends in answer, until it ends or fails. Raises as `call` does."""
        request_type, answer_type = self._calls[name]
        method: client.UnaryStreamMethod[Any, Any] = client.UnaryStreamMethod(
            self._channel, f"/{self._service}/{name}", request_type, answer_type
        )
        try:
            async with method.open() as stream:
                await stream.send_message(request, end=True)
                await stream.recv_initial_metadata()
                while (message := await received(stream, self._table, answer_type, self._bytes_max)) is not None:
                    yield message
                await stream.recv_trailing_metadata()
        except _FAULTS as error:
            raise self._translated(error) from error

    def close(self) -> None:
        self._channel.close()

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, OSError):
            why = os.strerror(error.errno) if error.errno else str(error)
            return UnavailableError(f"{self._place}: {why}")
        return _translated(error)


_FAULTS: Final = (GRPCError, OSError, StreamTerminatedError, GrpcProtocolError, ProtocolError)


def _translated(error: Exception) -> Exception:
    if isinstance(error, GRPCError):
        text = error.message or error.status.name
        if error.status is Status.DEADLINE_EXCEEDED:
            return DeadlineError(text)
        if error.status in (Status.UNAVAILABLE, Status.CANCELLED):
            return UnavailableError(text)
        return RefusedError(text, error.status)
    return UnavailableError(str(error) or type(error).__name__)


async def received(stream: object, table: Table, message: type, bytes_max: int) -> Any:
    """The message that comes; None for none. Raises `ProtocolError`."""
    inner = cast(Any, stream)._stream
    try:
        head: bytes = await inner.recv_data(5)
        if not head:
            return None
        compressed, size = struct.unpack(">?I", head)
        if compressed:
            raise ProtocolError("compressed messages are not taken: none was offered")
        if size > bytes_max:
            raise ProtocolError(f"a message of {size} bytes is larger than {bytes_max}")
        data: bytes = await inner.recv_data(size)
        return cast(Any, table.decode(data, message))
    except AssertionError as error:  # grpclib's word for a stream that ends too early
        raise ProtocolError("the message is cut short") from error
