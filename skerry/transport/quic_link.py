"""A link on an open QUIC connection: the session on one stream, every node stream on one of its own.

The session is the client's first bidirectional stream; frames are preceded by their length (`framing`). Any other
stream begins with the number by which both machines know it, so that what is opened in one session never waits for
what was lost of another stream. A stream ends in both directions when either side says its last frame.

aioquic raises its receive windows by what *arrived*; here they follow what was *taken*, so that a reader that does
not read stops its peer. Sending waits while more than a few packets of a stream are unsent, so that whoever chooses
what to send next chooses late; the session's bytes always go before those of other streams. All of it is in memory;
a crash loses it.

Sources: RFC 9000 sections 2, 4, 9 and 10; RFC 9001.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from aioquic._buffer import Buffer
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import NetworkAddress, QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

from skerry.clocks import uptime_s
from skerry.errors import IdentityRefusedError, ProtocolError, UnansweredError, UnavailableError
from skerry.transport.framing import FrameReader, framed, varint
from skerry.transport.quic_tls import IDENTITY_ALERTS, GatewayTls, HubTls, PeerCertificate, adopt, alert_text
from skerry.wire.codec import FRAME_BYTES_MAX

LOG: Final = logging.getLogger(__name__)

ALPN_PREFIX: Final = "skerry/1"
"""Before the path that WebSocket links name in their request: `skerry/1/session`."""
OPEN_S_MAX: Final = 20.0
"""The handshake on a very bad link."""
SESSION_STREAM: Final = 0
"""The client's first bidirectional stream (RFC 9000 section 2.1)."""
STREAMS_MAX: Final = 64
"""Streams that a peer may have open: twice what a session's machine allows, as ends cross on the way."""
WINDOW_BYTES: Final = 128 * 1024
"""What a stream's sender may be ahead of its reader; a single larger frame is let through whole."""
CONNECTION_WINDOW: Final = 1 << 60
"""No limit of the whole connection's: the streams' are enough, and a full log must not use up the session's."""
UNSENT_BYTES: Final = 8 * 1024
"""What may wait to be sent of one stream before `send` returns: a few packets, so that the pipe does not run dry."""
STREAM_FRAME_BYTES_MAX: Final = 128 * 1024
"""A frame of a node stream: twice the largest piece that the codec lets through. A peer has `STREAMS_MAX` of them."""
HOLES_MAX: Final = 256
"""Pieces of one stream that arrived ahead of what is missing. A few hundred packets on their way, half of them lost,
make as many; each is looked at again with every piece that comes."""
CRYPTO_BYTES_MAX: Final = 16 * 1024
"""Handshake bytes of a peer that nobody knows yet; a certificate chain has 2 KB."""
CRYPTO_HOLES_MAX: Final = 64
"""The same for its pieces: some clients cut their first flight into a dozen, in any order."""
ACK_S: Final = 0.005
"""How long packets are gathered before they are acknowledged: below the 25 ms that the peer is told, and five times
what aioquic takes, for which every third packet of a copy is an acknowledgement."""
FLUSH_S_MAX: Final = 1.5
"""How long an end waits until the peer has all that was sent."""
REFUSED_S: Final = 3.0
"""An ICMP "port unreachable" ends a link when nothing else was heard for this long after it: ICMP is not proof."""
UDP_BYTES: Final = 28
"""Headers of IPv4 and UDP on each datagram (RFC 791, RFC 768); over IPv6 it is 20 more."""
RESET_TOKEN_BYTES: Final = 16
RESET_BYTES_MIN: Final = 21
"""RFC 9000 section 10.3."""


