"""A link on an open QUIC connection: the session on one stream, every node stream on one of its own.

The session is the client's first bidirectional stream; frames are preceded by their length (`framing`). Any other
stream begins with the number by which both machines know it, so that what is opened in one session never waits for
what was lost of another stream. A stream ends in both directions when either side says its last frame.

Sending waits while more than a few packets of a stream are unsent, so that whoever chooses what to send next chooses
late; the session's bytes always go before those of other streams. All of it is in memory; a crash loses it.

Sources: RFC 9000 sections 2, 4, 9 and 10; RFC 9001.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events
from aioquic.quic.connection import NetworkAddress
from aioquic.quic.packet import QuicErrorCode

from skerry.clocks import uptime_s
from skerry.errors import IdentityRefusedError, ProtocolError, UnansweredError, UnavailableError
from skerry.transport.framing import FrameReader, framed, varint
from skerry.transport.quic_connection import (
    RESET_TOKEN_BYTES,
    SESSION_STREAM,
    UDP_BYTES,
    WINDOW_BYTES,
    LinkConnection,
)
from skerry.transport.quic_tls import IDENTITY_ALERTS, alert_text
from skerry.wire.codec import FRAME_BYTES_MAX

LOG: Final = logging.getLogger(__name__)

ALPN_PREFIX: Final = "skerry/1"
"""Before the path that WebSocket links name in their request: `skerry/1/session`."""
OPEN_S_MAX: Final = 20.0
"""The handshake on a very bad link."""
UNSENT_BYTES: Final = 8 * 1024
"""What may wait to be sent of one stream before `send` returns: a few packets, so that the pipe does not run dry."""
STREAM_FRAME_BYTES_MAX: Final = 128 * 1024
"""A frame of a node stream: twice the largest piece that the codec lets through. A peer has `STREAMS_MAX` of them."""
FLUSH_S_MAX: Final = 1.5
"""How long an end waits until the peer has all that was sent."""
REFUSED_S: Final = 3.0
"""An ICMP "port unreachable" ends a link when nothing else was heard for this long after it: ICMP is not proof."""
RESET_BYTES_MIN: Final = 21
"""RFC 9000 section 10.3."""


class Carrier(QuicConnectionProtocol):
    """One connection on the event loop: datagrams in and out, and what happens told to its link."""

    def __init__(self, connection: LinkConnection, *, owns_socket: bool) -> None:
        super().__init__(connection)
        self.connection = connection
        self.link = QuicLink(self)
        self.heard_s = 0.0
        """When a packet of the peer's came last, by the clock that sessions go by. Anybody can send datagrams; what
        does not decrypt is no sign of life."""
        self.wire_received = 0
        """Bytes of IP packets since it was opened."""
        self._owns_socket = owns_socket
        self._disposed = False
        self._drained: Callable[[], None] = lambda: None
        """Takes what the kernel keeps of ICMP errors out of its queue, where there is one."""

    def on_error(self, drained: Callable[[], None]) -> None:
        self._drained = drained

    def soon(self) -> None:
        """Send what waits, once whoever is running now is through."""
        self._transmit_soon()

    def datagram_received(self, data: bytes | str, addr: NetworkAddress) -> None:
        assert isinstance(data, bytes)
        self.wire_received += len(data) + UDP_BYTES
        proven = self.connection.proven
        self.connection.receive_datagram(data, addr, now=self._loop.time())
        self._process_events()
        if self.connection.proven != proven:
            self.heard_s = uptime_s()
        elif self._is_reset(data):
            self.link.ended("the cloud was started anew and knows this connection no more")
            self.end(QuicErrorCode.NO_ERROR, "")
            return
        self.soon()  # answers go when all that is there already was heard: see `skerry.transport.datagrams`
        closing = self.connection.closing
        if closing is not None:
            self.transmit()  # why we end it, where it is we
            self.link.ended(_reason(closing), refused=_is_refusal(closing))
            self._dispose()

    def transmit(self) -> None:
        if self._disposed:
            return
        super().transmit()
        self.link.moved()

    def end(self, code: int, reason: str) -> None:
        """Say that it is over, once, and wait for nothing."""
        if not self._disposed:
            super().close(error_code=code, reason_phrase=reason)
            self._dispose()

    def error_received(self, exc: Exception) -> None:
        self._drained()
        if not self.link.is_open:
            self.link.ended(str(exc), unanswered=True)
        elif isinstance(exc, ConnectionRefusedError):
            at_s = uptime_s()
            self._loop.call_later(REFUSED_S, self._refused, at_s)

    def quic_event_received(self, event: events.QuicEvent) -> None:
        match event:
            case events.HandshakeCompleted():
                self.link.opened()
            case events.StreamDataReceived():
                self.link.arrived(event.stream_id, event.data, end=event.end_stream)
            case events.StreamReset() | events.StopSendingReceived():
                self.link.broken("a stream was broken off")
            case events.ConnectionTerminated():
                self.link.ended(_reason(event))
                self._dispose()
            case _:
                pass

    def _dispose(self) -> None:
        """Close a socket of its own: a client need not answer what comes late (RFC 9000 section 10.2.1). A server's
        connection goes on for as long as its peer may send what it sent before it knew."""
        if self._owns_socket and self._transport is not None:
            self._disposed = True
            if self._timer is not None:
                self._timer.cancel()
            self._transport.close()

    def _refused(self, at_s: float) -> None:
        if self.heard_s <= at_s:
            self.link.ended("nobody listens there any more")
            self.end(QuicErrorCode.NO_ERROR, "")

    def _is_reset(self, data: bytes) -> bool:
        """RFC 9000 section 10.3.1: a short packet that ends in one of the peer's tokens."""
        if len(data) < RESET_BYTES_MIN or data[0] & 0x80:
            return False
        tail = data[-RESET_TOKEN_BYTES:]
        return any(hmac.compare_digest(tail, token) for token in self.connection.reset_tokens)


