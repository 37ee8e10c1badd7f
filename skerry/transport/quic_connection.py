"""aioquic's connection as links need it: our TLS, windows that follow the reader, and the session before the rest.

aioquic raises its receive windows by what *arrived*; here they follow what was *taken*, so that a reader that does
not read stops its peer. What a peer may make us keep is bounded: streams, pieces ahead of what is missing, handshake
bytes. All of it is in memory; a crash loses it.

Sources: RFC 9000 sections 2, 4, 9 and 10; RFC 9001.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from aioquic._buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import NetworkAddress, QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

from skerry.transport.quic_tls import GatewayTls, HubTls, PeerCertificate, adopt

SESSION_STREAM: Final = 0
"""The client's first bidirectional stream (RFC 9000 section 2.1)."""
STREAMS_MAX: Final = 64
"""Streams that a peer may have open: twice what a session's machine allows, as ends cross on the way."""
WINDOW_BYTES: Final = 128 * 1024
"""What a stream's sender may be ahead of its reader; a single larger frame is let through whole."""
CONNECTION_WINDOW: Final = 1 << 60
"""No limit of the whole connection's: the streams' are enough, and a full log must not use up the session's."""
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
UDP_BYTES: Final = 28
"""Headers of IPv4 and UDP on each datagram (RFC 791, RFC 768); over IPv6 it is 20 more."""
RESET_TOKEN_BYTES: Final = 16


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
