"""What a hub keeps of one accepted connection, made small: there are ten thousand of them at rest.

asyncio gives each TLS connection a read buffer of its own and a dictionary of thirty attributes, `websockets` another
one, and both an empty deque here and there, which takes 760 bytes. These classes have slots for the attributes of
their bases, one read buffer for all, and short lists where at most a few things wait. They rely on names that asyncio
and `websockets` do not promise to keep: one that is new there lands in an ordinary dictionary and costs memory, no
more. In memory only.

Source of the figures: docs/decisions/0143-what-a-connection-of-the-hub-keeps.md.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import ssl
from asyncio import sslproto
from typing import Any, Final, TypeVar, cast

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.frames import CTRL_OPCODES, CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import Event

from skerry.clocks import uptime_s
from skerry.frozen import Frozen

T = TypeVar("T")

READ_BYTES: Final = 4 * 1024
"""What is read from a connection at once; what a gateway sends is rarely longer. OpenSSL's own buffers grow to what
is put into them and never shrink, so more would cost memory for good."""
FRAGMENTS_MAX: Final = 4096
"""Of one message: ours are cut into 512 at most. An empty one costs its sender six bytes and us three hundred, and no
limit in bytes ever ends such a message."""
PINGS_MAX: Final = 64
"""WebSocket pings and pongs at once, and then one in a second. Gateways send none; each takes thirty times longer to
answer than to send, and no window holds them back."""
UNREAD_BYTES_MAX: Final = 256 * 1024
"""Waits for a peer that pings and does not read the answers; whoever sends here waits from some 24 KiB on."""
_READ: Final = bytearray(READ_BYTES)
_READ_VIEW: Final = memoryview(_READ)
_LOG: Final = logging.getLogger("websockets.server")
_FORGOTTEN: Final = Request("", Headers())


class TlsLimits(Frozen):
    """How long the two ends of a TLS connection's life may take."""

    handshake_s_max: int
    shutdown_s_max: int


class Hearing(asyncio.Protocol):
    """Notes when bytes arrive: a large message on a slow link takes long, and its sender is not silent."""

    heard_s = 0.0

    def data_received(self, data: bytes) -> None:
        self.heard_s = uptime_s()
        super().data_received(data)


class Few(list[T]):
    """Stands in for a deque in which at most a few things wait."""

    __slots__ = ()

    def popleft(self) -> T:
        return self.pop(0)

    def appendleft(self, item: T) -> None:
        self.insert(0, item)


class Accepted(Hearing, ServerConnection):
    """A WebSocket that a hub accepted. Ends the connection of a peer whose frames cost more than they say."""

    fragments = 0
    """Of the message that is not whole yet."""
    pinged_s = 0.0
    """When its pings are forgotten, by the loop's clock."""
    settled: asyncio.Future[None] | None = None
    """Done when it leaves the door, by `settle` or by its end; None then, and where nobody waits for it."""

    __slots__ = (
        *("close_deadline", "close_timeout", "connection_lost_waiter", "debug", "drain_waiters", "handler", "id"),
        *("keepalive_task", "latency", "logger", "loop", "max_queue_high", "max_queue_low", "paused"),
        *("pending_pings", "ping_interval", "ping_timeout", "protocol", "recv_exc", "recv_messages", "request"),
        *("request_rcvd", "response", "send_in_progress", "server", "transport", "username"),
        *("write_limit_high", "write_limit_low"),
    )

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if not isinstance(event, Frame):
            return
        if event.opcode in CTRL_OPCODES:
            now_s = self.loop.time()
            self.pinged_s = max(self.pinged_s, now_s) + 1
            if self.pinged_s > now_s + PINGS_MAX:
                self._refuse("too many pings")
            elif self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self.transport.abort()
        elif not event.fin:
            self.fragments += 1
            if self.fragments > FRAGMENTS_MAX:
                self._refuse("a message in too many pieces")
        elif self.fragments:
            self.fragments = 0

    def settle(self) -> None:
        """Leave the door."""
        if self.settled is not None:
            if not self.settled.done():
                self.settled.set_result(None)
            self.settled = None

    def _refuse(self, reason: str) -> None:
        """End it, and read nothing more of it."""
        self.protocol.fail(CloseCode.POLICY_VIOLATION, reason)
        self.send_data()

    def connection_lost(self, exc: Exception | None) -> None:
        """What refers to this connection in turn lets go of it, so that it and its TLS are freed with the last use,
        not when the collector passes by: after a storm there are thousands of them."""
        super().connection_lost(exc)
        self.settle()
        for error in (self.protocol.parser_exc, self.recv_exc):
            if error is not None:
                error.__traceback__ = None
        self.protocol.parser.close()
        self.logger = self.protocol.logger = _LOG

    def shrink(self) -> None:
        """Forget what the handshake left: headers are 2 KB."""
        if self.request is not None:
            self.request.headers.clear()  # the parser holds on to them
        self.request = _FORGOTTEN  # something must stand there: a connection without a request awaits one
        self.response = None
        self.drain_waiters = _few(self.drain_waiters)
        frames = self.recv_messages.frames
        frames.queue = _few(frames.queue)


class ServerTls(sslproto.SSLProtocol):
    """asyncio's TLS under one accepted connection; `shaken` is done when the handshake is.

    What was read from a socket is handed to OpenSSL before anything else is read from any, so one buffer serves all.
    """

    __slots__ = (
        *("_app_protocol", "_app_protocol_is_buffer", "_app_reading_paused", "_app_state", "_app_transport"),
        *("_app_transport_created", "_app_writing_paused", "_conn_lost", "_eof_received", "_extra", "_incoming"),
        *("_incoming_high_water", "_incoming_low_water", "_loop", "_outgoing", "_outgoing_high_water"),
        *("_outgoing_low_water", "_server_hostname", "_server_side", "_ssl_buffer", "_ssl_buffer_view"),
        *("_ssl_handshake_timeout", "_ssl_reading_paused", "_ssl_shutdown_timeout", "_ssl_writing_paused"),
        *("_sslcontext", "_sslobj", "_state", "_transport", "_waiter", "_write_backlog", "_write_buffer_size"),
    )

    max_size = READ_BYTES

    def __init__(
        self, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, shaken: asyncio.Future[Any], limits: TlsLimits
    ) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            protocol,
            context,
            shaken,
            server_side=True,
            ssl_handshake_timeout=limits.handshake_s_max,
            ssl_shutdown_timeout=limits.shutdown_s_max,
        )
        self._ssl_buffer = _READ
        self._ssl_buffer_view = _READ_VIEW
        self._write_backlog = _few(self._write_backlog)


def _few(waiting: collections.deque[T]) -> collections.deque[T]:
    """In its place; whoever uses it asks no more of it than `Few` has."""
    return cast("collections.deque[T]", Few(waiting))
