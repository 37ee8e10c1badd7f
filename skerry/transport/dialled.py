"""Links that a gateway opens over WebSocket and TLS 1.3, straight or through an HTTP proxy. One frame is one message.

What is pure of it is `skerry.transport.messages`. Small write buffers, here and in the kernel, and large messages
in fragments: what `send` has taken can't be overtaken any more, so on a slow link it must not take seconds of data
ahead. Reading stops while messages wait. Keeps no data.

Source: RFC 6455; the figures behind the limits are in docs/decisions/0022-websocket-limits.md, why there is no
library under it in 0483.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from skerry.clocks import uptime_s
from skerry.errors import CallerError, IdentityRefusedError, UnansweredError, UnavailableError
from skerry.objects.enrolment import HUB_SERVER_NAME, split_address
from skerry.transport.identity import SESSION_PATH, WRITE_BYTES, keep_little, peer_of, reset, tls_of
from skerry.transport.messages import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INTERNAL,
    PONG,
    Answer,
    Closing,
    MessageError,
    Messages,
    Ping,
    close_data,
    frame,
    upgrade_answer,
    upgrade_request,
)
from skerry.transport.proxy import Proxy
from skerry.transport.wire_bytes import wire_bytes_of
from skerry.waits import until_set
from skerry.wire.codec import FRAME_BYTES_MAX

OPEN_S_MAX: Final = 20.0
"""TCP, TLS and the upgrade: five round trips on a very bad link."""
REACH_S_MAX: Final = 8.0
"""TCP alone. The kernel asks again after 1, 2 and 4 s, then ever more rarely: a way that is back would lie idle."""
CLOSE_S_MAX: Final = 2.0
"""How long a peer may take to agree to an end."""
WAITING_MAX: Final = 4
"""Messages that wait to be received before nothing more is read."""
_UNAUTHORIZED: Final = 401
_UPGRADED: Final = 101


async def dial(
    address: str,
    context: ssl.SSLContext,
    *,
    path: str = SESSION_PATH,
    server_name: str = HUB_SERVER_NAME,
    proxy: Proxy | None = None,
) -> DialledLink:
    """Open a link to `host:port`, through a proxy where one is given. Raises `UnavailableError`, with the reason,
    whatever went wrong;
    `UnansweredError` where nobody was there, `IdentityRefusedError` where the peer may not take our certificate."""
    answered = False
    opened: list[_Wire] = []

    def reached() -> None:
        nonlocal answered
        answered = True
        patience.reschedule(None)

    try:
        async with asyncio.timeout(OPEN_S_MAX), asyncio.timeout(REACH_S_MAX) as patience:
            if proxy is None:
                opened.append(await _straight(address, context, server_name, reached))
            else:
                opened.append(await _through(proxy, address, context, server_name, reached))
            answer = await opened[0].upgrade(address, path)
    except (OSError, UnicodeError, CallerError) as error:
        way = "" if proxy is None else f" through the proxy {proxy}"
        # Also where the kernel refuses: that costs the machine nothing, and the cloud may be there in a moment.
        silent = not answered and isinstance(error, OSError)
        raise (UnansweredError if silent else UnavailableError)(
            f"{address}{way}: {_reason(error, answered=answered)}"
        ) from error
    finally:
        if opened and not opened[0].upgraded:
            opened[0].abort()
    if answer.status != _UPGRADED:
        said = f"{address}: the peer answers HTTP {answer.status}"
        if answer.status == _UNAUTHORIZED:
            raise IdentityRefusedError(f"{said}: it does not take this gateway's certificate")
        raise UnavailableError(said)
    return DialledLink(opened[0])


class DialledLink:
    """A `Link` on a WebSocket that we opened."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._peer = peer_of(wire.transport)
        keep_little(wire.transport)

    @property
    def peer_name(self) -> str:
        return self._peer.name

    @property
    def peer_key(self) -> str:
        return self._peer.key

    @property
    def peer_issuer(self) -> str:
        return self._peer.issuer

    @property
    def not_after_ms(self) -> int:
        """When the peer's certificate expires, milliseconds since the epoch of Unix; 0 without a certificate."""
        return self._peer.not_after_ms

    @property
    def apart(self) -> bool:
        return False

    @property
    def resumed(self) -> bool:
        """The handshake was a short one, by a ticket."""
        tls = tls_of(self._wire.transport)
        return tls is not None and tls.session_reused is True

    @property
    def session(self) -> ssl.SSLSession | None:
        """What may make the next handshake short; None without TLS. Its ticket, where the peer gave one, came before
        the peer's first word."""
        tls = tls_of(self._wire.transport)
        return None if tls is None else tls.session

    @property
    def heard_s(self) -> float:
        return self._wire.heard_s

    @property
    def peer_address(self) -> str:
        """IP address of the other end, or ""."""
        address = cast("tuple[str, int] | None", self._wire.transport.get_extra_info("peername"))
        return address[0] if address else ""

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        # A piece of a stream is as large as the link has shown that it takes at once.
        await self._wire.send(data, whole=bool(stream) or len(data) <= WRITE_BYTES)

    async def receive(self) -> bytes:
        return await self._wire.receive()

    async def close(self, *, code: int, reason: str) -> None:
        await self._wire.close(code, reason)

    def abort(self) -> None:
        self._wire.abort()

    def wire_bytes(self) -> tuple[int, int] | None:
        """See `skerry.sync.traffic.WireCounted`."""
        sock = cast("socket.socket | None", self._wire.transport.get_extra_info("socket"))
        return None if sock is None else wire_bytes_of(sock)


