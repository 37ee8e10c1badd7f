"""The gateway's DNS server: UDP and TCP on one address. Decides nothing; keeps only what is under way.

Bounded: so many questions at a time, beyond them datagrams are dropped, as resolvers ask again; so many connections,
each with a time to say something.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable
from typing import Final, Protocol

from skerry.errors import UnavailableError
from skerry.listening import datagram_socket, listening_socket

LOG: Final = logging.getLogger(__name__)

QUESTIONS_MAX: Final = 512
CONNECTIONS_MAX: Final = 64
IDLE_S: Final = 10.0
"""For a question to be there, whole, and for an answer to be taken (RFC 7766 section 6.2.3)."""


class Answer(Protocol):
    """`Resolving.answer`."""

    def __call__(self, data: bytes, /, *, over_tcp: bool) -> Awaitable[bytes | None]: ...


class DnsServer:
    """`listen`, then `run` in a task group."""

    def __init__(self, answer: Answer, host: str, port: int) -> None:
        self._answer = answer
        self._host = host
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None

    @property
    def port(self) -> int:
        """Where it listens, after `listen`."""
        return self._port

    @property
    def listens(self) -> bool:
        return self._tcp is not None

    async def listen(self) -> None:
        """Raises `UnavailableError`."""
        try:
            stream = listening_socket(self._host, self._port, backlog=CONNECTIONS_MAX)
        except OSError as error:
            raise UnavailableError(f"DNS on {self._host}:{self._port}: {error.strerror}") from error
        self._port = stream.getsockname()[1]
        try:
            datagrams = datagram_socket(self._host, self._port)
        except OSError as error:
            stream.close()
            raise UnavailableError(f"DNS on {self._host}:{self._port}: {error.strerror}") from error
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=datagrams)
        self._tcp = await asyncio.start_server(self._connected, sock=stream)

    async def run(self) -> None:
        """Until cancelled."""
        assert self._tcp is not None and self._udp is not None, "listening"
        LOG.info("cluster DNS listens address=%s:%d", self._host, self._port)
        try:
            await asyncio.Event().wait()
        finally:
            self._udp.close()
            self._tcp.close()
            for task in tuple(self._tasks):
                task.cancel()

    def received(self, data: bytes, address: tuple[str, int]) -> None:
        """One datagram."""
        if len(self._tasks) >= QUESTIONS_MAX:
            return
        task = asyncio.create_task(self._reply(data, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, data: bytes, address: tuple[str, int]) -> None:
        answer = await self._answered(data, over_tcp=False)
        if answer is not None and self._udp is not None and not self._udp.is_closing():
            self._udp.sendto(answer, address)

    async def _answered(self, data: bytes, *, over_tcp: bool) -> bytes | None:
        try:
            return await self._answer(data, over_tcp=over_tcp)
        # The root of one question's work: a fault of ours in one must not end the agent, whose pods can ask anything.
        except Exception:
            LOG.exception("a question to the cluster DNS failed")
            return None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
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
            self._connections -= 1
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.received(data, addr)

    def error_received(self, exc: Exception) -> None:
        """A client that has gone (ICMP): nobody is left to tell."""
