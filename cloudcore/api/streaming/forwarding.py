"""Forwarded ports: connections of a client's, each a pipe of its own to the pod. Keeps nothing but what is open.

Over SPDY a connection is a pair of streams, one for its bytes and one for what went wrong, opened when somebody
connects to kubectl. Over plain WebSocket channels there is one connection for each port that the URL names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from aiohttp import web

from cloudcore.api.streaming.channels import Channels
from cloudcore.api.streaming.spdy_server import SpdyConnection, SpdyStream
from cloudcore.api.streaming.websockets import heard, say
from skerry.errors import BadRequestError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.ports import Pipe

CONNECTIONS_MAX: Final = 64
"""At once through one client's connection."""


class ForwardedPod(Frozen):
    """Where to."""

    pod: str
    uid: str
    open: Callable[[int], AbstractAsyncContextManager[Pipe]]
    """A pipe to this port of it."""

    def failure(self, port: int, error: SkerryError) -> str:
        """As a kubelet says it."""
        return f"error forwarding port {port} to pod {self.pod}, uid {self.uid}: {error}"


class Client(Protocol):
    """One connection's way to whoever opened it."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def end(self) -> None: ...


async def carry(client: Client, pipe: Pipe) -> None:
    """Both ways, until the pod's side is done or the client's broke off. Raises what the pod's side ended with."""
    up = asyncio.create_task(_up(client, pipe))
    down = asyncio.create_task(_down(pipe, client))
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        if not down.done() and up.exception() is not None:
            return
        await down
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def _up(client: Client, pipe: Pipe) -> None:
    while data := await client.read():
        await pipe.write(data)
    await pipe.end()


async def _down(pipe: Pipe, client: Client) -> None:
    while data := await pipe.read():
        await client.write(data)
    await client.end()


class SpdyForwarder:
    """All connections of one client that speaks SPDY."""

    def __init__(self, connection: SpdyConnection, where: ForwardedPod) -> None:
        self._connection = connection
        self._where = where
        self._halves: dict[str, SpdyStream] = {}
        """By request: the first of a pair, until the second comes."""

    async def run(self) -> None:
        """Until the client has gone."""
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            try:
                while (stream := await self._connection.opened()) is not None:
                    pair = await self._pair(stream, room=len(running) < CONNECTIONS_MAX)
                    if pair is not None:
                        task = tasks.create_task(self._forward(*pair))
                        running.add(task)
                        task.add_done_callback(running.discard)
            except UnavailableError:
                pass  # the client has gone
            for task in running:
                task.cancel()

    async def _pair(self, stream: SpdyStream, *, room: bool) -> tuple[SpdyStream, SpdyStream] | None:
        """Both streams of a connection, its bytes and its errors, when this is the second of them."""
        kind, request = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
        port = stream.headers.get("port", "")
        # Very old clients give no number: the error's stream comes first, and its bytes' next.
        request = request or str(stream.number if kind == "error" else stream.number - 2)
        other = self._halves.get(request)
        wrong = (
            kind not in ("error", "data")
            or not port.isdecimal()
            or not 1 <= int(port) <= 65_535
            or not room
            or len(self._halves) > 2 * CONNECTIONS_MAX
            or (other is not None and other.headers.get("streamtype") == kind)
        )
        if wrong:
            await self._connection.refuse(stream)
            return None
        await self._connection.accept(stream)
        if other is None:
            self._halves[request] = stream
            return None
        del self._halves[request]
        return (stream, other) if kind == "data" else (other, stream)

    async def _forward(self, data: SpdyStream, error: SpdyStream) -> None:
        port = int(data.headers["port"])
        try:
            async with self._where.open(port) as pipe:
                await carry(data, pipe)
        except SkerryError as failure:
            await self._tell(error, self._where.failure(port, failure))
        finally:
            for stream in (data, error):
                await _over(stream)
                self._connection.done_with(stream)

    @staticmethod
    async def _tell(error: SpdyStream, text: str) -> None:
        try:
            await error.write(text.encode())
        except UnavailableError:
            return  # nobody is there to be told


async def _over(stream: SpdyStream) -> None:
    try:
        await stream.end()
    except UnavailableError:
        return  # it is over anyway


class _Channel:
    """One port's bytes in channels of a WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, channels: Channels, number: int) -> None:
        self._socket = socket
        self._channels = channels
        self.number = number
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue(16)

    async def read(self) -> bytes:
        return await self.arrived.get()

    async def write(self, data: bytes) -> None:
        await say(self._socket, self._channels.encode(2 * self.number, data))

    async def end(self) -> None:
        """Channels have no end of their own before the socket's."""

    async def say_error(self, text: bytes) -> None:
        await say(self._socket, self._channels.encode(2 * self.number + 1, text))


async def forward_channels(
    socket: web.WebSocketResponse, channels: Channels, ports: Sequence[int], where: ForwardedPod
) -> None:
    """Until every connection is over, or the client has gone. Both channels of a port begin with its number."""
    clients = [_Channel(socket, channels, number) for number in range(len(ports))]
    for client, port in zip(clients, ports, strict=True):
        await client.write(port.to_bytes(2, "little"))
        await client.say_error(port.to_bytes(2, "little"))
    reading = asyncio.create_task(_distribute(socket, channels, clients))
    carrying = [
        asyncio.create_task(_carry_port(client, port, where)) for client, port in zip(clients, ports, strict=True)
    ]
    everything = asyncio.gather(*carrying)
    try:
        await asyncio.wait((reading, everything), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (reading, *carrying):
            task.cancel()
        await asyncio.gather(reading, everything, return_exceptions=True)


async def _carry_port(client: _Channel, port: int, where: ForwardedPod) -> None:
    try:
        async with where.open(port) as pipe:
            await carry(client, pipe)
    except SkerryError as failure:
        await client.say_error(where.failure(port, failure).encode())


async def _distribute(socket: web.WebSocketResponse, channels: Channels, clients: Sequence[_Channel]) -> None:
    while (message := await heard(socket)) is not None:
        try:
            decoded = channels.decode(message)
        except BadRequestError:
            return
        if decoded is None:
            continue
        channel, data = decoded
        if channel % 2 == 0 and channel // 2 < len(clients) and data:
            await clients[channel // 2].arrived.put(data)
