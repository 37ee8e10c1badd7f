"""A connection that speaks SPDY: its streams, each with what arrived on it, and the socket below.

The socket is taken over from an HTTP server once the upgrade is answered, or is a WebSocket that carries the same
bytes. What arrived and was not read is bounded for the connection as a whole, since the clients know
no windows: beyond it the connection is not read, as with a kubelet. A crash ends it, and the client sees so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, Literal, Protocol

from skerry.errors import BadRequestError, ProtocolError, UnavailableError
from skerry.forms.channels import agreed, resize_of, shown_status
from skerry.objects.json import JsonObject
from skerry.objects.pod_streams import Input, InputEnded, Resized, Session
from skerry.ports import Pipe
from skerry.transport.conversations import Conversation
from skerry.transport.liveness import OptionSocket, attended
from skerry.transport.sockets import GONE, MessageSocket
from skerry.waits import end_tasks
from skerry.wire.spdy_server import RESET_REFUSED_STREAM, Arrived, GoneAway, Opened, Reset, Spdy

WAITING_MAX: Final = 256
"""Streams that were opened and that nobody took: a command has its own, and takes no more."""
UNREAD_BYTES_MAX: Final = 256 * 1024
"""Of one connection."""
CREATION_S_MAX: Final = 30.0
"""In which a client opens the streams that it needs (kubelet's default)."""


class Carrier(Protocol):
    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `skerry.transport.liveness.Watched`."""
        ...

    async def receive(self) -> bytes:
        """Empty when the client has gone."""
        ...

    async def send(self, data: bytes) -> None:
        """Waits while the client does not read. Raises `UnavailableError` where it has gone."""
        ...


class SpdyStream:
    """One that the client opened."""

    def __init__(self, connection: SpdyConnection, opened: Opened) -> None:
        self.number = opened.stream
        self.headers = opened.headers
        self._connection = connection
        self._arrived: deque[bytes] = deque()
        self._over = opened.last
        self._readable = asyncio.Event()

    def take(self, data: bytes, *, last: bool) -> None:
        """Of the connection."""
        if data:
            self._arrived.append(data)
        self._over = self._over or last
        self._readable.set()

    @property
    def unread(self) -> int:
        """Bytes that arrived and were not read."""
        return sum(len(data) for data in self._arrived)

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._arrived:
            if self._over:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._arrived.popleft()
        await self._connection.consumed(self.number, len(data))
        return data

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Raises `UnavailableError` where the client has gone or wants nothing more of it."""
        await self._connection.write(self.number, data, last=last)

    async def end(self) -> None:
        """Nothing more is written; twice is nothing."""
        await self._connection.end(self.number)


class SpdyConnection:
    """Use it within `serving`."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._spdy = Spdy()
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self._unread = 0
        self._room = asyncio.Event()
        self._room.set()
        self._writing = asyncio.Lock()
        self.over = asyncio.Event()
        """The client has gone, or speaks nonsense."""

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `skerry.transport.liveness.Watched`."""
        return self._carrier.kernel_socket

    async def ping(self) -> None:
        """See `Watched`."""
        if self.over.is_set():
            raise UnavailableError(GONE)
        self._spdy.ping()
        await self._flush()

    async def attended(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work for as long as the client is there. Raises what the work raises."""
        await attended(work, self)

    async def opened(self) -> SpdyStream | None:
        """The next stream that the client opens, which is not yet taken; None when it opens no more."""
        return await self._opened.get()

    async def accept(self, stream: SpdyStream) -> None:
        self._spdy.reply(stream.number)
        await self._flush()

    async def refuse(self, stream: SpdyStream) -> None:
        self._forget(stream.number)
        self._spdy.reset(stream.number, RESET_REFUSED_STREAM)
        await self._flush()

    async def write(self, stream: int, data: bytes, *, last: bool) -> None:
        """See `SpdyStream`."""
        if not self._spdy.is_open(stream) or self.over.is_set():
            raise UnavailableError(GONE)
        self._spdy.send(stream, data, last=last)
        await self._flush()

    async def end(self, stream: int) -> None:
        """See `SpdyStream`."""
        self._spdy.send(stream, b"", last=True)
        await self._flush()

    async def consumed(self, stream: int, count: int) -> None:
        """See `SpdyStream`."""
        self._unread -= count
        if self._unread <= UNREAD_BYTES_MAX:
            self._room.set()
        self._spdy.consumed(stream, count)
        await self._flush()

    async def run(self) -> None:
        """Take what comes, until the client has gone."""
        try:
            while data := await self._carrier.receive():
                for event in self._spdy.receive(data):
                    self._perform(event)
                await self._flush()
                await self._room.wait()
        except (ProtocolError, BadRequestError, UnavailableError):
            return  # as if it had gone: there is nothing in which it could be told
        finally:
            self.over.set()
            self._opened.put_nowait(None)
            for stream in self._streams.values():
                stream.take(b"", last=True)

    def _perform(self, event: Opened | Arrived | Reset | GoneAway) -> None:
        match event:
            case Opened() if self._opened.qsize() >= WAITING_MAX:
                self._spdy.reset(event.stream, RESET_REFUSED_STREAM)
            case Opened():
                stream = self._streams[event.stream] = SpdyStream(self, event)
                self._opened.put_nowait(stream)
            case Arrived():
                if (stream := self._streams.get(event.stream)) is not None:
                    self._unread += len(event.data)
                    if self._unread > UNREAD_BYTES_MAX:
                        self._room.clear()
                    stream.take(event.data, last=event.last)
            case Reset():  # whoever reads it reads on to its end
                if (stream := self._streams.pop(event.stream, None)) is not None:
                    stream.take(b"", last=True)
            case GoneAway():
                pass  # its connection ends when it has closed what is open

    def _forget(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def done_with(self, stream: SpdyStream) -> None:
        """Nobody reads it any more: what is left on it is dropped."""
        self._forget(stream.number)
        self._unread -= stream.unread
        if self._unread <= UNREAD_BYTES_MAX:
            self._room.set()

    async def _flush(self) -> None:
        async with self._writing:
            data = self._spdy.to_send()
            if data:
                await self._carrier.send(data)

    async def goodbye(self) -> None:
        self._spdy.go_away()
        await self._flush()


@asynccontextmanager
async def serving(carrier: Carrier) -> AsyncGenerator[SpdyConnection]:
    """A connection that is read for as long as the block lasts."""
    connection = SpdyConnection(carrier)
    reading = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        await end_tasks(reading)


class SpdyTerminal:
    """See `skerry.transport.conversations.Terminal`."""

    def __init__(
        self, connection: SpdyConnection, streams: dict[str, SpdyStream], session: Session, *, has_status: bool
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._session = session
        self._has_status = has_status
        self._events: asyncio.Queue[Input | InputEnded | Resized] = asyncio.Queue(1)
        self._readers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Read the client's streams, each on its own: the terminal's size must not wait behind input."""
        if self._session.stdin:
            self._readers.append(asyncio.create_task(self._read_input(self._streams["stdin"])))
        if "resize" in self._streams:
            self._readers.append(asyncio.create_task(self._read_sizes(self._streams["resize"])))

    async def stop(self) -> None:
        await end_tasks(*self._readers)

    async def receive(self) -> Input | InputEnded | Resized | None:
        event = asyncio.create_task(self._events.get())
        over = asyncio.create_task(self._connection.over.wait())
        try:
            await asyncio.wait((event, over), return_when=asyncio.FIRST_COMPLETED)
            return event.result() if event.done() else None
        finally:
            event.cancel()
            over.cancel()

    async def _read_input(self, stream: SpdyStream) -> None:
        while data := await stream.read():
            await self._events.put(Input(data=data))
        await self._events.put(InputEnded())

    async def _read_sizes(self, stream: SpdyStream) -> None:
        while data := await stream.read():
            for line in data.splitlines():
                if (size := resize_of(line)) is not None:
                    await self._events.put(size)

    async def output(self, channel: Literal[1, 2], data: bytes) -> None:
        stream = self._streams.get("stdout" if channel == 1 else "stderr")
        if stream is not None:
            await stream.write(data)

    async def finish(self, status: JsonObject) -> None:
        shown = shown_status(status, has_status=self._has_status)
        for name in ("stdout", "stderr"):
            if name in self._streams:
                await self._streams[name].end()
        error = self._streams["error"]
        if shown:
            await error.write(shown)
        await error.end()


class MessageCarrier:
    """A `Carrier` that is a WebSocket with the same bytes in it."""

    def __init__(self, socket: MessageSocket) -> None:
        self._socket = socket

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `skerry.transport.liveness.Watched`."""
        return self._socket.kernel_socket

    async def receive(self) -> bytes:
        while (message := await self._socket.hear()) is not None:
            data = message.encode() if isinstance(message, str) else message
            if data:
                return data
        return b""

    async def send(self, data: bytes) -> None:
        await self._socket.say(data)


def agreed_on(offered: Sequence[str], known: Sequence[str]) -> str:
    """What is spoken in the streams. Raises `BadRequestError` where none of what the client offers is known; the last
    one is what the first Kubernetes spoke, whose clients said nothing."""
    name = agreed(offered, known) if offered else known[-1]
    if name is None:
        raise BadRequestError(
            "unable to upgrade: unable to negotiate protocol: "
            f"client supports {list(offered)}, server accepts {list(known)}"
        )
    return name


async def command_over_spdy(
    session: Session,
    protocol: str,
    open_pipe: Callable[[], AbstractAsyncContextManager[Pipe]],
    switch: Callable[[], Awaitable[Carrier]],
    talk: Callable[[Conversation, SpdyTerminal], Coroutine[Any, Any, None]],
) -> None:
    """An exec or attach to its end, or its client's. `switch` answers the request, once the gateway has begun. Raises
    what refuses it before; and `BadRequestError`, `TimeoutError` for a client that does not open its streams."""
    async with open_pipe() as pipe:
        conversation = Conversation(pipe, session)
        await conversation.begin()
        async with serving(await switch()) as connection:
            streams = await command_streams(connection, session, protocol)
            has_status = protocol in ("v4.channel.k8s.io", "v5.channel.k8s.io")
            terminal = SpdyTerminal(connection, streams, session, has_status=has_status)
            terminal.start()
            try:
                await connection.attended(talk(conversation, terminal))
            finally:
                await terminal.stop()
            with suppress(UnavailableError):
                await connection.goodbye()


async def command_streams(connection: SpdyConnection, session: Session, protocol: str) -> dict[str, SpdyStream]:
    """The streams that the client opens for an exec or attach, by type. Raises `BadRequestError`, `TimeoutError`."""
    wanted = {"error"}
    wanted |= {name for name in ("stdin", "stdout", "stderr") if getattr(session, name)}
    if session.tty and protocol in ("v3.channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io"):
        wanted.add("resize")
    found: dict[str, SpdyStream] = {}
    async with asyncio.timeout(CREATION_S_MAX):
        while wanted - found.keys():
            stream = await connection.opened()
            if stream is None:
                raise UnavailableError(GONE)
            kind = stream.headers.get("streamtype", "")
            if kind not in wanted or kind in found:
                await connection.refuse(stream)
                raise BadRequestError(f"unexpected stream type: {kind!r}")
            await connection.accept(stream)
            found[kind] = stream
    return found
