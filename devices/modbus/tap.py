"""A tap on a line: a master connects here instead of to the line, and all that passes is told.

Bytes pass unchanged, whatever they are. Each master has a connection of its own; a serial line has one at a time.
Nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Literal

from devices.bus import LineDownError
from devices.modbus.channels import Channel, OpenChannel
from devices.modbus.recording import Piece


class Tap:
    """Passes bytes between masters and a line."""

    def __init__(self, open_channel: OpenChannel, tell: Callable[[Piece], object]) -> None:
        self._open = open_channel
        self._tell = tell
        self._begun_s = asyncio.get_running_loop().time()

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listen; the server is the caller's to close. Raises `OSError`."""
        return await asyncio.start_server(self._master, host, port)

    async def _master(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel: Channel | None = None
        try:
            channel = await self._open()
            async with asyncio.TaskGroup() as group:
                back = group.create_task(self._back(channel, writer))
                while data := await reader.read(4096):
                    self._told(">", data)
                    channel.send(data)
                back.cancel()
        except* (LineDownError, ConnectionError):
            pass  # whoever is left sees it by the other's end
        finally:
            if channel is not None:
                channel.close()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _back(self, channel: Channel, writer: asyncio.StreamWriter) -> None:
        inbox = channel.inbox
        while not inbox.lost:
            inbox.arrived.clear()
            if not inbox.buffer:
                await inbox.arrived.wait()
            data = bytes(inbox.buffer)
            inbox.buffer.clear()
            if data:
                self._told("<", data)
                writer.write(data)
        writer.close()

    def _told(self, way: Literal[">", "<"], data: bytes) -> None:
        self._tell(Piece(at_s=asyncio.get_running_loop().time() - self._begun_s, way=way, data=data))
