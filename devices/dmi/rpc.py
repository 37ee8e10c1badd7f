"""DMI's calls over gRPC: serving them on a socket, and making them.

grpclib speaks gRPC; `skerry.transport.grpc` puts tables, bounds and errors to it, this the calls of DMI. Imported
when the first mapper may come.

Keeps nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from grpclib import server
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from devices.dmi.codec import TABLE
from devices.dmi.messages import MAPPER, MAPPER_CALLS
from skerry.errors import ConflictError, InvalidError, NotFoundError, ProtocolError, UnavailableError
from skerry.transport.grpc import Call, Codec, Peer, received

LOG: Final = logging.getLogger(__name__)

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""gRPC's own default for what a program takes."""
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


def codec() -> Codec:
    """DMI's messages for grpclib."""
    return Codec(TABLE)


def mapper_at(path: str) -> Peer:
    """A mapper, to be called."""
    return Peer(path, MAPPER, MAPPER_CALLS, TABLE, bytes_max=MESSAGE_BYTES_MAX)


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
                    asked = await received(stream, TABLE, request, MESSAGE_BYTES_MAX)
                    if asked is None:
                        raise ProtocolError("there is no message")
                    answer = await serve(asked)
            except Exception as error:
                status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
                if status is None:
                    raise
                raise GRPCError(status, str(error)) from error
            await stream.send_message(answer)

        return handle
