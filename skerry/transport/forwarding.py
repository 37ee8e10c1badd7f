"""Forwarded ports: connections of a client's, each a pipe of its own to the pod. Keeps nothing but what is open.

In channels of a WebSocket there is one connection for each port that the URL names, at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from skerry.errors import BadRequestError, SkerryError
from skerry.forms.channels import Channels
from skerry.frozen import Frozen
from skerry.ports import Pipe
from skerry.transport.sockets import MessageSocket


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


class _Channel:
    """One port's bytes in channels of a WebSocket."""

    def __init__(self, socket: MessageSocket, channels: Channels, number: int) -> None:
        self._socket = socket
        self._channels = channels
        self.number = number
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue(16)

    async def read(self) -> bytes:
        return await self.arrived.get()

    async def write(self, data: bytes) -> None:
        await self._socket.say(self._channels.encode(2 * self.number, data))

    async def end(self) -> None:
        """Before v5 channels have no end of their own before the socket's."""
        if (closing := self._channels.closing(2 * self.number)) is not None:
            await self._socket.say(closing)

    async def say_error(self, text: bytes) -> None:
        await self._socket.say(self._channels.encode(2 * self.number + 1, text))


async def forward_channels(
    socket: MessageSocket, channels: Channels, ports: Sequence[int], where: ForwardedPod
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


async def _distribute(socket: MessageSocket, channels: Channels, clients: Sequence[_Channel]) -> None:
    while (message := await socket.hear()) is not None:
        try:
            decoded = channels.decode(message)
        except BadRequestError:
            return
        if decoded is None:
            continue
        channel, data = decoded
        closed = channels.closed(channel, data)
        if closed is not None:
            channel, data = closed, b""
        elif not data:
            continue
        if channel % 2 == 0 and channel // 2 < len(clients):
            await clients[channel // 2].arrived.put(data)
