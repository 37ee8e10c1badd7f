"""Links over WebSocket and TLS 1.3, with certificates on both sides. One frame is one binary message.

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
import struct
import sys
from asyncio import sslproto
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from skerry.errors import IdentityRefusedError, UnansweredError, UnavailableError
from skerry.frozen import Frozen
from skerry.listening import listening_socket
from skerry.objects.enrolment import (
    HUB_SERVER_NAME,
    issuer_key_of_certificate,
    pin_of,
    spki_of_certificate,
)
from skerry.transport.accepted import READ_BYTES, Accepted, Hearing, ServerTls, TlsLimits
from skerry.transport.door import Door, Shutters
from skerry.transport.proxy import Proxy, refusal_of
from skerry.transport.resumption import ResumingContext
from skerry.transport.wire_bytes import wire_bytes_of
from skerry.wire.codec import FRAME_BYTES_MAX

LOG: Final = logging.getLogger(__name__)

SESSION_PATH: Final = "/session"
OPEN_S_MAX: Final = 20.0
"""TCP, TLS and the upgrade: five round trips on a very bad link."""
REACH_S_MAX: Final = 8.0
"""TCP alone. The kernel asks again after 1, 2 and 4 s, then ever more rarely: a way that is back would lie idle."""
CLOSE_S_MAX: Final = 2.0
"""How long a peer may take to agree to an end."""
WRITE_BYTES: Final = 8 * 1024
"""What may wait in each of asyncio's two buffers before `send` waits, and the size of a fragment."""
UNSENT_BYTES: Final = 16 * 1024
"""What the kernel takes beyond what is on its way (TCP_NOTSENT_LOWAT): two seconds at 64 kbit/s."""
BACKLOG: Final = 4096
"""Gateways that may knock at the same moment, after an outage of the cloud; the kernel's own limit holds as well."""
_TLS_LIMITS: Final = TlsLimits(handshake_s_max=round(OPEN_S_MAX), shutdown_s_max=round(CLOSE_S_MAX))
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's `ssl` does not name."""


class _Dialled(Hearing, ClientConnection):
    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "recv_messages"):  # else TLS failed, through a proxy, before there was a connection to lose
            super().connection_lost(exc)


class WebSocketLink:
    """A `Link` on an open WebSocket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        certificate = _peer_certificate(connection)
        self._peer_name = common_name(certificate)
        shown = _shown(connection)
        self._peer_key = "" if shown is None else pin_of(spki_of_certificate(shown))
        self._peer_issuer = "" if shown is None else sys.intern(issuer_key_of_certificate(shown))
        text = certificate.get("notAfter")
        self._not_after_ms = round(ssl.cert_time_to_seconds(text) * 1000) if isinstance(text, str) else 0
        _keep_little(connection)

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
    def session(self) -> ssl.SSLSession | None:
        """What may make the next handshake short; None without TLS. Its ticket, where the peer gave one, came before
        the peer's first word."""
        tls = _tls(self._connection)
        return None if tls is None else tls.session

    @property
    def heard_s(self) -> float:
        return self._connection.heard_s if isinstance(self._connection, Hearing) else 0.0

    @property
    def peer_address(self) -> str:
        """IP address of the other end, or ""."""
        address = cast("tuple[str, int] | None", self._connection.remote_address)
        return address[0] if address else ""

    @property
    def not_after_ms(self) -> int:
        """When the peer's certificate expires, milliseconds since the epoch of Unix; 0 without a certificate."""
        return self._not_after_ms

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
        own = self._connection.transport.get_extra_info("socket")
        if own is not None:
            # By a reset, which goes out at once. An orderly end would wait behind what the peer has not acknowledged,
            # and where only our direction is alive that is for ever: the peer would find out late and by itself.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.transport.abort()

    def wire_bytes(self) -> tuple[int, int] | None:
        """See `skerry.sync.traffic.WireCounted`."""
        sock = cast("socket.socket | None", self._connection.transport.get_extra_info("socket"))
        return None if sock is None else wire_bytes_of(sock)


class Identity(Frozen):
    """Files that prove who a gateway is, and whom it trusts (PEM)."""

    ca_file: Path
    certificate_file: Path
    key_file: Path
    server_name: str = HUB_SERVER_NAME
    """The name that the cloud's certificate must have; see `hub_server_name`."""


def client_context(identity: Identity, *, trust_clock: bool) -> ResumingContext:
    """TLS 1.3 with the gateway's certificate. Without `trust_clock` dates are not checked by TLS: the caller
    knows that its clock is wrong, and checks them against the last time it knows (`not_after_ms`)."""
    context = nameless_context(identity.ca_file, trust_clock=trust_clock)
    context.load_cert_chain(str(identity.certificate_file), str(identity.key_file))
    return context


