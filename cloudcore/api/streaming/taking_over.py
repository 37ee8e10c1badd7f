"""A socket that was the HTTP server's: after an answer of 101 what goes over it is no HTTP.

Keeps the socket, and what arrived on it and was not read, within a bound.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, cast

from aiohttp import web

from skerry.errors import UnavailableError
from skerry.transport.liveness import OptionSocket
from skerry.transport.sockets import GONE, WRITE_S_MAX
from skerry.waits import until_set

_READ_BYTES: Final = 64 * 1024


class SocketCarrier(asyncio.Protocol):
    """A socket that was the HTTP server's until now, which is told when it closes."""

    def __init__(self, server: asyncio.BaseProtocol, transport: asyncio.Transport) -> None:
        self._server = server
        self._transport = transport
        self._arrived = bytearray()
        self._lost = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `skerry.transport.liveness.Watched`."""
        return cast("socket.socket | None", self._transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        self._readable.set()
        if len(self._arrived) > _READ_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._lost = True
        self._readable.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._readable.set()
        self._writable.set()
        self._server.connection_lost(exc)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def receive(self) -> bytes:
        while not self._arrived:
            if self._lost:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._arrived)
        self._arrived.clear()
        if not self._lost:
            self._transport.resume_reading()
        return data

    async def send(self, data: bytes) -> None:
        if self._lost:
            raise UnavailableError(GONE)
        self._transport.write(data)
        if not await until_set(self._writable, within_s=WRITE_S_MAX):
            raise UnavailableError(GONE)


def taken_over(request: web.BaseRequest) -> SocketCarrier:
    """The socket of a request whose answer's head is sent: HTTP is over on it. Raises `UnavailableError`."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise UnavailableError(GONE)
    carrier = SocketCarrier(request.protocol, transport)
    transport.set_protocol(carrier)
    return carrier
