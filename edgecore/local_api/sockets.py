"""A client's WebSocket on the local API: exec, attach and port-forward at the gateway itself, with no cloud at all.

The frames are `websockets`' own protocol core, which the link has loaded already; the bytes are those of a connection
whose HTTP has ended with 101. Bounded: a message, and what is read ahead. Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from edgecore.local_api.connection import Reader, Writer
from skerry.errors import UnavailableError
from skerry.transport.sockets import GONE, MESSAGE_BYTES_MAX, WRITE_S_MAX

_READ_BYTES: Final = 64 * 1024
_CLOSE_S_MAX: Final = 2.0
"""For a client to answer that the conversation is over."""


class LocalSocket:
    """See `skerry.transport.sockets.MessageSocket`. `trailing`: bytes that came behind the handshake."""

    def __init__(self, reader: Reader, writer: Writer, *, key: str, protocol: str, trailing: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key
        self._protocol = protocol
        self._frames = Protocol(Side.SERVER, state=State.OPEN, max_size=MESSAGE_BYTES_MAX)
        self._trailing = trailing
        self._arrived: deque[bytes | str] = deque()
        self._parts: list[Frame] = []
        self._saying = asyncio.Lock()
        self.opened = False

    async def open(self) -> None:
        """Raises `UnavailableError` where the client has gone."""
        head = [
            "HTTP/1.1 101 Switching Protocols",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Accept: {accept_key(self._key)}",
            *([f"Sec-WebSocket-Protocol: {self._protocol}"] if self._protocol else []),
        ]
        self.opened = True
        await self._write([("\r\n".join(head) + "\r\n\r\n").encode("latin-1")])

    async def hear(self) -> bytes | str | None:
        """See `MessageSocket`. A ping is answered meanwhile."""
        while not self._arrived:
            if self._frames.state is not State.OPEN:
                return None
            data, self._trailing = self._trailing or await self._read(), b""
            if data:
                self._frames.receive_data(data)
            else:
                self._frames.receive_eof()
            for event in self._frames.events_received():
                assert isinstance(event, Frame)
                self._took(event)
            await self._write(self._frames.data_to_send())
        return self._arrived.popleft()

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
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:
            return b""

    def _took(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._parts.append(frame)
        if frame.fin:
            data = b"".join(bytes(part.data) for part in self._parts)
            is_text = self._parts[0].opcode is Opcode.TEXT
            self._parts = []
            self._arrived.append(data.decode(errors="replace") if is_text else data)

    async def _write(self, pieces: list[bytes]) -> None:
        try:
            async with self._saying, asyncio.timeout(WRITE_S_MAX):
                for piece in pieces:
                    if piece:
                        self._writer.write(piece)
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise UnavailableError(GONE) from error