class _Wire(asyncio.Protocol):
    """The connection under a link, from its first byte to its last."""

    transport: asyncio.Transport
    under: asyncio.StreamWriter | None = None
    """Of the way through a proxy, which asyncio closes with the last use of it."""

    def __init__(self) -> None:
        self.heard_s = 0.0
        self.upgraded = False
        self._nonce = os.urandom(16)
        self._head = b""
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # Where TLS fails behind a proxy nobody comes to ask for it.
        self._answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        self._messages = Messages(FRAME_BYTES_MAX + 64)
        self._arrived: deque[bytes] = deque()
        self._news = asyncio.Event()
        """Something arrived, or it is over."""
        self._room = asyncio.Event()
        """What was written last may be followed."""
        self._room.set()
        self._sending = asyncio.Lock()
        """Fragments of two messages may not mix."""
        self._ended = asyncio.Event()
        self._reason = ""
        """Why nothing is sent or taken any more; "" while that goes on."""
        self._has_said = False
        """We have sent a close."""
        self._due_pong: bytes | None = None
        """Of the newest ping that came while there was no room."""
        self._is_reading = True

    async def upgrade(self, address: str, path: str) -> Answer:
        """Raises `IdentityRefusedError` where the peer hung up instead of answering."""
        self.transport.write(upgrade_request(address, path, self._nonce))
        try:
            answer = await self._answer
        except (MessageError, ConnectionError) as error:
            # In TLS 1.3 a client has finished its handshake before the server looks at its certificate, and asyncio's
            # servers hang up on a bad one without the alert that would say so.
            raise IdentityRefusedError(f"{address}: the peer hung up on this gateway's certificate") from error
        self.upgraded = answer.status == _UPGRADED
        return answer

    async def send(self, data: bytes, *, whole: bool) -> None:
        async with self._sending:
            if whole:
                await self._write(frame(BINARY, data, os.urandom(4)))
                return
            opcode, final = BINARY, False
            try:
                for at in range(0, len(data), WRITE_BYTES):
                    final = at + WRITE_BYTES >= len(data)
                    await self._write(frame(opcode, data[at : at + WRITE_BYTES], os.urandom(4), final=final))
                    opcode = CONTINUATION
            except asyncio.CancelledError:
                if not final:  # the rest will never come, and nothing else may stand in its place
                    self._say_close(INTERNAL, "a message was given up half sent")
                    self._over("a message was given up half sent")
                raise

    async def receive(self) -> bytes:
        while not self._arrived:
            if self._reason:
                raise UnavailableError(f"the link has ended: {self._reason}")
            self._news.clear()
            await self._news.wait()
        data = self._arrived.popleft()
        if not self._is_reading and len(self._arrived) <= 1:
            self._is_reading = True
            self.transport.resume_reading()
        return data

    async def close(self, code: int, reason: str) -> None:
        self._say_close(code, reason)
        self._over(f"closed ({Closing(code=code, reason=reason)})")
        self._arrived.clear()  # and so what the peer says to it is read
        if not self._is_reading and not self.transport.is_closing():
            self._is_reading = True
            self.transport.resume_reading()
        if not await until_set(self._ended, within_s=CLOSE_S_MAX):
            self.transport.abort()

    def abort(self) -> None:
        reset(self.transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BYTES)

    def data_received(self, data: bytes) -> None:
        self.heard_s = uptime_s()
        try:
            if not self._answer.done():
                self._head += data
                answer = upgrade_answer(self._head, self._nonce)
                if answer is None:
                    return
                self._head, data = b"", answer.trailing
                self._answer.set_result(answer)
                if answer.status != _UPGRADED:
                    return
            for event in self._messages.feed(data):
                self._took(event)
        except MessageError as error:
            if not self._answer.done():
                self._answer.set_exception(error)
            self._fail(error)
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        why = str(exc) if exc is not None else "the peer hung up"
        if not self._answer.done():
            self._answer.set_exception(ConnectionError(why))
        self._over(why)
        self._room.set()
        self._ended.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()
        if self._due_pong is not None:
            self._pong(self._due_pong)

    def _took(self, event: bytes | Ping | Closing) -> None:
        if self._reason:
            if isinstance(event, Closing):
                self._say_close(event.code, "")
            return
        if isinstance(event, Ping):
            self._pong(event.data)
        elif isinstance(event, Closing):
            self._say_close(event.code, "")
            self._over(f"the peer closed it ({event})")
            asyncio.get_running_loop().call_later(CLOSE_S_MAX, self.transport.abort)
        else:
            self._arrived.append(event)
            if self._is_reading and len(self._arrived) >= WAITING_MAX:
                self._is_reading = False
                self.transport.pause_reading()

    def _pong(self, data: bytes) -> None:
        """To the newest alone while there is no room (RFC 6455 section 5.5.3): who pings does not fill our memory."""
        if self._room.is_set():
            self._due_pong = None
            self.transport.write(frame(PONG, data, os.urandom(4)))
        else:
            self._due_pong = data

    def _fail(self, error: MessageError) -> None:
        self._say_close(error.code, str(error))
        self._over(str(error))
        self.transport.close()

    def _say_close(self, code: int, reason: str) -> None:
        if self._has_said or not self.upgraded or self.transport.is_closing():
            return
        self._has_said = True
        self.transport.write(frame(CLOSE, close_data(code, reason) if code >= 1000 else b"", os.urandom(4)))

    def _over(self, reason: str) -> None:
        if not self._reason:
            self._reason = reason or "no reason was given"
        self._news.set()

    async def _write(self, data: bytes) -> None:
        if self._reason:
            raise UnavailableError(f"the link has ended: {self._reason}")
        self.transport.write(data)
        await self._room.wait()
        if self._ended.is_set():
            raise UnavailableError(f"the link has ended: {self._reason}")


