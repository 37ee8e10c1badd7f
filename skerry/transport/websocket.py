"""Links over WebSocket and TLS 1.3 that a hub accepts. One frame is one binary message; gateways dial them by
`skerry.transport.dialled`.

No compression (frames deflate themselves, without 40 KB a connection), no WebSocket pings (the session has its
own, and means more by them), small read buffers (a hub holds ten thousand of these), and a door that begins
handshakes at a pace (`skerry.transport.door`). Small write buffers, here and in
the kernel, and large messages in fragments: what `send` has taken can't be overtaken any more, so on a slow link it
must not take seconds of data ahead. Keeps no data.

Source: RFC 6455; the figures behind the limits are in docs/decisions/0022-websocket-limits.md.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, cast

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.listening import listening_socket
from skerry.transport.accepted import READ_BYTES, Accepted, Hearing, ServerTls, TlsLimits
from skerry.transport.dialled import CLOSE_S_MAX, OPEN_S_MAX
from skerry.transport.door import Door, Shutters
from skerry.transport.identity import (
    WRITE_BYTES,
    common_name,
    keep_little,
    peer_certificate,
    peer_of,
    reset,
    tls_of,
)
from skerry.transport.wire_bytes import wire_bytes_of
from skerry.wire.codec import FRAME_BYTES_MAX

LOG: Final = logging.getLogger(__name__)

BACKLOG: Final = 4096
"""Gateways that may knock at the same moment, after an outage of the cloud; the kernel's own limit holds as well."""
_TLS_LIMITS: Final = TlsLimits(handshake_s_max=round(OPEN_S_MAX), shutdown_s_max=round(CLOSE_S_MAX))


