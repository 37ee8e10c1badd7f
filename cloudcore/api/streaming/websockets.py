"""Clients that came over a WebSocket: a terminal, and what carries a tunnel. Keeps the socket, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from aiohttp import ClientConnectionError, WSMsgType, web

from cloudcore.api.streaming.channels import RESIZE, STATUS, STDIN, STDOUT, Channels, resize_of, shown_status
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.pod_streams import Input, InputEnded, Resized, Session

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""Clients cut at 32 KiB or less; Python's sends what it is given in one piece."""
WRITE_S_MAX: Final = 600.0
"""A client that takes nothing for so long is taken for gone: someone paused a terminal, and went home."""
GONE: Final = "the client has gone"


async def say(socket: web.WebSocketResponse, message: bytes | str) -> None:
    """Raises `UnavailableError` where the client has gone."""
    try:
        async with asyncio.timeout(WRITE_S_MAX):
            if isinstance(message, str):
                await socket.send_str(message)
            else:
                await socket.send_bytes(message)
    except (ConnectionError, ClientConnectionError, TimeoutError) as error:
        raise UnavailableError(GONE) from error


async def heard(socket: web.WebSocketResponse) -> bytes | str | None:
    """The client's next message; None when it has hung up."""
    message = await socket.receive()
    return message.data if message.type in (WSMsgType.BINARY, WSMsgType.TEXT) else None


class WebSocketTerminal:
    """See `cloudcore.api.streaming.commands.Terminal`."""

    def __init__(self, socket: web.WebSocketResponse, channels: Channels, session: Session) -> None:
        self._socket = socket
        self._channels = channels
        self._session = session

    async def greet(self) -> None:
        """An empty message on the first channel that is written tells the client that it is connected."""
        lowest = STDOUT if self._session.stdout else 2 if self._session.stderr else STATUS
        await self._say(lowest, b"")

    async def receive(self) -> Input | InputEnded | Resized | None:
        while (message := await heard(self._socket)) is not None:
            decoded = self._channels.decode(message)
            if decoded is None:
                continue
            channel, data = decoded
            if self._session.stdin and self._channels.closed(channel, data) == STDIN:
                return InputEnded()
            if channel == STDIN and self._session.stdin and data:
                return Input(data=data)
            if channel == RESIZE and self._session.tty and (size := resize_of(data)) is not None:
                return size
        return None

    async def output(self, channel: Literal[1, 2], data: bytes) -> None:
        await self._say(channel, data)

    async def finish(self, status: JsonObject) -> None:
        shown = shown_status(status, has_status=self._channels.has_status)
        if shown:
            await self._say(STATUS, shown)

    async def _say(self, channel: int, data: bytes) -> None:
        await say(self._socket, self._channels.encode(channel, data))


class WebSocketCarrier:
    """See `cloudcore.api.streaming.spdy_server.Carrier`."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def receive(self) -> bytes:
        while (message := await heard(self._socket)) is not None:
            data = message.encode() if isinstance(message, str) else message
            if data:
                return data
        return b""

    async def send(self, data: bytes) -> None:
        await say(self._socket, data)
