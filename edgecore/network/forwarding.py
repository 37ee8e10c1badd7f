"""Service ports carried by the agent itself, where it may not change the kernel's rules: the last resort.

Each byte passes through the agent, and a pod sees the gateway's address, never its client's. What can be listened on
without rights is node ports, on every address, and for the gateway's own programs a service's address on loopback
(`loopback_of`). Keeps nothing over its end; what is under way then breaks. Bounded: so many connections, clients
and flows of datagrams at a time, each flow with a time to be silent.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from edgecore.network.balancing import Backend, Front
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.listening import datagram_socket, listening_socket

LOG: Final = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 512
CLIENTS_MAX: Final = 4096
"""Whose backend is remembered (session affinity)."""
FLOWS_MAX: Final = 512
FLOW_S: Final = 60.0
CONNECT_S: Final = 5.0
CHUNK_BYTES: Final = 64 << 10
_EVERYWHERE: Final = {"IPv4": "0.0.0.0", "IPv6": "::"}


class Place(Frozen, order=True):
    """Where is listened."""

    protocol: str
    host: str
    port: int


def loopback_of(address: str) -> str:
    """Where the gateway's own programs find a service: 127 instead of the first number of its address; "" for none,
    as IPv6 has one loopback address only."""
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        return ""
    return str(ipaddress.IPv4Address((127 << 24) | (int(found) & 0xFFFFFF)))


def places_of(fronts: Sequence[Front]) -> dict[Place, tuple[Front, bool]]:
    """Where to listen, for which port, and whether that is asked from outside. Of two the first has it. Where nobody
    is ready nobody listens: the kernel then refuses at once."""
    found: dict[Place, tuple[Front, bool]] = {}
    for front in (each for each in fronts if each.protocol in ("tcp", "udp")):
        if front.node_port and front.outside_backends:
            place = Place(protocol=front.protocol, host=_EVERYWHERE[front.family], port=front.node_port)
            found.setdefault(place, (front, True))
        for address in front.addresses if front.inside_backends else ():
            host = loopback_of(address)
            if host:
                found.setdefault(Place(protocol=front.protocol, host=host, port=front.port), (front, False))
    return found


class _Turns:
    """Whose turn it is, and who stays where it was."""

    def __init__(self) -> None:
        self.backends: tuple[Backend, ...] = ()
        self.sticky_s = 0
        self._next = 0
        self._clients: OrderedDict[str, tuple[Backend, float]] = OrderedDict()

    def take(self, client: str, now: float) -> list[Backend]:
        """All backends, in the order in which they are to be tried."""
        if not self.backends:
            return []
        first = self._next % len(self.backends)
        self._next += 1
        order = [*self.backends[first:], *self.backends[:first]]
        kept = self._clients.get(client)
        if self.sticky_s and kept is not None and kept[1] > now and kept[0] in self.backends:
            order = [kept[0], *(each for each in order if each != kept[0])]
        return order

    def took(self, client: str, backend: Backend, now: float) -> None:
        if not self.sticky_s:
            return
        self._clients[client] = (backend, now + self.sticky_s)
        self._clients.move_to_end(client)
        while len(self._clients) > CLIENTS_MAX:
            self._clients.popitem(last=False)


class _Listener(Protocol):
    """One place."""

    turns: _Turns

    async def open(self, place: Place) -> None:
        """Raises `OSError`."""
        ...

    def close(self) -> None: ...


class _Streams:
    def __init__(self, under_way: set[asyncio.Task[None]]) -> None:
        self.turns = _Turns()
        self._under_way = under_way
        self._server: asyncio.Server | None = None

    async def open(self, place: Place) -> None:
        made = listening_socket(place.host, place.port, backlog=128)
        self._server = await asyncio.start_server(self._connected, sock=made, limit=CHUNK_BYTES)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._under_way) >= CONNECTIONS_MAX:
            _reset(writer)
            return
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        client = str(writer.get_extra_info("peername")[0])
        for backend in self.turns.take(client, loop.time()):
            try:
                async with asyncio.timeout(CONNECT_S):
                    answers, asks = await asyncio.open_connection(backend.address, backend.port, limit=CHUNK_BYTES)
            except (OSError, TimeoutError):
                continue  # the next one may be there
            self.turns.took(client, backend, loop.time())
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, asks))
                    both.create_task(_pump(answers, writer))
            finally:
                asks.close()
                writer.close()
            return
        _reset(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One way, until its end; who has said all may still listen."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """As a kernel refuses: nobody waits for an answer."""
    made = writer.get_extra_info("socket")
    if made is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    """Each client has a socket of its own to its backend, for as long as it speaks."""

    def __init__(self) -> None:
        self.turns = _Turns()
        self._transport: asyncio.DatagramTransport | None = None
        self._flows: OrderedDict[tuple[str, int], _Flow] = OrderedDict()

    async def open(self, place: Place) -> None:
        made = datagram_socket(place.host, place.port)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=made)

    def close(self) -> None:
        for flow in [*self._flows.values()]:
            flow.close()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        now = asyncio.get_running_loop().time()
        flow = self._flows.get(addr[:2])
        if flow is not None and flow.backend not in self.turns.backends:
            flow.close()  # it is not ready any more
            flow = None
        if flow is None:
            order = self.turns.take(addr[0], now)
            if not order:
                return
            self.turns.took(addr[0], order[0], now)
            while len(self._flows) >= FLOWS_MAX:
                next(iter(self._flows.values())).close()
            flow = _Flow(order[0], partial(self._answer, addr), partial(self._flows.pop, addr[:2], None))
            self._flows[addr[:2]] = flow
            flow.begin()
        self._flows.move_to_end(addr[:2])
        flow.send(data)

    def _answer(self, addr: tuple[str, int], data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)


class _Flow(asyncio.DatagramProtocol):
    WAITING_MAX: Final = 8

    def __init__(self, backend: Backend, answer: partial[None], gone: partial[object]) -> None:
        self.backend = backend
        self._answer = answer
        self._gone = gone
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self.backend.address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.connect((self.backend.address, self.backend.port))
        except OSError:
            made.close()
            self.close()
            return
        self._task = loop.create_task(self._open(made))

    async def _open(self, made: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=made)
        if self._closed:
            self._transport.close()
            return
        for data in self._waiting:
            self._transport.sendto(data)
        self._waiting.clear()

    def send(self, data: bytes) -> None:
        self._alive()
        if self._transport is not None:
            self._transport.sendto(data)
        elif len(self._waiting) < self.WAITING_MAX:
            self._waiting.append(data)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._alive()
        self._answer(data)

    def error_received(self, exc: Exception) -> None:
        self.close()  # nobody listens there

    def _alive(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(FLOW_S, self.close)

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
        self._gone()


class UserspaceCarrier:
    """A `Carrier`: see the module."""

    name: str = "userspace"
    in_kernel: bool = False

    def __init__(self) -> None:
        self._listeners: dict[Place, _Listener] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._refused: dict[Place, str] = {}

    async def check(self) -> None:
        """There is nothing that could be missing."""

    async def carry(self, fronts: Sequence[Front], own_pods: Sequence[str]) -> None:
        """Listens where it has to, and nowhere else. Raises `UnavailableError` naming a place that it can't have,
        when it has all others."""
        wanted = places_of(fronts)
        for place in [place for place in self._listeners if place not in wanted]:
            self._listeners.pop(place).close()
        self._refused = {}
        for place, (front, outside) in sorted(wanted.items(), key=lambda item: item[0]):
            listener: _Listener | None = self._listeners.get(place)
            if listener is None:
                listener = _Streams(self._under_way) if place.protocol == "tcp" else _Datagrams()
                try:
                    await listener.open(place)
                except OSError as error:
                    self._refused[place] = error.strerror or str(error)
                    continue
                self._listeners[place] = listener
            listener.turns.backends = front.outside_backends if outside else front.inside_backends
            listener.turns.sticky_s = front.sticky_s
        if self._refused:
            place, why = next(iter(self._refused.items()))
            more = f" and {len(self._refused) - 1} more" if len(self._refused) > 1 else ""
            raise UnavailableError(f"{place.protocol} {place.host}:{place.port}{more}: {why}")

    async def intact(self) -> bool:
        """Nobody else can take it away."""
        return True

    async def clear(self) -> None:
        await self.close()

    async def close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for task in [*self._under_way]:
            task.cancel()
