"""Whether anybody speaks QUIC at an address, asked without the library for it.

A server answers a version that nobody has with the versions that it has (RFC 9000 section 6.1), so one datagram each
way tells whether UDP passes and who is there. A gateway whose cloud is away asks so at every dial: the library would
be fifteen megabytes that it keeps and has no use for. Nothing is proved by an answer; the handshake follows. Keeps
nothing.

Sources: RFC 9000 sections 6.1, 14.1, 15 (reserved versions) and 17.2.1; RFC 8999.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

from skerry.errors import BadRequestError, UnansweredError, UnavailableError
from skerry.objects.enrolment import split_address

DATAGRAM_BYTES: Final = 1200
"""Shorter ones are not answered."""
AGAIN_S: Final = (0.0, 0.5, 1.0, 2.0)
"""Before each try: datagrams get lost."""
VERSION_1: Final = 1
_ID_BYTES: Final = 8
_LONG: Final = 0x80
_FIXED: Final = 0x40


class Sounding:
    """One question, and what answers it. Pure."""

    def __init__(self, chance: bytes) -> None:
        """`chance`: twenty random bytes, by which an answer is known for one."""
        self._there, self._back = chance[:_ID_BYTES], chance[_ID_BYTES : 2 * _ID_BYTES]
        self._version = bytes((each & 0xF0) | 0x0A for each in chance[2 * _ID_BYTES :])

    def question(self) -> bytes:
        head = bytes((_LONG | _FIXED,)) + self._version + self._with_length(self._there, self._back)
        return head.ljust(DATAGRAM_BYTES, b"\0")

    def versions(self, data: bytes) -> tuple[int, ...] | None:
        """Those that the server has; None for what is no answer to this question."""
        ids = self._with_length(self._back, self._there)
        begin = 5 + len(ids)
        if len(data) < begin or not data[0] & _LONG or data[1:5] != bytes(4) or data[5:begin] != ids:
            return None
        rest = data[begin:]
        return tuple(int.from_bytes(rest[at : at + 4], "big") for at in range(0, len(rest) - 3, 4))

    @staticmethod
    def _with_length(*ids: bytes) -> bytes:
        return b"".join(bytes((len(each),)) + each for each in ids)


async def sound(address: str, *, default_port: int, within_s: float) -> None:
    """Returns when somebody who speaks QUIC answers at `host:port`. Raises `UnansweredError` where nobody does,
    `UnavailableError` where that can't be asked or other versions are spoken."""
    loop = asyncio.get_running_loop()
    wires: list[asyncio.DatagramTransport] = []
    try:
        host, port = split_address(address, default_port=default_port)
        async with asyncio.timeout(within_s):
            places = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            ear = _Ear(len(places))
            for family, _, _, _, place in places:
                mouth, sock = _Place(ear), socket.socket(family, socket.SOCK_DGRAM)
                try:
                    sock.setblocking(False)
                    sock.connect(place)
                except OSError as error:  # no way to IPv6, say
                    sock.close()
                    mouth.error_received(error)
                else:
                    wires.append((await loop.create_datagram_endpoint(lambda mouth=mouth: mouth, sock=sock))[0])
            for pause_s in AGAIN_S:
                if await ear.hears(pause_s):
                    break
                for wire in wires:
                    wire.sendto(ear.sounding.question())
            versions = await ear.heard
    except TimeoutError as error:
        raise UnansweredError(f"{address}: no answer over QUIC within {within_s:.0f} s") from error
    except (OSError, UnicodeError, BadRequestError) as error:
        kind = UnansweredError if isinstance(error, OSError) else UnavailableError
        raise kind(f"{address}: {error}") from error
    finally:
        for wire in wires:
            wire.abort()
    if VERSION_1 not in versions:
        raise UnavailableError(f"{address}: the peer speaks other versions of QUIC")


class _Ear:
    """Of all addresses of a host, the first that answers; the last one's refusal where all refuse."""

    def __init__(self, places: int) -> None:
        self.sounding = Sounding(os.urandom(20))
        self.heard: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._silent = places

    async def hears(self, within_s: float) -> bool:
        return bool((await asyncio.wait((self.heard,), timeout=within_s))[0])

    def told(self, data: bytes) -> None:
        versions = self.sounding.versions(data)
        if versions is not None and not self.heard.done():
            self.heard.set_result(versions)

    def refused(self, why: Exception) -> None:
        self._silent -= 1
        if not self._silent and not self.heard.done():
            self.heard.set_exception(why)


class _Place(asyncio.DatagramProtocol):
    """One address."""

    def __init__(self, ear: _Ear) -> None:
        self._ear = ear
        self._has_refused = False

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._ear.told(data)

    def error_received(self, exc: Exception) -> None:
        if not self._has_refused:
            self._has_refused = True
            self._ear.refused(exc)