class _Lane:
    """One stream of a link, in both directions."""

    __slots__ = ("ended", "finished", "id", "number", "reader", "room")

    def __init__(self, stream_id: int, number: int | None) -> None:
        self.id = stream_id
        self.number = number
        """As both machines call it; None until the peer that opened it has said."""
        most = FRAME_BYTES_MAX + 64 if stream_id == SESSION_STREAM else STREAM_FRAME_BYTES_MAX
        self.reader = FrameReader(frame_bytes_max=most)
        self.room = asyncio.Event()
        self.ended = False
        """The peer said its last."""
        self.finished = False
        """We said our last."""


class QuicLink:
    """A `Link`. See the module."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._connection = carrier.connection
        self._lanes: dict[int, _Lane] = {}
        """By QUIC's stream id."""
        self._numbers: dict[int, _Lane] = {}
        """By the machines' numbers; 0 is the session."""
        self._full: deque[_Lane] = deque()
        """Node streams that may have a whole frame, in the order in which they are served."""
        self._waiting: set[_Lane] = set()
        self._newest = [0, 0]
        """The highest number yet of even and of odd streams: numbers only grow, so one that is not known is over."""
        self._greeted = False
        """A frame of the session was taken: only then do others count."""
        self._arrived = asyncio.Event()
        self._moved = asyncio.Event()
        self._over = asyncio.Event()
        self._reason = ""
        self._refused = False
        """The peer does not take our certificate."""
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the handshake is; a server still may refuse the certificate after that."""

    # --- the port ---

    @property
    def peer_name(self) -> str:
        peer = self._connection.peer
        return peer.name if peer is not None else ""

    @property
    def peer_key(self) -> str:
        peer = self._connection.peer
        return peer.key if peer is not None else ""

    @property
    def peer_issuer(self) -> str:
        peer = self._connection.peer
        return peer.issuer if peer is not None else ""

    @property
    def apart(self) -> bool:
        return True

    @property
    def heard_s(self) -> float:
        return self._carrier.heard_s

    @property
    def peer_address(self) -> str:
        """IP address of the other end now (it may move), or ""."""
        address = self._connection.get_peer_address()
        return str(address[0]).removeprefix("::ffff:") if address else ""

    @property
    def not_after_ms(self) -> int:
        """When the peer's certificate expires, milliseconds since the epoch of Unix; 0 without one."""
        peer = self._connection.peer
        return peer.not_after_ms if peer is not None else 0

    @property
    def protocol(self) -> str:
        """The ALPN name that was agreed on."""
        return self._connection.tls.alpn_negotiated or ""

    @property
    def resumed(self) -> bool:
        """The handshake was a short one, by ticket."""
        return self._connection.tls.session_resumed

    @property
    def is_open(self) -> bool:
        return self.open.done() and not self._over.is_set()

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        self._check()
        lane = self._lane_to(stream)
        if lane is None or lane.finished:
            return  # the peer ended that stream and drops what comes
        try:
            self._connection.write(lane.id, framed(data), end=last)
        except ValueError as error:
            raise UnavailableError(f"the link can't carry it: {error}") from error
        lane.finished = lane.finished or last
        self._carrier.soon()
        while self._connection.unsent(lane.id) > UNSENT_BYTES and not lane.ended:
            lane.room.clear()
            self._waiting.add(lane)
            await lane.room.wait()
            self._check()
        self._release(lane)

    async def receive(self) -> bytes:
        while True:
            frame = self._next()
            if frame is not None:
                return frame
            self._check()
            self._arrived.clear()
            await self._arrived.wait()

    async def close(self, *, code: int, reason: str) -> None:
        if self._over.is_set():
            return
        try:
            if self._connection.has_stream(SESSION_STREAM) and not self._numbers[0].finished:
                self._numbers[0].finished = True
                self._connection.write(SESSION_STREAM, b"", end=True)
                self._carrier.soon()
            async with asyncio.timeout(FLUSH_S_MAX):
                while not (self._connection.delivered(SESSION_STREAM) or self._over.is_set()):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pass  # the peer says nothing; it will find out by itself
        finally:
            self._carrier.end(code, _cut(reason, 120))
            self.ended("closed here")

    def abort(self) -> None:
        self._carrier.end(QuicErrorCode.NO_ERROR, "")
        self.ended("given up here")

    def wire_bytes(self) -> tuple[int, int] | None:
        """See `skerry.sync.traffic.WireCounted`."""
        return self._connection.wire_sent, self._carrier.wire_received

    # --- what the carrier tells ---

    def opened(self) -> None:
        if self._connection.peer is None:
            self.broken("the peer proved nothing")
        elif not self.open.done():
            self.open.set_result(None)

    def arrived(self, stream_id: int, data: bytes, *, end: bool) -> None:
        lane = self._lanes.get(stream_id)
        if lane is None:
            number = 0 if stream_id == SESSION_STREAM else None
            lane = self._lanes[stream_id] = _Lane(stream_id, number)
            if number is not None:
                self._numbers[number] = lane
        lane.reader.feed(data)
        lane.ended = lane.ended or end
        if lane.number is None and not self._name(lane):
            return
        if lane.number != 0 and lane not in self._full:
            self._full.append(lane)
        self._allow(lane)
        lane.room.set()
        self._arrived.set()

    def moved(self) -> None:
        """Something was sent, or acknowledged."""
        self._moved.set()
        for lane in tuple(self._waiting):
            if self._connection.unsent(lane.id) <= UNSENT_BYTES:
                self._waiting.discard(lane)
                lane.room.set()

    def broken(self, reason: str) -> None:
        """The peer does what no peer of ours does."""
        self._carrier.end(QuicErrorCode.PROTOCOL_VIOLATION, reason)
        self.ended(reason)

    def ended(self, reason: str, *, refused: bool = False, unanswered: bool = False) -> None:
        """Nothing further comes or goes; what arrived can still be taken. `unanswered`: nobody was there."""
        if self._over.is_set():
            return
        self._refused = refused
        self._reason = _cut(reason, 300)
        self._over.set()
        if not self.open.done():
            self.open.set_exception((UnansweredError if unanswered else UnavailableError)(self._reason))
            self.open.exception()  # whoever waited has it; nobody need have
        for event in (self._arrived, self._moved, *(lane.room for lane in self._lanes.values())):
            event.set()

    # --- inside ---

    def _check(self) -> None:
        if self._over.is_set():
            kind = IdentityRefusedError if self._refused else UnavailableError
            raise kind(f"the link has ended: {self._reason}")

    def _lane_to(self, number: int) -> _Lane | None:
        """The lane of a stream that is sent on, opened if it is ours to open; None when it was there and is over."""
        lane = self._numbers.get(number)
        if lane is not None:
            return lane
        if number != 0 and number <= self._newest[number % 2]:
            return None
        stream_id = self._connection.get_next_available_stream_id()
        if number == 0 and stream_id != SESSION_STREAM:
            raise UnavailableError("the peer has opened no session")
        self._newest[number % 2] = number
        lane = self._lanes[stream_id] = self._numbers[number] = _Lane(stream_id, number)
        if number != 0:
            self._connection.write(stream_id, varint(number), end=False)
        return lane

    def _name(self, lane: _Lane) -> bool:
        """Read the number that a stream of the peer's begins with; False while it has not come."""
        number = lane.reader.number()
        if number is None:
            return False
        if number <= self._newest[number % 2]:
            self.broken(f"stream {number} was opened twice")
            return False
        self._newest[number % 2] = lane.number = number
        self._numbers[number] = lane
        return True

    def _next(self) -> bytes | None:
        session = self._numbers.get(0)
        if session is not None:
            frame = self._taken(session)
            if frame is not None:
                self._greeted = True
                return frame
            if session.ended and not self._over.is_set():
                self.ended("the peer has ended the session")
        if not self._greeted:
            return None
        for _ in range(len(self._full)):
            lane = self._full.popleft()
            frame = self._taken(lane)
            if frame is not None:
                self._full.append(lane)
                return frame
            self._settle(lane)
        return None

    def _taken(self, lane: _Lane) -> bytes | None:
        try:
            frame = lane.reader.next()
        except ProtocolError as error:
            self.broken(str(error))
            return None
        if frame is not None:
            self._allow(lane)
        return frame

    def _allow(self, lane: _Lane) -> None:
        if not lane.ended and self._connection.allow(lane.id, lane.reader.may_reach(WINDOW_BYTES)):
            self._carrier.soon()

    def _settle(self, lane: _Lane) -> None:
        """A node stream without a whole frame: when the peer ended it, we do as well."""
        if not lane.ended:
            return
        if not lane.finished:
            lane.finished = True
            self._connection.write(lane.id, b"", end=True)
            self._carrier.soon()
        self._release(lane)

    def _release(self, lane: _Lane) -> None:
        """Forget a node stream that both sides ended and all was taken of."""
        if lane.number not in (0, None) and lane.ended and lane.finished and not lane.reader.ready():
            self._lanes.pop(lane.id, None)
            self._numbers.pop(lane.number, None)
            self._connection.forget(lane.id)


def protocol_of(path: str) -> str:
    """The ALPN name under which what WebSocket links ask for by path is asked for."""
    return ALPN_PREFIX + path


def _is_refusal(event: events.ConnectionTerminated) -> bool:
    """The TLS alerts that speak of our certificate, or of that we showed none."""
    return event.error_code - 0x100 in IDENTITY_ALERTS


def _reason(event: events.ConnectionTerminated) -> str:
    if event.frame_type is None:
        return f"the peer closed it, code {event.error_code}: {event.reason_phrase}"
    return ": ".join(text for text in (alert_text(event.error_code), event.reason_phrase) if text) or (
        f"QUIC error {event.error_code}"
    )


def _cut(text: str, length: int) -> str:
    """A peer's words, fit for one line of a log."""
    return "".join(each if each.isprintable() else "?" for each in text[:length])
