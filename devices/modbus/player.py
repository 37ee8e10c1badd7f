"""A played slave at work, on TCP or on a serial port.

One request after the other, as real slaves do: an answer that is late holds up the next. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from devices.bus import LineDownError, WrongAnswerError
from devices.modbus.channels import Channel, open_serial
from devices.modbus.endpoints import SerialEndpoint
from devices.modbus.faults import Faults, sendings, spoiled
from devices.modbus.frames import Framing
from skerry.ports import Ids

Answer = Callable[[int, bytes], "bytes | None"]
"""Unit and request in, the answer out; None for silence."""

QUIET_S: Final = 0.05
"""After damage on a line without lengths, a request begins after so much silence."""


class Player:
    """Answers requests."""

    def __init__(self, answer: Answer, framing: Framing, *, ids: Ids, faults: Faults | None = None) -> None:
        self._answer = answer
        self._framing = framing
        self._ids = ids
        self._faults = faults or Faults()
        self.requests = 0

    async def serve_tcp(self, host: str, port: int) -> asyncio.Server:
        """Listen; the server is the caller's to close. Raises `OSError`."""
        return await asyncio.start_server(self._connection, host, port)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        try:
            while data := await reader.read(4096):
                buffer += data
                await self._take(buffer, writer.write)
        except (ConnectionError, WrongAnswerError):
            pass  # who sends what is no request has lost its senses: the connection ends
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def serve_serial(self, endpoint: SerialEndpoint, opened: Callable[[], object]) -> None:
        """Until cancelled; `opened` is told once requests are heard. Raises `LineDownError`."""
        channel = open_serial(endpoint)
        try:
            opened()
            while True:
                await self._port(channel)
        finally:
            channel.close()

    async def _port(self, channel: Channel) -> None:
        inbox = channel.inbox
        inbox.arrived.clear()
        if inbox.lost:
            raise LineDownError(inbox.lost)
        await inbox.arrived.wait()
        try:
            await self._take(inbox.buffer, channel.send)
        except WrongAnswerError:
            await inbox.quiet(QUIET_S)
            inbox.buffer.clear()

    async def _take(self, buffer: bytearray, send: Callable[[bytes], object]) -> None:
        """Answer every whole request in the buffer."""
        while buffer and (taken := self._framing.take_request(buffer)) is not None:
            del buffer[: taken.used]
            self.requests += 1
            pdu = self._answer(taken.unit, taken.pdu)
            if pdu is None:
                continue
            fault = self._faults.pick(taken.unit, self._ids.unit())
            unit, pdu = spoiled(fault, taken.unit, pdu)
            frame = self._framing.encode(unit, pdu, taken.transaction)
            for sending in sendings(fault, frame, self._ids.unit(), late_s=self._faults.late_s):
                if sending.after_s:
                    await asyncio.sleep(sending.after_s)
                send(sending.frame)
