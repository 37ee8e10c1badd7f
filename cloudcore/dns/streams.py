"""The TCP and TLS side: many questions on a connection, answered in order (RFC 7766, 7858).

Bounded: connections in all and of one address, what waits to be read and to be taken, how long nothing may be said
and how long a question may take to arrive. Keeps connections; a crash cuts them, and clients ask again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

from cloudcore.dns.counts import Counts
from cloudcore.dns.replies import Client, Transport
from cloudcore.dns.responder import Responder
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.listening import listening_socket
from skerry.waits import until_set

LOG: Final = logging.getLogger(__name__)
BACKLOG: Final = 1024
WAITING_MAX: Final = 64 << 10
"""Bytes of answers that a client has not taken; beyond them its questions aren't read."""
TLS_S_MAX: Final = 5.0


class StreamSettings(Frozen):
    connections: int = 1000
    connections_per_client: int = 50
    idle_s: float = 10.0
    """Without a whole question, and without taking what waits (RFC 7766 section 6.2.3)."""
    drain_s: float = 10.0
    """After a stop connections that are there may go on for so long."""


def stream_socket(address: str, port: int) -> socket.socket:
    """Raises `UnavailableError`."""
    try:
        return listening_socket(address, port, backlog=BACKLOG)
    except OSError as error:
        raise UnavailableError(f"can't listen for DNS on {address} port {port} (TCP): {error.strerror}") from error


class Streams:
    """All connections of this process."""

    def __init__(self, responder: Responder, counts: Counts, settings: StreamSettings) -> None:
        self.responder = responder
        self.counts = counts
        self.settings = settings
        self._connections: set[_Connection] = set()
        self._by_client: Counter[bytes] = Counter()
        self._stop = asyncio.Event()
        self._empty = asyncio.Event()
        self._leaving = False

    async def run(
        self,
        plain: Sequence[socket.socket],
        secured: Sequence[socket.socket],
        tls: ssl.SSLContext | None,
        serving: Callable[[], None],
    ) -> None:
        """Serve until `stop`, and then those who are connected for a little longer; `serving` is called once."""
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(lambda: _Connection(self, "tcp"), sock=each) for each in plain]
        if tls is not None:
            servers += [
                await loop.create_server(
                    lambda: _Connection(self, "tls"), sock=each, ssl=tls, ssl_handshake_timeout=TLS_S_MAX
                )
                for each in secured
            ]
        serving()
        await self._stop.wait()
        for server in servers:
            server.close()
        for connection in tuple(self._connections):
            connection.leave()
        self._leaving = True
        if self._connections:
            await until_set(self._empty, within_s=self.settings.drain_s)
        for connection in tuple(self._connections):
            connection.abort()

    def stop(self) -> None:
        self._stop.set()

    def enter(self, connection: _Connection) -> bool:
        """Whether there is room for one more."""
        address = connection.client.address
        if (
            len(self._connections) >= self.settings.connections
            or self._by_client[address] >= self.settings.connections_per_client
        ):
            return False
        self._connections.add(connection)
        self._by_client[address] += 1
        self.counts.streams += 1
        return True

    def left(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            address = connection.client.address
            self._by_client[address] -= 1
            if not self._by_client[address]:
                del self._by_client[address]
            if self._leaving and not self._connections:
                self._empty.set()


class _Connection(asyncio.Protocol):
    """One client's."""

    def __init__(self, streams: Streams, transport: Transport) -> None:
        self.client = Client(address=b"", transport=transport)
        self._streams = streams
        self._kind: Transport = transport
        self._line: asyncio.Transport | None = None
        self._waiting = bytearray()
        self._full = False
        self._more: Iterator[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "streams come as such"
        self._line = transport
        self.client = Client(address=_packed(transport.get_extra_info("peername")), transport=self._kind)
        if not self._streams.enter(self):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WAITING_MAX)
        self._heard_at = asyncio.get_running_loop().time()
        self._arm()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._heard_at + self._streams.settings.idle_s - loop.time()
        if left_s <= 0:
            self.abort()
        else:
            self._timer = loop.call_later(left_s, self._arm)

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        self._answer()

    def _answer(self) -> None:
        """Every whole question that has room for its answer."""
        line, waiting = self._line, self._waiting
        assert line is not None, "connected"
        begin = 0
        if not self._send_more():
            return
        while not self._full and len(waiting) - begin >= 2:
            end = begin + 2 + int.from_bytes(waiting[begin : begin + 2], "big")
            if len(waiting) < end:
                break
            packet = bytes(waiting[begin + 2 : end])
            begin = end
            self._heard_at = asyncio.get_running_loop().time()
            reply = self._streams.responder.reply(packet, self.client, time.time())
            if reply is None:
                self.abort()  # no query: nothing that comes behind it is to be trusted
                return
            self._streams.counts.add(reply)
            if reply.notified and self._streams.responder.desk.on_notify is not None:
                self._streams.responder.desk.on_notify(reply.notified)
            self._streams.counts.stream_answers += 1
            line.write(len(reply.data).to_bytes(2, "big") + reply.data)
            self._more = reply.more
            if not self._send_more():
                break
        del waiting[:begin]

    def _send_more(self) -> bool:
        """A transfer's messages, as they are taken; whether all have gone."""
        assert self._line is not None, "connected"
        while self._more is not None:
            if self._full:
                return False
            message = next(self._more, None)
            if message is None:
                self._more = None
            else:
                self._line.write(len(message).to_bytes(2, "big") + message)
        return True

    def pause_writing(self) -> None:
        self._full = True
        if self._line is not None:
            self._line.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        if self._line is not None and not self._line.is_closing():
            self._heard_at = asyncio.get_running_loop().time()
            self._answer()
            if not self._full:
                self._line.resume_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._streams.left(self)

    def leave(self) -> None:
        """Close when nothing is under way."""
        if self._line is not None and not self._waiting and self._more is None:
            self._line.close()

    def abort(self) -> None:
        if self._line is not None:
            self._line.abort()


def _packed(peer: object) -> bytes:
    host = str(cast("tuple[object, ...]", peer)[0])
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).packed
