"""A client's WebSocket or SPDY on the local API: exec, attach and port-forward at the gateway itself, with no cloud.

The frames are `websockets`' own protocol core, loaded with the first of them; the bytes are those of a connection
whose HTTP has ended with 101. Bounded: a message, what is read ahead, and what all clients together have sent of
messages that are larger than a client of Kubernetes sends (`LargeMessages`). Keeps nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Final, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from edgecore.local_api.bounds import LargeMessages, Reader, Writer
from skerry.errors import UnavailableError
from skerry.transport.liveness import OptionSocket
from skerry.transport.sockets import GONE, MESSAGE_BYTES_MAX, WRITE_S_MAX

_READ_BYTES: Final = 64 * 1024
_CLOSE_S_MAX: Final = 2.0
"""For a client to answer that the conversation is over."""
SMALL_BYTES: Final = 64 * 1024
"""Of a message that needs no place: kubectl cuts at 32 KiB."""
LARGE_S_MAX: Final = 60.0
"""For a large message to be there, whole."""


class LocalLine:
    """See `edgecore.local_api.requests.Line`. `trailing`: bytes that came behind the request."""

    def __init__(self, reader: Reader, writer: Writer, *, key: str, trailing: bytes, large: LargeMessages) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key
        self._trailing = trailing
        self._large = large
        self._carrier: LocalCarrier | None = None
        self._socket: LocalSocket | None = None

    @property
    def is_switched(self) -> bool:
        """HTTP has ended."""
        return self._carrier is not None or (self._socket is not None and self._socket.opened)

    def messages(self, protocol: str) -> LocalSocket:
        """See `Line`."""
        self._socket = LocalSocket(
            self._reader, self._writer, key=self._key, protocol=protocol, trailing=self._trailing, large=self._large
        )
        return self._socket

    async def spdy(self, protocol: str) -> LocalCarrier:
        """See `Line`."""
        self._carrier = LocalCarrier(self._reader, self._writer, self._trailing)
        await self._carrier.send(_head("SPDY/3.1", f"X-Stream-Protocol-Version: {protocol}"))
        return self._carrier


def _head(upgrade: str, *further: str) -> bytes:
    """The answer with which HTTP ends."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {upgrade}", *further]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class LocalCarrier:
    """See `skerry.transport.spdy.Carrier`."""

    def __init__(self, reader: Reader, writer: Writer, trailing: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._trailing = trailing

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `skerry.transport.liveness.Watched`."""
        return cast("socket.socket | None", self._writer.get_extra_info("socket"))

    async def receive(self) -> bytes:
        """See `Carrier`."""
        if self._trailing:
            data, self._trailing = self._trailing, b""
            return data
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:
            return b""

    async def send(self, data: bytes) -> None:
        """See `Carrier`."""
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                self._writer.write(data)
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise UnavailableError(GONE) from error


class LocalSocket:
    """See `skerry.transport.sockets.MessageSocket`. `trailing`: bytes that came behind the handshake."""

    def __init__(
        self, reader: Reader, writer: Writer, *, key: str, protocol: str, trailing: bytes, large: LargeMessages
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key
        self._protocol = protocol
        self._frames = Protocol(Side.SERVER, state=State.OPEN, max_size=MESSAGE_BYTES_MAX)
        self._trailing = trailing
        self._arrived: deque[bytes | str] = deque()
        self._parts = bytearray()
        """Of a message whose end has not come."""
        self._is_text = False
        self._pending = 0
        """Bytes that came of a frame whose end has not."""
        self._large = large
        self._has_place = False
        self._whole_by_s = 0.0
        self._saying = asyncio.Lock()
        self.opened = False

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `skerry.transport.liveness.Watched`."""
        return cast("socket.socket | None", self._writer.get_extra_info("socket"))

    async def ping(self) -> None:
        """See `Watched`."""
        if self._frames.state is not State.OPEN:
            raise UnavailableError(GONE)
        async with self._saying:
            self._frames.send_ping(b"")
            self._frames.send_pong(b"")  # see `skerry.transport.sockets.MessageSocket`
            await self._flush(self._frames.data_to_send())

    async def open(self) -> None:
        """Raises `UnavailableError` where the client has gone."""
        named = [f"Sec-WebSocket-Protocol: {self._protocol}"] if self._protocol else []
        self.opened = True
        await self._write([_head("websocket", f"Sec-WebSocket-Accept: {accept_key(self._key)}", *named)])

    async def hear(self) -> bytes | str | None:
        """See `MessageSocket`. A ping is answered meanwhile."""
        if not self._arrived:
            self._give_place()
        while not self._arrived:
            if self._frames.state is not State.OPEN:
                return None
            data, self._trailing = self._trailing or await self._read(), b""
            self._pending += len(data)
            if data:
                self._frames.receive_data(data)
            else:
                self._frames.receive_eof()
            for event in self._frames.events_received():
                assert isinstance(event, Frame)
                self._took(event)
            await self._write(self._frames.data_to_send())
            if not self._arrived and not await self._fits():
                return None
        return self._arrived.popleft()

    async def _fits(self) -> bool:
        """What came of the next message may go on; otherwise the client is told to try again."""
        if self._pending + len(self._parts) <= SMALL_BYTES:
            return True
        now_s = asyncio.get_running_loop().time()
        if not self._has_place:
            try:
                await self._large.take()
            except TimeoutError:
                return await self._end(1013, "too many large messages at once: send smaller ones")
            self._has_place = True
            self._whole_by_s = now_s + LARGE_S_MAX
        elif now_s > self._whole_by_s:
            return await self._end(1008, "a large message does not come to its end")
        return True

    async def _end(self, code: int, why: str) -> bool:
        if self._frames.state is State.OPEN:
            self._frames.send_close(code, why)
            await self._write(self._frames.data_to_send())
        return False

    def _give_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self._large.give()

    async def say(self, message: bytes | str) -> None:
        """See `MessageSocket`."""
        if self._frames.state is not State.OPEN:
            raise UnavailableError(GONE)
        if isinstance(message, str):
            self._frames.send_text(message.encode())
        else:
            self._frames.send_binary(message)
        await self._write(self._frames.data_to_send())

    async def close(self) -> None:
        """Says so, and waits a moment for the client to say it as well, so that nothing that was said is lost."""
        self._give_place()
        self._parts.clear()
        if not self.opened:
            return
        if self._frames.state is State.OPEN:
            self._frames.send_close(1000)
        try:
            async with asyncio.timeout(_CLOSE_S_MAX):
                await self._write(self._frames.data_to_send())
                while self._frames.close_rcvd is None:
                    data = await self._read()
                    if not data:
                        return
                    self._frames.receive_data(data)
                    self._frames.events_received()
        except (TimeoutError, UnavailableError):
            return

    async def _read(self) -> bytes:
        """Nothing where the client has gone, or sends a large message and never its end."""
        try:
            async with asyncio.timeout(LARGE_S_MAX if self._has_place else None):
                return await self._reader.read(_READ_BYTES)
        except (OSError, TimeoutError):
            return b""

    def _took(self, frame: Frame) -> None:
        self._pending = 0
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts += frame.data
        if frame.fin:
            data = bytes(self._parts)
            self._parts.clear()
            self._arrived.append(data.decode(errors="replace") if self._is_text else data)

    async def _write(self, pieces: list[bytes]) -> None:
        try:
            async with self._saying, asyncio.timeout(WRITE_S_MAX):
                await self._flush(pieces)
        except TimeoutError as error:
            raise UnavailableError(GONE) from error

    async def _flush(self, pieces: list[bytes]) -> None:
        try:
            for piece in pieces:
                if piece:
                    self._writer.write(piece)
            await self._writer.drain()
        except OSError as error:
            raise UnavailableError(GONE) from error
