"""A stream to a node's gateway, carried between two replicas over a WebSocket.

The first message says what the stream needs. After it each side sends `DATA` messages, then `END` when it writes
nothing more; `CLOSED` says how it ended, with a code of `skerry.sync.streams`. TCP paces either way. Keeps nothing
but the message that is being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp
import orjson
from aiohttp import web

from skerry.errors import BadRequestError, SkerryError, UncertainError
from skerry.objects.json import Json, encode_object, int_at, str_at
from skerry.sync.effects import StreamEnded
from skerry.sync.streams import STREAM_DONE
from skerry.transport.pipes import code_of, ended_error

MESSAGE_BYTES_MAX: Final = 128 * 1024
"""Above a piece of a stream, and above what a stream is opened with."""
LOOK_S: Final = 5.0
"""How often a silent stream is looked at for whether the other replica still lives."""
_WRITE_S_MAX: Final = 120.0
"""A replica that takes nothing for so long is stuck, and not just behind a slow gateway: that one's credit is asked
for again within the silence of its session."""
_PIECE_BYTES: Final = 64 * 1024

_DATA: Final = b"\0"
_END: Final = b"\1"
_CLOSED: Final = b"\2"


def always() -> bool:
    return True


class WebSocketPipe:
    """A `skerry.ports.Pipe` over a WebSocket between replicas. `name`: who is at its other end, for errors."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
        name: str,
        lives: Callable[[], bool] = always,
    ) -> None:
        self._socket = socket
        self._name = name
        self._lives = lives
        self._input_over = False
        self._ended: StreamEnded | None = None
        self._closed = False

    async def opening(self) -> bytes:
        """The first message, of whoever opens: what the stream needs. Raises `BadRequestError`."""
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise BadRequestError("a stream is opened with a binary message that says what it needs")
        return message.data

    async def open(self, params: bytes) -> None:
        """The same, of this side."""
        await self._socket.send_bytes(params)

    async def read(self) -> bytes:
        """See `skerry.ports.Pipe`."""
        while self._ended is None and not self._input_over:
            message = await self._receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise UncertainError(f"{self._name} broke off")
            kind, data = message.data[:1], message.data[1:]
            match kind:
                case b"\0" if data:
                    return data
                case b"\1":
                    self._input_over = True
                case b"\2":
                    self._ended = _ended(data)
                case _:
                    pass
        if self._ended is not None and self._ended.code != STREAM_DONE:
            raise ended_error(self._ended)
        return b""

    async def _receive(self) -> aiohttp.WSMessage:
        """A replica whose machine is gone says nothing, and ends nothing."""
        while True:
            try:
                return await self._socket.receive(LOOK_S)
            except TimeoutError:
                if not self._lives():
                    raise UncertainError(f"{self._name} is not heard any more") from None

    async def write(self, data: bytes) -> None:
        """See `skerry.ports.Pipe`."""
        for at in range(0, len(data), _PIECE_BYTES):
            await self._say(_DATA + data[at : at + _PIECE_BYTES])

    async def end(self) -> None:
        """See `skerry.ports.Pipe`."""
        await self._say(_END)

    async def close(self, error: SkerryError | None = None) -> None:
        """See `skerry.ports.Pipe`. Whoever is not there any more needs not be told."""
        if self._closed:
            return
        self._closed = True
        code, reason = (STREAM_DONE, "") if error is None else (code_of(error), str(error))
        try:
            await self._say(_CLOSED + encode_object({"code": code, "reason": reason}))
        except UncertainError:
            return
        await self._socket.close()

    async def _say(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(_WRITE_S_MAX):
                await self._socket.send_bytes(message)
        except (ConnectionError, aiohttp.ClientError, TimeoutError) as error:
            raise UncertainError(f"{self._name} broke off") from error


def _ended(data: bytes) -> StreamEnded:
    try:
        told: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        told = None
    return StreamEnded(stream=0, code=int_at(told, "code"), reason=str_at(told, "reason"))