class LinkConnection(QuicConnection):
    """aioquic's connection, with our TLS, windows that follow the reader, and the session before the rest."""

    def __init__(
        self,
        *,
        configuration: QuicConfiguration,
        make_tls: Callable[[], HubTls | GatewayTls],
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
        reset_token: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._make_tls = make_tls
        self._reset_token = reset_token
        self._reach: dict[int, int] = {}
        """By stream: up to which byte the peer may send."""
        self._written: dict[int, int] = {}
        self.wire_sent = 0
        """Bytes of IP packets since it was opened."""
        self.proven = 0
        """Packets that the peer made, each counted once: they were decrypted with the connection's keys."""
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        self._ack_delay = ACK_S
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = STREAMS_MAX
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0
        self._name_resets()

    @property
    def peer(self) -> PeerCertificate | None:
        """Who the handshake proved the other end to be."""
        made = cast("object", getattr(self, "tls", None))
        return made.peer if isinstance(made, HubTls | GatewayTls) else None

    @property
    def closing(self) -> events.ConnectionTerminated | None:
        """How it ends, as soon as that is known."""
        return self._close_event

    @property
    def reset_tokens(self) -> tuple[bytes, ...]:
        """What the peer would show to say that it knows this connection no more."""
        return tuple(
            each.stateless_reset_token
            for each in (self._peer_cid, *self._peer_cid_available)
            if len(each.stateless_reset_token) == RESET_TOKEN_BYTES
        )

    def has_stream(self, stream_id: int) -> bool:
        return stream_id in self._streams

    def write(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Put bytes in line. Raises `ValueError` when the peer has not opened the stream, or it is over."""
        self.send_stream_data(stream_id, data, end_stream=end)
        self._written[stream_id] = self._written.get(stream_id, 0) + len(data)

    def unsent(self, stream_id: int) -> int:
        """Bytes in line that were never sent."""
        stream = self._streams.get(stream_id)
        return self._written.get(stream_id, 0) - stream.sender.highest_offset if stream else 0

    def delivered(self, stream_id: int) -> bool:
        """The peer has everything up to the end of the stream."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender.is_finished

    def allow(self, stream_id: int, reach: int) -> bool:
        """Let the peer send up to byte `reach`; whether that is worth telling it now."""
        before = self._reach.get(stream_id, WINDOW_BYTES)
        if reach < before + WINDOW_BYTES // 2:
            return False
        self._reach[stream_id] = reach
        return True

    def forget(self, stream_id: int) -> None:
        """Nobody reads or writes it any more."""
        self._reach.pop(stream_id, None)
        self._written.pop(stream_id, None)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        made = super().datagrams_to_send(now)
        self.wire_sent += sum(len(data) + UDP_BYTES for data, _ in made)
        return made

    # --- what aioquic decides otherwise ---

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        context = self._make_tls()
        adopt(self.tls, context)
        self.tls = context

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        self._name_resets()

    def _name_resets(self) -> None:
        if self._reset_token is not None:
            for each in self._host_cids:
                each.stateless_reset_token = self._reset_token(each.cid)

    def _payload_received(
        self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False
    ) -> tuple[bool, bool]:
        self.proven += 1
        return super()._payload_received(context, plain, crypto_frame_required)

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        begin = buf.tell()
        reach = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(begin)
        if reach > self._crypto_streams[context.epoch].receiver.starting_offset() + CRYPTO_BYTES_MAX:
            raise QuicConnectionError(
                error_code=QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
                frame_type=frame_type,
                reason_phrase="too much of a handshake",
            )
        super()._handle_crypto_frame(context, frame_type, buf)
        self._check_holes(self._crypto_streams[context.epoch], CRYPTO_HOLES_MAX, frame_type)

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        begin = buf.tell()
        stream_id = buf.pull_uint_var()
        buf.seek(begin)
        super()._handle_stream_frame(context, frame_type, buf)
        self._check_holes(self._streams[stream_id], HOLES_MAX, frame_type)

    def _check_holes(self, stream: QuicStream, most: int, frame_type: int) -> None:
        if len(stream.receiver._ranges) > most:  # pyright: ignore[reportPrivateUsage]  # nothing public tells
            raise QuicConnectionError(
                error_code=QuicErrorCode.INTERNAL_ERROR,
                frame_type=frame_type,
                reason_phrase="too many pieces out of order",
            )

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        assert stream.stream_id is not None
        reach = self._reach.get(stream.stream_id, WINDOW_BYTES)
        stream.max_stream_data_local = max(stream.max_stream_data_local, reach)
        if stream.max_stream_data_local_sent == stream.max_stream_data_local or stream.receiver.is_finished:
            return
        frame = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=1 + 8 + 8,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        frame.push_uint_var(stream.stream_id)
        frame.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local

    def _write_stream_frame(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream, max_offset: int
    ) -> int:
        if stream.stream_id != SESSION_STREAM and self._session_waits():
            return 0
        return super()._write_stream_frame(builder, space, stream, max_offset)

    def _session_waits(self) -> bool:
        """The session has bytes that could be sent."""
        session = self._streams.get(SESSION_STREAM)
        if session is None or session.is_blocked:
            return False
        following = session.sender.next_offset
        return following < min(self._written.get(SESSION_STREAM, 0), session.max_stream_data_remote)


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


def quic_configuration(*, is_client: bool, protocols: list[str], idle_s: float) -> QuicConfiguration:
    """What both ends have in common."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=protocols,
        idle_timeout=idle_s,
        max_data=CONNECTION_WINDOW,
        max_stream_data=WINDOW_BYTES,
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )


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
