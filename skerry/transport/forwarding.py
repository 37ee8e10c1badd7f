"""Forwarded ports: connections of a client's, each a pipe of its own to the pod. Keeps nothing but what is open.

In channels of a WebSocket there is one connection for each port that the URL names, at most. They have no windows:
what came for a port that takes nothing is kept up to a bound for all ports of a client together, and beyond it
nothing more of that client's is read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from skerry.errors import BadRequestError, SkerryError
from skerry.forms.channels import Channels
from skerry.frozen import Frozen
from skerry.ports import Pipe
from skerry.transport.liveness import attended
from skerry.transport.pipes import relay
from skerry.transport.sockets import MessageSocket

UNREAD_BYTES_MAX: Final = 256 * 1024
"""Of one client, beside the message that is read last."""
MESSAGE_BYTES: Final = 64
"""What a message costs beside its bytes: many of one byte are much as well."""


class ForwardedPod(Frozen):
    """Where to."""

    pod: str
    uid: str
    open: Callable[[int], AbstractAsyncContextManager[Pipe]]
    """A pipe to this port of it."""

    def failure(self, port: int, error: SkerryError) -> str:
        """As a kubelet says it."""
        return f"error forwarding port {port} to pod {self.pod}, uid {self.uid}: {error}"


class _Unread:
    """What came of one client and no port has taken yet."""

    def __init__(self) -> None:
        self._count = 0
        self._room = asyncio.Event()
        self._room.set()

    def add(self, count: int) -> None:
        self._count += count
        if self._count > UNREAD_BYTES_MAX:
            self._room.clear()

    def taken(self, count: int) -> None:
        self._count -= count
        if self._count <= UNREAD_BYTES_MAX:
            self._room.set()

    async def room(self) -> None:
        """Until more may be read."""
        await self._room.wait()


class _Channel:
    """One port's bytes in channels of a WebSocket."""

    def __init__(self, socket: MessageSocket, channels: Channels, number: int, unread: _Unread) -> None:
        self._socket = socket
        self._channels = channels
        self._unread = unread
        self._arrived: deque[bytes] = deque()
        self._readable = asyncio.Event()
        self._is_over = False
        self.number = number

    def take(self, data: bytes) -> None:
        """What came for it. After its end, or its port's, nothing is kept."""
        if not self._is_over:
            self._arrived.append(data)
            self._unread.add(len(data) + MESSAGE_BYTES)
            self._readable.set()

    def over(self) -> None:
        """The client sends nothing more."""
        self._is_over = True
        self._readable.set()

    async def read(self) -> bytes:
        while not self._arrived:
            if self._is_over:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._arrived.popleft()
        self._unread.taken(len(data) + MESSAGE_BYTES)
        return data

    def drop(self) -> None:
        """Nobody reads any more."""
        self._is_over = True
        self._unread.taken(sum(len(data) + MESSAGE_BYTES for data in self._arrived))
        self._arrived.clear()

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
    unread = _Unread()
    clients = [_Channel(socket, channels, number, unread) for number in range(len(ports))]
    for client, port in zip(clients, ports, strict=True):
        await client.write(port.to_bytes(2, "little"))
        await client.say_error(port.to_bytes(2, "little"))
    await attended(_forwarded(socket, channels, clients, ports, where, unread), socket)


async def _forwarded(
    socket: MessageSocket,
    channels: Channels,
    clients: Sequence[_Channel],
    ports: Sequence[int],
    where: ForwardedPod,
    unread: _Unread,
) -> None:
    reading = asyncio.create_task(_distribute(socket, channels, clients, unread))
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
            await relay(client, pipe)
    except SkerryError as failure:
        await client.say_error(where.failure(port, failure).encode())
    finally:
        client.drop()


async def _distribute(
    socket: MessageSocket, channels: Channels, clients: Sequence[_Channel], unread: _Unread
) -> None:
    while (message := await socket.hear()) is not None:
        try:
            decoded = channels.decode(message)
        except BadRequestError:
            return
        if decoded is None:
            continue
        channel, data = decoded
        closed = channels.closed(channel, data)
        number, is_error = divmod(channel if closed is None else closed, 2)
        if is_error or not 0 <= number < len(clients):
            continue
        if closed is not None:
            clients[number].over()
        elif data:
            clients[number].take(data)
            await unread.room()
