"""The gateway's DNS server: UDP and TCP on one address. Decides nothing; keeps only what is under way.

Most questions are answered as they are read; those that wait for others have a task each. Bounded: so many of these,
in all and of one client, beyond them datagrams are dropped, as resolvers ask again; so many connections, each with a
time to say something.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Final, Protocol

from edgecore.network.dns_sockets import BACKLOG, DnsSockets, dns_sockets_at
from skerry.shares import Bound, Shares

LOG: Final = logging.getLogger(__name__)

QUESTIONS_MAX: Final = 512
"""That wait for others."""
CLIENT_QUESTIONS_MAX: Final = 64
"""Of one client: a pod that asks for names that nobody answers takes no other's place."""
TURN_MAX: Final = 32
TURN_S_MAX: Final = 0.005
"""Datagrams that are read before the rest of the agent has its turn: about a millisecond."""
_DATAGRAM_BYTES_MAX: Final = 4096
"""What is longer is no question."""
Address = tuple[str, int] | tuple[str, int, int, int]
CONNECTIONS: Final = Bound(total=BACKLOG, of_one=16)
"""From one address as well: what is cut over UDP is asked again over TCP, and by everybody."""
IDLE_S: Final = 10.0
"""For a question to be there, whole, and for an answer to be taken (RFC 7766 section 6.2.3)."""


class Answers(Protocol):
    """`Resolving`."""

    def at_once(self, data: bytes, /) -> bytes | None:
        """The answer over UDP, where nobody has to be waited for."""
        ...

    def answer(self, data: bytes, /, *, over_tcp: bool) -> Awaitable[bytes | None]: ...


class DnsServer:
    """`listen`, then `run` in a task group."""

    def __init__(self, answers: Answers, host: str, port: int) -> None:
        self._answers = answers
        self._host = host
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_clients: Counter[str] = Counter()
        """How many of these are each client's."""
        self._connections = Shares()
        self._tcp: asyncio.Server | None = None
        self._udp: socket.socket | None = None

    @property
    def port(self) -> int:
        """Where it listens, after `listen`."""
        return self._port

    @property
    def listens(self) -> bool:
        return self._tcp is not None

    async def listen(self, sockets: DnsSockets | None = None) -> None:
        """On these, if they are bound already. Raises `UnavailableError`."""
        made = sockets or dns_sockets_at(self._host, self._port)
        self._port = made.port
        self._udp = made.datagrams
        asyncio.get_running_loop().add_reader(made.datagrams, self._readable, made.datagrams)
        self._tcp = await asyncio.start_server(self._connected, sock=made.stream)

    async def run(self) -> None:
        """Until cancelled."""
        assert self._tcp is not None and self._udp is not None, "listening"
        LOG.info("cluster DNS listens address=%s:%d", self._host, self._port)
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().remove_reader(self._udp)
            self._udp.close()
            self._tcp.close()
            for task in tuple(self._tasks):
                task.cancel()

    def _readable(self, udp: socket.socket) -> None:
        """Some of what waits; the rest when others had their turn."""
        end_s = time.monotonic() + TURN_S_MAX
        for _ in range(TURN_MAX):
            if time.monotonic() > end_s:
                return
            try:
                data, address = udp.recvfrom(_DATAGRAM_BYTES_MAX)
            except OSError:  # nothing is left; or of a client that has gone (ICMP), whom nobody tells
                return
            try:
                answer = self._answers.at_once(data)
            except Exception:  # see `_answered`
                LOG.exception("a question to the cluster DNS failed")
                continue
            if answer is not None:
                _send(udp, answer, address)
            elif len(self._tasks) < QUESTIONS_MAX and self._of_clients[address[0]] < CLIENT_QUESTIONS_MAX:
                self._of_clients[address[0]] += 1
                task = asyncio.create_task(self._reply(udp, data, address))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _reply(self, udp: socket.socket, data: bytes, address: Address) -> None:
        try:
            answer = await self._answered(data, over_tcp=False)
        finally:
            self._of_clients[address[0]] -= 1
            if not self._of_clients[address[0]]:
                del self._of_clients[address[0]]
        if answer is not None:
            _send(udp, answer, address)

    async def _answered(self, data: bytes, *, over_tcp: bool) -> bytes | None:
        try:
            return await self._answers.answer(data, over_tcp=over_tcp)
        # The root of one question's work: a fault of ours in one must not end the agent, whose pods can ask anything.
        except Exception:
            LOG.exception("a question to the cluster DNS failed")
            return None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address: str = (writer.get_extra_info("peername") or ("",))[0]
        if not self._connections.has_room(address, CONNECTIONS):
            writer.close()
            return
        self._connections.take(address)
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                answer = await self._answered(data, over_tcp=True)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                async with asyncio.timeout(IDLE_S):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return  # it has said all that it wanted
        finally:
            self._connections.give(address)
            writer.close()


def _send(udp: socket.socket, answer: bytes, address: Address) -> None:
    """Where the line is full, or the client can't be reached, it asks again."""
    with contextlib.suppress(OSError):
        udp.sendto(answer, address)
