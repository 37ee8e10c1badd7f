"""Conversations with pods over a WebSocket, whichever library carries it: in the cloud, and on the gateway itself.

A client of v5 hears in its channels why a command does not begin, as the API server upgrades before it asks the
kubelet; others hear it as the answer to their handshake. Keeps the socket, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal, Protocol

from skerry.errors import SkerryError, UnavailableError
from skerry.forms.channels import (
    RESIZE,
    STATUS,
    STDERR,
    STDIN,
    STDOUT,
    Channels,
    internal_error,
    resize_of,
    shown_status,
)
from skerry.objects.json import JsonObject
from skerry.objects.pod_streams import Input, InputEnded, Resized, Session
from skerry.ports import Pipe
from skerry.transport.conversations import Conversation, RefusedByGatewayError
from skerry.transport.liveness import Watched, attended

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""Clients cut at 32 KiB or less; Python's sends what it is given in one piece."""
WRITE_S_MAX: Final = 600.0
"""A client that takes nothing for so long is taken for gone: someone paused a terminal, and went home."""
GONE: Final = "the client has gone"


class MessageSocket(Watched, Protocol):
    """A client's WebSocket. Its handshake is answered by `open`; until then errors can be answers to it.

    With its pings goes a pong that nobody asked for (RFC 6455, 5.5.3): kubectl gives up after a minute without one,
    and its own pings stand behind input that a process may take later than that.
    """

    @property
    def opened(self) -> bool: ...
    async def open(self) -> None: ...
    async def hear(self) -> bytes | str | None:
        """The client's next message; None when it has hung up."""
        ...

    async def say(self, message: bytes | str) -> None:
        """Raises `UnavailableError` where the client has gone."""
        ...

    async def close(self) -> None: ...


class SocketTerminal:
    """See `skerry.transport.conversations.Terminal`."""

    def __init__(self, socket: MessageSocket, channels: Channels, session: Session) -> None:
        self._socket = socket
        self._channels = channels
        self._session = session

    async def greet(self) -> None:
        """An empty message on the first channel that is written tells the client that it is connected."""
        lowest = STDOUT if self._session.stdout else STDERR if self._session.stderr else STATUS
        await self._say(lowest, b"")

    async def receive(self) -> Input | InputEnded | Resized | None:
        while (message := await self._socket.hear()) is not None:
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
        await self._socket.say(self._channels.encode(channel, data))


async def command_over(
    socket: MessageSocket,
    channels: Channels,
    session: Session,
    open_pipe: Callable[[], AbstractAsyncContextManager[Pipe]],
    talk: Callable[[Conversation, SocketTerminal], Coroutine[Any, Any, None]],
) -> None:
    """An exec or attach from its handshake to its end, or its client's. Raises what refuses it before the socket is
    open."""
    terminal = SocketTerminal(socket, channels, session)
    try:
        if channels.closes:
            await _greeted(socket, terminal)
        async with open_pipe() as pipe:
            conversation = Conversation(pipe, session)
            await conversation.begin()
            if not channels.closes:
                await _greeted(socket, terminal)
            await attended(talk(conversation, terminal), socket)
    except SkerryError as error:
        if not socket.opened:
            raise
        await _refuse(terminal, error)
    await socket.close()


async def _greeted(socket: MessageSocket, terminal: SocketTerminal) -> None:
    await socket.open()
    await terminal.greet()


async def _refuse(terminal: SocketTerminal, error: SkerryError) -> None:
    why = f"unable to upgrade connection: {error}" if isinstance(error, RefusedByGatewayError) else str(error)
    try:
        await terminal.finish(internal_error(why))
    except UnavailableError:
        return  # nobody is there to be told
