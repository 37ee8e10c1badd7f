"""Asks the servers of the gateway's own resolv.conf what is not the cluster's to answer.

Each question goes out under a random number from a port of its own, and only an answer to it from the server that was
asked counts (RFC 5452). Keeps nothing but the file's last reading; bounded by the questions under way.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edgecore.network.wire import is_answer_to
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.members import family_of

RESOLV_CONF: Final = Path("/etc/resolv.conf")
SERVERS_MAX: Final = 3
"""As resolv.conf(5) has it."""
ASK_S: Final = 2.0
ROUNDS: Final = 2
UNDER_WAY_MAX: Final = 256
_MESSAGE_BYTES_MAX: Final = 65_535


class Resolver(Frozen):
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Resolver:
    """Pure. What is not understood is passed over, as the C library does; of `search` the last line counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", address, *_] if family_of(address.partition("%")[0]):
                servers.append(address)
            case ["search" | "domain", *names]:
                searches = tuple(names)
            case _:
                continue
    return Resolver(servers=tuple(servers[:SERVERS_MAX]), searches=searches)


class HostResolver:
    """The file, read again when it changed: NetworkManager and DHCP write it."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self._path = path
        self._read = Resolver()
        self._version: tuple[int, int, int] | None = None

    def __call__(self) -> Resolver:
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            if version != self._version:
                self._read = parse_resolv_conf(self._path.read_text(errors="replace"))
                self._version = version
        except OSError:
            self._read, self._version = Resolver(), None
        return self._read


class Upstream:
    """`servers`: addresses, or (address, port); asked in order, one after the other."""

    def __init__(self, servers: Callable[[], Sequence[tuple[str, int]]]) -> None:
        self._servers = servers
        self._under_way = 0

    async def ask(self, query: bytes, *, over_tcp: bool) -> bytes:
        """The answer, under the number of the question. Raises `UnavailableError`."""
        servers = self._servers()
        if not servers:
            raise UnavailableError("this gateway knows no DNS server")
        if self._under_way >= UNDER_WAY_MAX:
            raise UnavailableError("too many questions to DNS servers are under way")
        self._under_way += 1
        try:
            return await self._ask(servers, query, over_tcp=over_tcp)
        finally:
            self._under_way -= 1

    async def _ask(self, servers: Sequence[tuple[str, int]], query: bytes, *, over_tcp: bool) -> bytes:
        asked = struct.pack("!H", secrets.randbits(16)) + query[2:]
        for _ in range(ROUNDS):
            for server in servers:
                try:
                    async with asyncio.timeout(ASK_S):
                        answer = await (_over_tcp if over_tcp else _over_udp)(server, asked)
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    continue  # the next one may know
                return query[:2] + answer[2:]
        raise UnavailableError("no DNS server answers")


class _Asking(asyncio.DatagramProtocol):
    def __init__(self, query: bytes, answer: asyncio.Future[bytes]) -> None:
        self._query = query
        self._answer = answer

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answer.done() and is_answer_to(data, self._query):
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


async def _over_udp(server: tuple[str, int], query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Asking(query, answer), remote_addr=server)
    try:
        transport.sendto(query)
        return await answer
    finally:
        transport.close()


async def _over_tcp(server: tuple[str, int], query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server, limit=_MESSAGE_BYTES_MAX)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        await writer.drain()
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
    finally:
        writer.close()
    if not is_answer_to(answer, query):
        raise OSError("an answer to another question")
    return answer