def nameless_context(ca_file: Path, *, trust_clock: bool) -> ResumingContext:
    """The same for who has no certificate to show."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cafile=str(ca_file))
    if not trust_clock:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


async def dial(
    address: str,
    context: ssl.SSLContext,
    *,
    path: str = SESSION_PATH,
    server_name: str = HUB_SERVER_NAME,
    proxy: Proxy | None = None,
) -> WebSocketLink:
    """Open a link to `host:port`, through a proxy where one is given. Raises `UnavailableError`, with the reason,
    whatever went wrong;
    `UnansweredError` where nobody was there, `IdentityRefusedError` where the peer may not take our certificate."""
    answered = False

    class Reached(_Dialled):
        """Made when TCP is connected, before TLS: that is when asyncio asks for a protocol."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            nonlocal answered
            answered = True
            patience.reschedule(None)
            super().__init__(*arguments, **named)

    try:
        async with asyncio.timeout(REACH_S_MAX) as patience:
            connection = await connect(
                f"wss://{address}{path}",
                ssl=context,
                server_hostname=server_name,
                create_connection=Reached,
                compression=None,
                max_size=FRAME_BYTES_MAX + 64,
                max_queue=4,
                write_limit=WRITE_BYTES,
                open_timeout=OPEN_S_MAX,
                close_timeout=CLOSE_S_MAX,
                ping_interval=None,
                user_agent_header=None,
                proxy=None if proxy is None else proxy.url,
            )
    except (ProxyError, InvalidProxy) as error:
        # The proxy's own words may repeat what it was asked, and so its password.
        status = error.response.status_code if isinstance(error, InvalidProxyStatus) else 0
        assert proxy is not None, "there was one to fail"
        raise UnavailableError(f"{address}: {refusal_of(proxy, status, address)}") from None
    except InvalidMessage as error:
        # In TLS 1.3 a client has finished its handshake before the server looks at its certificate, and asyncio's
        # servers hang up on a bad one without the alert that would say so.
        raise IdentityRefusedError(f"{address}: the peer hung up on this gateway's certificate") from error
    except InvalidStatus as error:
        said = f"{address}: {error}"
        if error.response.status_code == HTTPStatus.UNAUTHORIZED:
            raise IdentityRefusedError(f"{said}: the peer does not take this gateway's certificate") from error
        raise UnavailableError(said) from error
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
        way = "" if proxy is None else f" through the proxy {proxy}"
        # Also where the kernel refuses: that costs the machine nothing, and the cloud may be there in a moment.
        silent = not answered and isinstance(error, OSError)
        raise (UnansweredError if silent else UnavailableError)(
            f"{address}{way}: {_reason(error, answered=answered)}"
        ) from error
    return WebSocketLink(connection)


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
        if route.named and not common_name(_peer_certificate(connection)):
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


def common_name(certificate: Mapping[str, object]) -> str:
    """The subject's common name in a certificate as `ssl` describes it, or ""."""
    for part in cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ())):
        for name, value in part:
            if name == "commonName":
                return value
    return ""


def _keep_little(connection: Connection) -> None:
    """Limit what the kernel and the transport under TLS take before a sender waits, and forget what the handshake
    left: headers and the certificate's text are 5 KB. asyncio has no way to reach the transport and the text but its
    own attributes; without them a link works, and takes 64 KiB more ahead."""
    transport = cast("asyncio.BaseTransport", connection.transport)
    if isinstance(connection, Accepted):
        connection.shrink()
    sock = cast("socket.socket | None", transport.get_extra_info("socket"))
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    tls = getattr(transport, "_ssl_protocol", None)
    under: object = getattr(tls, "_transport", None)
    if isinstance(under, asyncio.WriteTransport):
        under.set_write_buffer_limits(high=WRITE_BYTES)
    extra: object = getattr(tls, "_extra", None)
    if isinstance(extra, dict):
        cast("dict[str, object]", extra).pop("peercert", None)


def _resumed(connection: Connection) -> bool:
    """Whether a ticket made its handshake short."""
    tls = _tls(connection)
    return tls is not None and tls.session_reused is True


def _tls(connection: Connection) -> ssl.SSLObject | None:
    return cast("ssl.SSLObject | None", connection.transport.get_extra_info("ssl_object"))


def _flaw(connection: Connection) -> str:
    """Why the certificate of a resumed session is not good by now, or "". OpenSSL looked at it when the session was
    made, whose tickets lead to further ones: without this, one would lead on beyond the certificate's end. A session
    without a certificate has none to be judged."""
    tls = _tls(connection)
    assert tls is not None, "there was a session to resume"
    shown = tls.getpeercert(binary_form=True)
    if shown is None:
        return ""
    from skerry.transport.chains import client_flaw  # of the hub alone: a gateway has no use for its libraries

    return client_flaw(tls.context.get_ca_certs(binary_form=True), shown, datetime.now(UTC))


def _peer_certificate(connection: Connection) -> Mapping[str, object]:
    transport = cast("asyncio.BaseTransport", connection.transport)
    return cast("Mapping[str, object] | None", transport.get_extra_info("peercert")) or {}


def _shown(connection: Connection) -> bytes | None:
    """The peer's certificate in DER, by TLS, and so also after a handshake that a ticket made short."""
    tls = _tls(connection)
    return None if tls is None else tls.getpeercert(binary_form=True)


def _reason(error: BaseException, *, answered: bool) -> str:
    """What went wrong, for people, also where the exception has no text."""
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_S_MAX if answered else REACH_S_MAX:.0f} s"
    return str(error) or type(error).__name__
