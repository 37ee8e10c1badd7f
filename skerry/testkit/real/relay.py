"""A line made of connections, for whoever may not make namespaces: a relay for TCP and UDP that misbehaves on order.

    python -m skerry.testkit.real.relay HOST TARGET_HOST TARGET_PORT SEED [NAMESPACE_FD]

It listens on any port of HOST, TCP and UDP alike, says which, and carries to the target. With NAMESPACE_FD it listens
where it was started and connects out of that namespace: the way by which kubectl reaches a cloud in one. It differs
from a real line in what no relay can do, which docs/howto/test-kit-real.md names: a dial over a blocked line is taken
by the kernel and then hears nothing, and a lost piece of a TCP stream is one that comes a retransmission later.

Told what to do by lines of JSON on standard input; ends when that is closed. Keeps what is on its way, in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from skerry.testkit.real.namespaces import enter
from skerry.testkit.real.pipe import Direction, Pipe

PIECE_BYTES: Final = 1400
"""A full packet on most links."""
PIECES_WAITING_MAX: Final = 32
"""Of one connection and direction; then the sender's own TCP has to wait."""
RETRANSMISSION_S: Final = 0.2
"""TCP's least retransmission time on Linux; one round trip more than that is what a lost packet costs."""
UDP_PEERS_MAX: Final = 1024
DIAL_S_MAX: Final = 10.0


class Way:
    """One direction, of all connections together."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.pipe = Pipe(chance)
        self.carried = 0
        self.lost = 0
        self._open = asyncio.Event()
        self._open.set()

    def change(self, direction: Direction) -> None:
        self.pipe.direction = direction
        if direction.blocked:
            self._open.clear()
        else:
            self._open.set()

    async def opened(self) -> None:
        """Wait while the way is blocked."""
        await self._open.wait()

    def arrival(self, size: int, now: float) -> float:
        """When a piece of a stream arrives: late when it was lost, and never not at all."""
        direction = self.pipe.direction
        late = 0.0
        while (at := self.pipe.offer(size, now + late)) is None:
            if direction.blocked:
                return now + late
            self.lost += 1
            late += RETRANSMISSION_S + 2 * direction.delay_ms / 1000
        return at


@dataclass(slots=True)
class Relay:
    """Everything between one place to listen and one target."""

    target: tuple[str, int]
    up: Way
    down: Way
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    refuse: bool = False
    """Who dials is dropped at once."""

    def sever(self) -> None:
        """End every connection, at both ends."""
        for task in self.connections:
            task.cancel()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one TCP connection until both directions are at their end, or either side drops it."""
        task = asyncio.current_task()
        assert task is not None
        if self.refuse:
            writer.transport.abort()
            return
        self.connections.add(task)
        try:
            await self.up.opened()
            async with asyncio.timeout(DIAL_S_MAX):
                far_reader, far_writer = await asyncio.open_connection(*self.target)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_carry(reader, far_writer, self.up))
                    tasks.create_task(_carry(far_reader, writer, self.down))
            finally:
                far_writer.transport.abort()
        except* (OSError, TimeoutError):
            pass  # a side that drops its connection is what this program is for
        finally:
            self.connections.discard(task)
            writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_WAITING_MAX)

    async def deliver() -> None:
        while True:
            at, piece = await waiting.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            await way.opened()
            if not piece:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(piece)
            way.carried += len(piece)
            await writer.drain()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deliver())
        last = 0.0
        while True:
            await way.opened()
            piece = await reader.read(PIECE_BYTES)
            last = max(last, way.arrival(len(piece), loop.time()))  # a stream never overtakes itself
            await waiting.put((last, piece))
            if not piece:
                return


class Datagrams(asyncio.DatagramProtocol):
    """UDP: one socket toward the target for each peer that was heard."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._near: asyncio.DatagramTransport | None = None
        self._far: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._opening: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._near = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        known = self._far.get(addr)
        if known is not None:
            send_later(self._relay.up, known.sendto, data)
        elif len(self._far) < UDP_PEERS_MAX:
            task = asyncio.get_running_loop().create_task(self._open(addr, data))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, peer: tuple[str, int], first: bytes) -> None:
        near = self._near
        assert near is not None

        def back(data: bytes) -> None:
            send_later(self._relay.down, lambda piece: near.sendto(piece, peer), data)

        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            transport, _ = await loop.create_datagram_endpoint(lambda: Answers(back), remote_addr=self._relay.target)
            self._far[peer] = transport
            send_later(self._relay.up, transport.sendto, first)


class Answers(asyncio.DatagramProtocol):
    """What comes back from the target, for one peer."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        del addr
        self._take(data)


def send_later(way: Way, send: Callable[[bytes], None], data: bytes) -> None:
    """Send a datagram when it arrives, if it does."""
    loop = asyncio.get_running_loop()
    at = way.pipe.offer(len(data), loop.time())
    if at is None:
        way.lost += 1
        return

    def arrive() -> None:
        if way.pipe.direction.blocked:
            way.lost += 1
        else:
            way.carried += len(data)
            send(data)

    loop.call_at(at, arrive)


async def obey(relay: Relay) -> None:
    """Do what standard input says, until it is closed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        for name, way in (("up", relay.up), ("down", relay.down)):
            if name in order:
                way.change(Direction(**order[name]))
        relay.refuse = order.get("refuse", relay.refuse)
        if order.get("sever"):
            relay.sever()
        up, down = relay.up, relay.down
        say({"up_bytes": up.carried, "down_bytes": down.carried, "up_lost": up.lost, "down_lost": down.lost})


def say(answer: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def both_sockets(host: str) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on the same free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(50):
        stream, datagram = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
        stream.bind((host, 0))
        try:
            datagram.bind((host, stream.getsockname()[1]))
        except OSError:
            stream.close()
            datagram.close()
            continue
        return stream, datagram
    raise SystemExit(f"no port is free on {host} for both TCP and UDP")


async def main(argv: list[str]) -> None:
    host, target_host, target_port, seed, *namespace = argv
    chance = random.Random(int(seed)).random  # noqa: S311 - a line that loses the same pieces again
    stream, datagram = both_sockets(host)
    port = int(stream.getsockname()[1])
    if namespace:
        enter(int(namespace[0]))
    relay = Relay((target_host, int(target_port)), Way(chance), Way(chance))
    server = await asyncio.start_server(relay.accept, sock=stream, limit=PIECE_BYTES * PIECES_WAITING_MAX)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Datagrams(relay), sock=datagram)
    say({"port": port})
    try:
        await obey(relay)
    finally:
        transport.close()
        server.close()
        relay.sever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