async def _straight(address: str, context: ssl.SSLContext, server_name: str, reached: Callable[[], None]) -> _Wire:
    host, port = split_address(address, default_port=443)

    def connected() -> _Wire:
        """asyncio asks for a protocol when TCP is connected, before TLS."""
        reached()
        return _Wire()

    _, wire = await asyncio.get_running_loop().create_connection(
        connected,
        host,
        port,
        ssl=context,
        server_hostname=server_name,
        ssl_shutdown_timeout=CLOSE_S_MAX,
    )
    return wire


async def _through(
    proxy: Proxy, address: str, context: ssl.SSLContext, server_name: str, reached: Callable[[], None]
) -> _Wire:
    from skerry.transport.tunnel import opened  # few sites have one

    try:
        _, writer = await opened(proxy, address)
    except UnavailableError as error:
        raise type(error)(f"{address}: {error}") from error.__cause__
    reached()
    wire = _Wire()
    try:
        transport = await asyncio.get_running_loop().start_tls(
            writer.transport, wire, context, server_hostname=server_name, ssl_shutdown_timeout=CLOSE_S_MAX
        )
    except BaseException:
        writer.transport.abort()
        raise
    assert transport is not None, "TLS is established"
    wire.under = writer
    wire.connection_made(transport)
    return wire


def _reason(error: BaseException, *, answered: bool) -> str:
    """What went wrong, for people, also where the exception has no text."""
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_S_MAX if answered else REACH_S_MAX:.0f} s"
    return str(error) or type(error).__name__
