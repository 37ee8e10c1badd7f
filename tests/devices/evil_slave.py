"""A Modbus slave on a line without transaction ids, written from the specification alone, that misbehaves by chance.

As a real one it does one thing after the other: an answer that is late holds up what comes after. It speaks RTU or
ASCII, on a pseudo-terminal or over TCP. Register `a` holds `a`, so that a value of another request is seen.
"""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.devices.raw_slave import Slave

FAULTS = ("late", "garbage", "twice", "cut", "unit", "function", "count", "bits", "silent", "before", "after")


def crc(data: bytes) -> bytes:
    """Bit by bit, as in the specification's flow chart."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            low = value & 1
            value >>= 1
            if low:
                value ^= 0xA001
    return bytes([value & 0xFF, value >> 8])


@dataclass(kw_only=True)
class EvilSlave:
    """What it does wrong, and how often."""

    faults: dict[str, float] = field(default_factory=dict)
    """Fault by its share of the answers."""
    late_s: tuple[float, float] = (0.0, 0.0)
    ascii: bool = False
    with_echo: bool = False
    memory: Slave = field(default_factory=Slave)
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    seen: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    sent_s: list[float] = field(default_factory=list)
    """When each request arrived, by the loop's clock."""
    speak: Callable[[bytes], None] = field(default=lambda _: None)
    """Say something of itself."""
    port: str = ""
    tcp_port: int = 0

    def framed(self, body: bytes) -> bytes:
        if self.ascii:
            return b":" + (body + bytes([-sum(body) & 0xFF])).hex().upper().encode() + b"\r\n"
        return body + crc(body)

    def request_in(self, buffer: bytearray) -> bytes | None:
        """Unit, function and data of the next request."""
        if self.ascii:
            end = buffer.find(b"\r\n")
            if end < 0:
                return None
            frame = bytes.fromhex(buffer[1:end].decode())
            del buffer[: end + 2]
            return frame[:-1]
        if len(buffer) < 2:
            return None
        size = 8
        if buffer[1] in (15, 16):
            if len(buffer) < 7:
                return None
            size = 9 + buffer[6]
        elif buffer[1] == 22:
            size = 10
        if len(buffer) < size:
            return None
        frame = bytes(buffer[:size])
        del buffer[:size]
        assert crc(frame[:-2]) == frame[-2:], f"a damaged request: {frame.hex()}"
        return frame[:-2]

    def answer(self, request: bytes) -> bytes | None:
        if request[1] == 8:
            return request
        tcp = self.memory.answer(bytes(6) + request)
        return None if tcp is None else tcp[6:]

    def fault(self) -> str:
        roll = self.chance.random()
        for name, share in self.faults.items():
            if roll < share:
                self.seen[name] = self.seen.get(name, 0) + 1
                return name
            roll -= share
        return ""

    async def serve(self, send: Callable[[bytes], None], next_bytes: Callable[[], asyncio.Future[bytes]]) -> None:
        buffer = bytearray()
        self.speak = send
        while True:
            request = self.request_in(buffer)
            if request is None:
                buffer += await next_bytes()
                continue
            self.requests += 1
            self.sent_s.append(asyncio.get_running_loop().time())
            if self.with_echo:
                send(self.framed(request))
            body = self.answer(request)
            if body is not None:
                await self.give(body, self.fault(), send)

    async def give(self, body: bytes, fault: str, send: Callable[[bytes], None]) -> None:
        frame, noise = self.framed(body), self.chance.randbytes(self.chance.randrange(1, 12))
        match fault:
            case "late":
                await asyncio.sleep(self.chance.uniform(*self.late_s))
                send(frame)
            case "garbage":
                send(noise)
            case "twice":
                send(frame)
                send(frame)
            case "cut":
                send(frame[: self.chance.randrange(1, len(frame))])
            case "unit":
                send(self.framed(bytes([body[0] % 200 + 1]) + body[1:]))
            case "function":
                send(self.framed(body[:1] + bytes([7 - body[1]]) + body[2:]))
            case "count":
                words = body[3:] + bytes(2) if self.chance.random() < 0.5 else body[3:-2]
                send(self.framed(body[:2] + bytes([len(words)]) + words))
            case "bits":
                damaged = bytearray(frame)
                damaged[self.chance.randrange(len(frame))] ^= 1 << self.chance.randrange(8)
                send(bytes(damaged))
            case "before":
                send(noise + frame)
            case "after":
                send(frame + noise)
            case "silent":
                pass
            case _:
                send(frame)


@asynccontextmanager
async def on_a_pty(slave: EvilSlave) -> AsyncGenerator[EvilSlave]:
    """The slave at one end of a pseudo-terminal; `slave.port` is the other."""
    mine, theirs = os.openpty()
    tty.setraw(mine)
    tty.setraw(theirs)
    os.set_blocking(mine, False)
    slave.port = os.ttyname(theirs)
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[bytes]] = []
    arrived = bytearray()

    def readable() -> None:
        arrived.extend(os.read(mine, 4096))
        if waiting and not waiting[0].done():
            waiting.pop().set_result(bytes(arrived))
            arrived.clear()

    def next_bytes() -> asyncio.Future[bytes]:
        future: asyncio.Future[bytes] = loop.create_future()
        if arrived:
            future.set_result(bytes(arrived))
            arrived.clear()
        else:
            waiting[:] = [future]
        return future

    loop.add_reader(mine, readable)
    task = asyncio.create_task(slave.serve(lambda data: void(os.write(mine, data)), next_bytes))
    try:
        yield slave
    finally:
        loop.remove_reader(mine)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        os.close(theirs)
        os.close(mine)


@asynccontextmanager
async def on_tcp(slave: EvilSlave) -> AsyncGenerator[EvilSlave]:
    """The slave behind a gateway that passes bytes on: what is late goes to whoever is connected then."""
    writers: list[asyncio.StreamWriter] = []
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers[:] = [writer]
        while data := await reader.read(4096):
            queue.put_nowait(data)
        writer.close()

    def send(data: bytes) -> None:
        if writers and not writers[0].is_closing():
            writers[0].write(data)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    slave.tcp_port = server.sockets[0].getsockname()[1]
    task = asyncio.create_task(slave.serve(send, lambda: asyncio.ensure_future(queue.get())))
    try:
        yield slave
    finally:
        server.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for writer in writers:
            writer.close()


def void(_: object) -> None:
    """For lambdas that return nothing."""