class WebSocketLink:
    """A `Link` on a WebSocket that was accepted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        peer = peer_of(connection.transport)
        self._peer_name, self._peer_key, self._peer_issuer = peer.name, peer.key, peer.issuer
        if isinstance(connection, Accepted):
            connection.shrink()
        keep_little(connection.transport)

    @property
    def peer_name(self) -> str:
        return self._peer_name

    @property
    def peer_key(self) -> str:
        return self._peer_key

    @property
    def peer_issuer(self) -> str:
        return self._peer_issuer

    @property
    def apart(self) -> bool:
        return False

    @property
    def resumed(self) -> bool:
        """The handshake was a short one, by a ticket."""
        return _resumed(self._connection)

    @property
    def heard_s(self) -> float:
        return self._connection.heard_s if isinstance(self._connection, Hearing) else 0.0

    @property
    def peer_address(self) -> str:
        """IP address of the other end, or ""."""
        address = cast("tuple[str, int] | None", self._connection.remote_address)
        return address[0] if address else ""

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        try:
            # A piece of a stream is as large as the link has shown that it takes at once.
            if stream or len(data) <= WRITE_BYTES:
                await self._connection.send(data)
            else:
                await self._connection.send(data[at : at + WRITE_BYTES] for at in range(0, len(data), WRITE_BYTES))
        except ConnectionClosed as error:
            raise UnavailableError(f"the link has ended: {error}") from error

    async def receive(self) -> bytes:
        try:
            message = await self._connection.recv()
        except ConnectionClosed as error:
            raise UnavailableError(f"the link has ended: {error}") from error
        if isinstance(message, str):
            await self._connection.close(1003, "binary messages only")
            raise UnavailableError("the peer sent text")
        return message

    async def close(self, *, code: int, reason: str) -> None:
        await self._connection.close(code, reason.encode()[:120].decode(errors="ignore"))

    def abort(self) -> None:
        reset(self._connection.transport)

    def wire_bytes(self) -> tuple[int, int] | None:
        """See `skerry.sync.traffic.WireCounted`."""
        sock = cast("socket.socket | None", self._connection.transport.get_extra_info("socket"))
        return None if sock is None else wire_bytes_of(sock)


class Route(Frozen):
    """What answers on one path of a listener."""

    handle: Callable[[WebSocketLink], Awaitable[None]]
    named: bool
    """Only for peers with a certificate that the context trusts."""
    anew: bool = False
    """Only after a full handshake: a ticket does not prove that the peer has its key now."""
    brief: bool = False
    """A message each way and no more: until then it keeps its place at the door, so that there are never many."""


@asynccontextmanager
async def listen(
    host: str,
    port: int,
    context: ssl.SSLContext,
    routes: Mapping[str, Route],
    *,
    pages: Mapping[str, Callable[[], str]] | None = None,
    shutters: Shutters | None = None,
) -> AsyncGenerator[tuple[str, int]]:
    """Serve links for as long as the context lasts; gives the address bound (port 0 means any). `shutters` can close
    the door earlier.

    `pages` are texts that anybody may GET. Requests for other paths get 404, and 401 where a certificate is
    needed and there is none.
    """

    async def check(connection: ServerConnection, request: Request) -> Response | None:
        page = (pages or {}).get(request.path)
        if page is not None:
            return connection.respond(HTTPStatus.OK, page())
        route = routes.get(request.path)
        if route is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        if route.named and not common_name(peer_certificate(connection.transport)):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "a client certificate is needed\n")
        if _resumed(connection):
            flaw = "a full handshake is needed here" if route.anew else _flaw(connection)
            if flaw:
                return connection.respond(HTTPStatus.UNAUTHORIZED, f"this TLS session can't be resumed: {flaw}\n")
        return None

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None, "the handshake is over"
        route = routes[connection.request.path]
        link = WebSocketLink(connection)
        if isinstance(connection, Accepted) and not route.brief:
            connection.settle()
        try:
            await route.handle(link)
        except UnavailableError as error:
            LOG.debug("link ended peer=%s reason=%s", link.peer_name, error)
        except Exception:
            # The root of a link's work: its fault ends it alone.
            LOG.exception("link failed peer=%s", link.peer_name)

    # Anybody can knock badly, as often as they like: that is no error of ours, and no line of the log.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    server = _Server(handle, process_request=check, server_header=None, open_timeout=OPEN_S_MAX)
    listener = listening_socket(host, port, backlog=BACKLOG)
    name: Any = listener.getsockname()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as tasks:
            door = tasks.create_task(Door(listener, lambda sock: server.shake(sock, context)).run())

            def shut() -> None:
                # In this order: nobody is accepted who would then be held by nobody.
                if listener.fileno() >= 0:
                    loop.remove_reader(listener)
                    listener.close()
                door.cancel()

            if shutters is not None:
                shutters.add(shut)
            yield str(name[0]), int(name[1])
            shut()
    finally:
        listener.close()
        await server.end()


class _Server(Server):
    """The connections of one listener. `websockets` accepts through asyncio's server, which knows no pace; this one
    is handed sockets by a `Door`."""

    serving = True

    def is_serving(self) -> bool:
        return self.serving

    async def shake(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """TLS on an accepted socket, and the upgrade; what follows then goes on by itself. Who is not through both
        keeps its place at the door."""
        shaken: asyncio.Future[None] = self.loop.create_future()
        connection = self._connection()
        settled = connection.settled = self.loop.create_future()
        try:
            under, _ = await self.loop.connect_accepted_socket(
                lambda: ServerTls(connection, context, shaken, _TLS_LIMITS), sock
            )
        except BaseException:
            sock.close()
            raise
        try:
            await shaken
        except BaseException:
            under.close()
            raise
        try:
            await settled
        except BaseException:
            under.abort()
            raise

    def _connection(self) -> Accepted:
        protocol = ServerProtocol(max_size=FRAME_BYTES_MAX + 64)
        return Accepted(
            protocol, self, ping_interval=None, close_timeout=CLOSE_S_MAX, max_queue=4, write_limit=WRITE_BYTES
        )

    async def end(self) -> None:
        """Close what is open, and wait for it."""
        self.serving = False
        closing: list[asyncio.Future[None]] = [*self.handlers.values()]
        for connection in self.handlers:
            if connection.protocol.state is State.CONNECTING:
                connection.transport.abort()
            else:
                closing.append(asyncio.ensure_future(connection.close(1001)))
        if closing:
            await asyncio.wait(closing)


def limit_tls_read_buffers(size: int = READ_BYTES) -> None:
    """Make asyncio's own TLS connections of this process, those of the API, read at most `size` bytes at once.
    asyncio has no setting for it; the class attribute is read when a connection is made. Its default of 256 KiB makes
    a connection 300 KiB."""
    sslproto.SSLProtocol.max_size = size


def _resumed(connection: Connection) -> bool:
    """Whether a ticket made its handshake short."""
    tls = tls_of(connection.transport)
    return tls is not None and tls.session_reused is True


def _flaw(connection: Connection) -> str:
    """Why the certificate of a resumed session is not good by now, or "". OpenSSL looked at it when the session was
    made, whose tickets lead to further ones: without this, one would lead on beyond the certificate's end. A session
    without a certificate has none to be judged."""
    tls = tls_of(connection.transport)
    assert tls is not None, "there was a session to resume"
    shown = tls.getpeercert(binary_form=True)
    if shown is None:
        return ""
    from skerry.transport.chains import client_flaw  # of the hub alone: a gateway has no use for its libraries

    return client_flaw(tls.context.get_ca_certs(binary_form=True), shown, datetime.now(UTC))
