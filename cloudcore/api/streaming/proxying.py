"""Requests that are proxied: HTTP spoken over a stream to a node, with the answer handed on as it comes.

What is done to heads and pages is `cloudcore.api.proxied`'s. Bounded: nothing is read ahead but what a window
holds, and a page of HTML whose links are rewritten. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import cache
from typing import Final

import h11
from aiohttp import web
from multidict import CIMultiDict

from cloudcore.api.call import Backend, Proxied
from cloudcore.api.ports import Pipes
from cloudcore.api.proxied import Where, answered, forwarded, page
from cloudcore.api.streaming.taking_over import SocketCarrier, taken_over
from skerry.errors import BadRequestError, SkerryError, UnavailableError
from skerry.ports import Pipe
from skerry.transport.liveness import Unasked, attended
from skerry.transport.sockets import WRITE_S_MAX
from skerry.waits import end_tasks

LOG: Final = logging.getLogger(__name__)

PAGE_BYTES_MAX: Final = 256 << 10
"""Of HTML: a larger page is handed on as it is."""
HEAD_BYTES_MAX: Final = 64 * 1024
HEAD_S_MAX: Final = 600.0
"""For an answer to begin once the request is there: long polls take minutes, and a stream is held meanwhile."""
TLS_S_MAX: Final = 10.0
"""For a handshake, as kube-apiserver allows it."""
_READ_BYTES: Final = 64 * 1024
_EMPTY: Final = frozenset({204, 304})
_UNREACHED: Final = "error trying to reach service"


async def proxied(
    request: web.BaseRequest, headers: CIMultiDict[str], reply: Proxied, pipes: Pipes
) -> web.StreamResponse:
    """Answer the request with somebody else's answer. Raises `UnavailableError` where there is none."""
    path, _, query = request.raw_path.partition("?")
    asked = f"?{query}" if query else ""
    prefix = path[: len(path) - len(reply.path)] if reply.path else path
    where = Where(scheme=request.scheme, host=request.headers.get("Host", ""), prefix=prefix)
    if not reply.path and request.method in ("GET", "HEAD"):
        moved = web.Response(status=301, headers=CIMultiDict({**headers, "Location": f"{prefix}/{asked}"}))
        await moved.prepare(request)
        await moved.write_eof()
        return moved
    async with AsyncExitStack() as stack:
        backend, pipe = await _reached(stack, reply, pipes)
        exchange = _Exchange(request, where, backend, pipe)
        return await exchange.run((reply.path or "/") + asked, headers)


async def _reached(stack: AsyncExitStack, reply: Proxied, pipes: Pipes) -> tuple[Backend, Pipe]:
    """The first backend whose gateway can be asked."""
    failure = UnavailableError("there is nobody to ask")
    for backend in reply.backends:
        try:
            pipe = await stack.enter_async_context(pipes.open(backend.node, backend.kind, backend.params))
        except UnavailableError as error:
            failure = UnavailableError(f"{_UNREACHED}: {error}")
            continue
        if not backend.tls:
            return backend, pipe
        secure = TlsPipe(pipe)
        await secure.begin()
        return backend, secure
    raise failure


class _Exchange:
    """One request to a backend, and its answer."""

    def __init__(self, request: web.BaseRequest, where: Where, backend: Backend, pipe: Pipe) -> None:
        self._request = request
        self._where = where
        self._backend = backend
        self._pipe = pipe
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._is_upgrade = "upgrade" in request.headers.get("Connection", "").lower() and bool(
            request.headers.get("Upgrade")
        )

    async def run(self, target: str, headers: CIMultiDict[str]) -> web.StreamResponse:
        sending = asyncio.create_task(self._send(target))
        try:
            head = await self._answered(sending)
            if head.status_code == 101:
                return await self._switched(head, headers)
            return await self._relay(head, headers)
        except h11.LocalProtocolError as error:
            raise BadRequestError(f"the request can't be handed on: {error}") from error
        except h11.RemoteProtocolError as error:
            raise UnavailableError(f"{_UNREACHED}: its answer is no HTTP: {error}") from error
        finally:
            await end_tasks(sending)

    async def _answered(self, sending: asyncio.Task[None]) -> h11.Response | h11.InformationalResponse:
        """The head of the answer. Raises what a request that can't be sent fails with: nobody will answer that."""
        heading = asyncio.create_task(self._head())
        try:
            await asyncio.wait({sending, heading}, return_when=asyncio.FIRST_COMPLETED)
            if not heading.done():
                sending.result()
                await asyncio.wait({heading}, timeout=HEAD_S_MAX)
            if not heading.done():
                raise UnavailableError(f"{_UNREACHED}: no answer within {HEAD_S_MAX:.0f} s")
            return await heading
        finally:
            heading.cancel()

    async def _send(self, target: str) -> None:
        request = self._request
        given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        client = request.remote or ""
        heads = forwarded(given, self._where, target, client=client, upgrade=self._is_upgrade)
        if request.body_exists and "Content-Length" not in request.headers:
            heads.append(("Transfer-Encoding", "chunked"))
        await self._say(h11.Request(method=request.method, target=target, headers=_encoded(heads)))
        if request.body_exists and not self._is_upgrade:
            async for piece in request.content.iter_any():
                await self._say(h11.Data(data=piece))
        await self._say(h11.EndOfMessage())

    async def _say(self, event: h11.Event) -> None:
        # Whoever reads the answer is told why nothing more is taken.
        with suppress(SkerryError):
            await self._pipe.write(self._http.send(event) or b"")

    async def _next(self) -> h11.Event | None:
        """None where HTTP is over."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._pipe.read())
        return event if isinstance(event, h11.Event) else None

    async def _head(self) -> h11.Response | h11.InformationalResponse:
        while True:
            try:
                event = await self._next()
            except SkerryError as error:
                raise UnavailableError(f"{_UNREACHED}: {error}") from error
            if isinstance(event, h11.Response) or (
                isinstance(event, h11.InformationalResponse) and event.status_code == 101
            ):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise UnavailableError(f"{_UNREACHED}: it hung up")

    def _heads(self, head: h11.Response | h11.InformationalResponse, ours: CIMultiDict[str]) -> CIMultiDict[str]:
        given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items()]
        return CIMultiDict([*ours.items(), *answered(given, self._where, self._backend.host)])

    async def _relay(
        self, head: h11.Response | h11.InformationalResponse, ours: CIMultiDict[str]
    ) -> web.StreamResponse:
        heads = self._heads(head, ours)
        pieces = self._pieces()
        first: list[bytes] = []
        if heads.get("Content-Type", "").lower().startswith("text/html") and self._request.method != "HEAD":
            first = await self._page(pieces, heads)
        reason = head.reason.decode("latin-1") or None
        response = web.StreamResponse(status=head.status_code, reason=reason, headers=heads)
        try:
            await response.prepare(self._request)
            if self._request.method != "HEAD" and head.status_code not in _EMPTY:
                for piece in first:
                    await self._write(response, piece)
                async for piece in pieces:
                    await self._write(response, piece)
            await response.write_eof()
        except (SkerryError, h11.RemoteProtocolError, TimeoutError) as error:
            # The head is out: all that can be said is to end without the rest.
            LOG.info("proxied answer ended early node=%s reason=%s", self._backend.node, error)
            if isinstance(self._request.transport, asyncio.Transport):
                self._request.transport.abort()
        return response

    async def _write(self, response: web.StreamResponse, piece: bytes) -> None:
        async with asyncio.timeout(WRITE_S_MAX):
            await response.write(piece)

    async def _pieces(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next(), h11.Data):
            if event.data:
                yield bytes(event.data)

    async def _page(self, pieces: AsyncIterator[bytes], heads: CIMultiDict[str]) -> list[bytes]:
        """What to begin with: the page with its links moved, or as much as was read of what can't be changed."""
        read: list[bytes] = []
        size = 0
        async for piece in pieces:
            read.append(piece)
            size += len(piece)
            if size > PAGE_BYTES_MAX:
                return read
        plain = _inflated(b"".join(read), heads.get("Content-Encoding", ""))
        if plain is None:
            return read
        heads.popall("Content-Encoding", None)
        heads.popall("ETag", None)
        moved = page(plain.decode("latin-1"), self._where, self._backend.host).encode("latin-1", "replace")
        heads["Content-Length"] = str(len(moved))
        return [moved] if moved else []

    async def _switched(
        self, head: h11.Response | h11.InformationalResponse, ours: CIMultiDict[str]
    ) -> web.StreamResponse:
        """Whatever is spoken from now on is between the two."""
        heads = self._heads(head, ours)
        upgrade = next((value.decode("latin-1") for name, value in head.headers if name == b"upgrade"), "")
        heads.update({"Connection": "Upgrade", "Upgrade": upgrade})
        response = web.StreamResponse(status=101, headers=heads)
        self._request.protocol.keep_alive(False)
        await response.prepare(self._request)
        carrier = taken_over(self._request)
        try:
            await attended(_between(carrier, self._pipe, self._http.trailing_data[0]), Unasked(carrier))
        finally:
            if isinstance(self._request.transport, asyncio.Transport):
                self._request.transport.close()
        return response


async def _between(carrier: SocketCarrier, pipe: Pipe, first: bytes) -> None:
    up = asyncio.create_task(_up(carrier, pipe))
    down = asyncio.create_task(_down(pipe, carrier, first))
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(up, down)


async def _up(carrier: SocketCarrier, pipe: Pipe) -> None:
    while data := await carrier.receive():
        await pipe.write(data)
    await pipe.end()


async def _down(pipe: Pipe, carrier: SocketCarrier, first: bytes) -> None:
    if first:
        await carrier.send(first)
    while data := await pipe.read():
        await carrier.send(data)


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _inflated(data: bytes, encoding: str) -> bytes | None:
    """None for what can't be read, or is too large then."""
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "deflate"):
        return None
    reader = zlib.decompressobj(47)  # both, by its head
    try:
        plain = reader.decompress(data, PAGE_BYTES_MAX)
    except zlib.error:
        return None
    return plain if reader.eof else None


@cache
def _unchecked() -> ssl.SSLContext:
    """Made once: no authority is read, as none is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsPipe:
    """A `skerry.ports.Pipe` with TLS to whoever is at the other end. Nobody knows by what certificate a pod shows
    itself, so none is asked for, as kube-apiserver does."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _unchecked().wrap_bio(self._incoming, self._outgoing)

    async def begin(self) -> None:
        """Raises `UnavailableError`."""
        try:
            async with asyncio.timeout(TLS_S_MAX):
                await self._shake_hands()
        except TimeoutError as error:
            raise UnavailableError(f"{_UNREACHED}: no TLS handshake within {TLS_S_MAX:.0f} s") from error
        except ssl.SSLError as error:
            raise UnavailableError(f"{_UNREACHED}: it does not speak TLS: {error.reason}") from error
        except (UnavailableError, BadRequestError) as error:
            raise UnavailableError(f"{_UNREACHED}: {error}") from error

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                break
        await self._flush()

    async def read(self) -> bytes:
        """See `skerry.ports.Pipe`."""
        while True:
            try:
                return self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise UnavailableError(f"TLS: {error.reason}") from error

    async def write(self, data: bytes) -> None:
        """See `skerry.ports.Pipe`."""
        at = 0
        while at < len(data):
            at += self._tls.write(data[at : at + _READ_BYTES])
            await self._flush()

    async def end(self) -> None:
        """TLS has no end of one way that all sides understand."""

    async def close(self, error: SkerryError | None = None) -> None:
        """See `skerry.ports.Pipe`."""
        await self._pipe.close(error)

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._pipe.write(data)

    async def _fill(self) -> None:
        data = await self._pipe.read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
