"""Asks the servers of the gateway's own resolv.conf what is not the cluster's to answer.

Each question goes out under a random number from a port of its own, and only an answer to it from the server that was
asked counts (RFC 5452). After a server that is silent, or says that it can't tell, the next is asked, as the C
library does; silent ones come last for a while, and where nobody answered, nobody waits for them (RFC 9520): a
gateway without a link has apps that ask again and again. Keeps the file's last reading, and who was silent; bounded
by the questions under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from skerry.dns.answers import is_answer_to, is_unable
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.members import family_of

RESOLV_CONF: Final = Path("/etc/resolv.conf")
SERVERS_MAX: Final = 3
"""As resolv.conf(5) has it."""
ASK_S: Final = 1.5
ALL_S: Final = 4.5
"""For all servers together: clients wait five seconds (resolv.conf(5), `timeout`)."""
SILENT_S: Final = 30.0
"""How long a server that said nothing comes after those that speak."""
NOBODY_S: Final = 3.0
"""How long it is taken that nobody answers, when nobody did."""
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
        self._silent_until_s: dict[tuple[str, int], float] = {}
        self._nobody_until_s = 0.0
        self._answered_s = 0.0
        """When any of them answered last."""

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
        loop = asyncio.get_running_loop()
        if self._silent_until_s.keys() - {*servers}:  # they are others now
            self._silent_until_s, self._nobody_until_s = {}, 0.0
        if self._nobody_until_s > loop.time():
            raise UnavailableError("no DNS server answers")
        left = sorted(servers, key=lambda each: self._silent_until_s.get(each, 0.0) > loop.time())
        begun_s = loop.time()
        asked = struct.pack("!H", secrets.randbits(16)) + query[2:]
        unable = b""
        with contextlib.suppress(TimeoutError):  # the client has given up by then
            async with asyncio.timeout(ALL_S):
                for server in (*left, *left):
                    if server not in left:
                        continue
                    answer = await self._asked(server, asked, over_tcp=over_tcp)
                    if answer and not is_unable(answer):
                        return query[:2] + answer[2:]
                    if answer:
                        unable = unable or query[:2] + answer[2:]
                        left.remove(server)
        if unable:
            return unable
        if self._answered_s < begun_s:  # else it is this question alone that nobody answers
            self._nobody_until_s = loop.time() + NOBODY_S
        raise UnavailableError("no DNS server answers")

    async def _asked(self, server: tuple[str, int], query: bytes, *, over_tcp: bool) -> bytes:
        """b"" where it is silent."""
        try:
            async with asyncio.timeout(ASK_S):
                answer = await (_over_tcp if over_tcp else _over_udp)(server, query)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self._silent_until_s[server] = asyncio.get_running_loop().time() + SILENT_S
            return b""
        self._silent_until_s.pop(server, None)
        self._answered_s, self._nobody_until_s = asyncio.get_running_loop().time(), 0.0
        return answer


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
