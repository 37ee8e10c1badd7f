"""One question to a host over TLS, through an HTTP proxy where one is given: what is asked before there is a link.

Links through a proxy begin so, too. TLS goes end to end: a proxy is asked by CONNECT (RFC 9110 section 9.3.6) for a
way to the host, and sees no more than that. The TLS of a question is driven by hand (`ssl.SSLObject`), as that of
asyncio 3.11 hangs when a handshake fails inside the TLS of a proxy. Keeps no data.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

from skerry.errors import UnansweredError, UnavailableError
from skerry.frozen import Frozen
from skerry.transport.proxy import Proxy, refusal_of

T = TypeVar("T")

REACH_S_MAX: Final = 8.0
"""TCP alone, as for links."""
_PART_BYTES: Final = 16 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")

_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place(Frozen):
    """Where to ask."""

    host: str
    port: int
    server_name: str
    """What the host's certificate has to be for."""
    proxy: Proxy | None = None


async def asked(place: Place, context: ssl.SSLContext, question: bytes, *, bytes_max: int) -> bytes:
    """What the host answers until it closes, no more than `bytes_max` and a part. The caller sets the deadline.

    Raises `OSError` (`ssl.SSLError` and `TimeoutError` among them) as the network and TLS do, `UnavailableError` with
    what the proxy says or lacks.
    """
    if place.proxy is None:
        async with asyncio.timeout(REACH_S_MAX):
            reader, writer = await asyncio.open_connection(place.host, place.port)
    else:
        host = f"[{place.host}]" if ":" in place.host else place.host
        reader, writer = await opened(place.proxy, f"{host}:{place.port}")
    try:
        return await _Tls(reader, writer, context, place.server_name).asked(question, bytes_max)
    finally:
        writer.transport.abort()


class _Tls:
    """The client's side of TLS on a stream."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, server_name: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=server_name)

    async def asked(self, question: bytes, bytes_max: int) -> bytes:
        await self._step(self._tls.do_handshake)
        await self._step(lambda: self._tls.write(question))
        answer = bytearray()
        while len(answer) <= bytes_max:
            try:
                part = await self._step(lambda: self._tls.read(_PART_BYTES))
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                part = b""
            except ConnectionResetError:  # as some end what they have said
                if not answer:
                    raise
                part = b""
            if not part:
                break
            answer += part
        return bytes(answer)

    async def _step(self, act: Callable[[], T]) -> T:
        """Do it, with what has to be sent and heard for it."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                await self._send()
            except ssl.SSLError:
                await self._send()  # the alert that tells the peer
                raise
            else:
                await self._send()
                return done
            heard = await self._reader.read(_PART_BYTES)
            if heard:
                self._arrived.write(heard)
            else:
                self._arrived.write_eof()

    async def _send(self) -> None:
        if self._leaving.pending:
            self._writer.write(self._leaving.read())
            await self._writer.drain()


async def opened(proxy: Proxy, address: str) -> _Stream:
    """A stream to the address, by the proxy's leave. Raises `UnavailableError`, `UnansweredError` where no proxy is
    there."""
    try:
        tls = ssl.create_default_context() if proxy.scheme == "https" else None
        async with asyncio.timeout(REACH_S_MAX):
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port, ssl=tls)
    except TimeoutError as error:
        raise UnansweredError(f"the proxy {proxy} does not answer within {REACH_S_MAX:.0f} s") from error
    except OSError as error:
        raise UnansweredError(f"the proxy {proxy} can't be reached: {error}") from error
    try:
        who = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        writer.write(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{who}\r\n".encode())
        await writer.drain()
        answer = _STATUS.match(await reader.readuntil(b"\r\n\r\n"))
        status = 0 if answer is None else int(answer[1])
        if not 200 <= status < 300:
            raise UnavailableError(refusal_of(proxy, status, address))
    except (EOFError, OSError, asyncio.LimitOverrunError) as error:
        writer.transport.abort()
        raise UnavailableError(refusal_of(proxy, 0, address)) from error
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer
