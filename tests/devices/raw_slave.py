"""A Modbus TCP slave written from the specification alone, that can be made to misbehave.

Register `a` of unit `u` in the holding and input tables holds `a` until it is written; the tests see at once when
an answer belongs to another request.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = tuple[bytes, float]
"""A frame, and how many seconds after the request it is sent."""


@dataclass(kw_only=True)
class Slave:
    """What it holds, and how it misbehaves."""

    registers: dict[tuple[int, int], int] = field(default_factory=dict)
    coils: dict[tuple[int, int], bool] = field(default_factory=dict)
    units: frozenset[int] = frozenset(range(256))
    illegal: frozenset[int] = frozenset()
    without_mask_write: bool = False
    late_share: float = 0.0
    late_s: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    twist: Callable[[bytes, bytes], bytes | None] | None = None
    """Gets (request, right answer), returns the bytes to send, or None for silence."""
    in_pieces: bool = False
    hangs_up: bool = False
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    late: int = 0
    port: int = 0

    def answer(self, request: bytes) -> bytes | None:
        """The right answer to one frame, as the specification has it."""
        unit, function = request[6], request[7]
        if unit not in self.units:
            return None
        address, second = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
        count = second if function in (1, 2, 3, 4, 15, 16) else 1
        if any(at in self.illegal for at in range(address, address + count)):
            return self.frame(request, bytes([function | 0x80, 2]))
        return self.frame(request, self._body(request, unit, function, address, second))

    def _body(self, request: bytes, unit: int, function: int, address: int, second: int) -> bytes:
        places = range(address, address + second)
        match function:
            case 1 | 2:
                bits = [self.coils.get((unit, at), False) for at in places]
                data = bytearray((len(bits) + 7) // 8)
                for at, bit in enumerate(bits):
                    data[at // 8] |= bit << at % 8
                return bytes([function, len(data)]) + bytes(data)
            case 3 | 4:
                words = [self.registers.get((unit, at), at & 0xFFFF) for at in places]
                return bytes([function, 2 * len(words)]) + b"".join(word.to_bytes(2, "big") for word in words)
            case 5:
                self.coils[unit, address] = second == 0xFF00
                return request[7:12]
            case 6:
                self.registers[unit, address] = second
                return request[7:12]
            case 15:
                for at in range(second):
                    self.coils[unit, address + at] = bool(request[13 + at // 8] >> at % 8 & 1)
                return request[7:12]
            case 16:
                for at in range(second):
                    self.registers[unit, address + at] = int.from_bytes(request[13 + 2 * at : 15 + 2 * at], "big")
                return request[7:12]
            case 22 if not self.without_mask_write:
                or_mask = int.from_bytes(request[12:14], "big")
                held = self.registers.get((unit, address), address)
                self.registers[unit, address] = held & second | or_mask & ~second & 0xFFFF
                return request[7:14]
            case _:
                return bytes([function | 0x80, 1])

    @staticmethod
    def frame(request: bytes, body: bytes) -> bytes:
        return request[:4] + (len(body) + 1).to_bytes(2, "big") + request[6:7] + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; late answers are sent late, and others meanwhile."""
        self.connections += 1
        self.writers.add(writer)
        late: set[asyncio.Task[None]] = set()
        try:
            while True:
                head = await reader.readexactly(6)
                request = head + await reader.readexactly(int.from_bytes(head[4:6], "big"))
                self.requests.append(request)
                if self.hangs_up:
                    return
                frame = self.answer(request)
                if self.twist is not None and frame is not None:
                    frame = self.twist(request, frame)
                if frame is None:
                    continue
                if self.chance.random() < self.late_share:
                    self.late += 1
                    task = asyncio.create_task(self._send_late(writer, frame))
                    late.add(task)
                    task.add_done_callback(late.discard)
                elif self.in_pieces:
                    for byte in frame:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.001)
                else:
                    writer.write(frame)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for task in late:
                task.cancel()
            self.writers.discard(writer)
            writer.close()

    def hang_up_now(self) -> None:
        """Close every connection."""
        for writer in self.writers:
            writer.close()

    async def _send_late(self, writer: asyncio.StreamWriter, frame: bytes) -> None:
        await asyncio.sleep(self.late_s)
        writer.write(frame)


@asynccontextmanager
async def running(slave: Slave) -> AsyncGenerator[Slave]:
    """The slave on a free loopback port."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await slave.serve(reader, writer)
        finally:
            connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    slave.port = server.sockets[0].getsockname()[1]
    try:
        yield slave
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def until(true: Callable[[], bool] | Callable[[], Awaitable[bool]], *, deadline_s: float = 60.0) -> None:
    """Wait for a level, not for a time."""
    async with asyncio.timeout(deadline_s):
        while True:
            result = true()
            if isinstance(result, Awaitable):
                result = await result
            if result:
                return
            await asyncio.sleep(0.01)
