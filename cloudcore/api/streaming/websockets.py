"""Clients that came over a WebSocket, as aiohttp has it. Keeps the socket, and nothing else."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from aiohttp import ClientConnectionError, WSMsgType, web

from skerry.errors import UnavailableError
from skerry.transport.liveness import OptionSocket
from skerry.transport.sockets import GONE, MESSAGE_BYTES_MAX, WRITE_S_MAX


class ClientSocket:
    """See `skerry.transport.sockets.MessageSocket`."""

    def __init__(self, request: web.BaseRequest, protocol: str) -> None:
        self._request = request
        self.response = web.WebSocketResponse(
            protocols=[protocol] if protocol else [],
            # No heartbeat of aiohttp's: a client whose input waits for a slow process would be taken for silent, as
            # its answers stand behind that input. See `skerry.transport.liveness`.
            max_msg_size=MESSAGE_BYTES_MAX,
            compress=False,
        )

    @property
    def opened(self) -> bool:
        return self.response.prepared

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `skerry.transport.liveness.Watched`."""
        transport = self._request.transport
        return None if transport is None else cast("socket.socket | None", transport.get_extra_info("socket"))

    async def ping(self) -> None:
        """See `Watched`."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise UnavailableError(GONE)
        try:
            await self.response.ping()
            await self.response.pong()
        except (ConnectionError, ClientConnectionError, RuntimeError) as error:  # RuntimeError: a close has been said
            raise UnavailableError(GONE) from error

    async def open(self) -> None:
        await self.response.prepare(self._request)

    async def hear(self) -> bytes | str | None:
        message = await self.response.receive()
        return message.data if message.type in (WSMsgType.BINARY, WSMsgType.TEXT) else None

    async def say(self, message: bytes | str) -> None:
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                if isinstance(message, str):
                    await self.response.send_str(message)
                else:
                    await self.response.send_bytes(message)
        except (ConnectionError, ClientConnectionError, TimeoutError) as error:
            raise UnavailableError(GONE) from error

    async def close(self) -> None:
        await self.response.close()
