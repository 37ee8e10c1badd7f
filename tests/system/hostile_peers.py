"""Gateways that mean ill, on bare sockets: TLS and the WebSocket protocol by hand, and QUIC packets by hand.

Nothing here uses our own dialler, so that no rule of ours stands between a test and the hub. Bytes and frames are
made by this module; only the session's frames come from `skerry.wire`, which has a test of its own against protoc.

Sources: RFC 6455 section 5.2; RFC 9000 sections 12.4 and 19.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicNetworkPath
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch, SessionTicket

from skerry.objects.enrolment import HUB_SERVER_NAME
from skerry.objects.meta import Revision
from skerry.transport.framing import FrameReader, framed
from skerry.wire.codec import FRAME_BYTES_MAX, decode, encode
from skerry.wire.frames import PROTOCOL_VERSIONS, Close, Frame, Hello

BINARY, CONTINUED, PING = 0x2, 0x0, 0x9
"""Opcodes of RFC 6455 section 5.2."""
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """What a peer shows; the certificate may be missing."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(self.ca)
        if self.certificate is not None:
            made.load_cert_chain(self.certificate, self.key)
        return made


def place_of(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def hello(node: str, **fields: Any) -> Hello:
    given: dict[str, Any] = {
        "versions": PROTOCOL_VERSIONS,
        "node": node,
        "agent_version": "0",
        "incarnation": f"{node}-hostile",
        "epoch": "",
        "revision": Revision(0),
        "root": 1,
        "outbox_head": 0,
    }
    return Hello(**{**given, **fields})


# --- WebSocket ---


def web_frame(payload: bytes, *, opcode: int = BINARY, fin: bool = True, announced: int | None = None) -> bytes:
    """One masked frame (the mask is zero, as good as any). `announced`: the length that its head tells."""
    size = len(payload) if announced is None else announced
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + bytes(4) + payload


def upgrade(path: str = "/session", *more: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: hub",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode()


class WebPeer:
    """One TLS connection to the hub, before or after its upgrade. Blocks, with a deadline."""

    def __init__(self, address: str, papers: Papers) -> None:
        self.plain = socket.create_connection(place_of(address), timeout=PATIENCE_S)
        try:
            self.sock = papers.context().wrap_socket(self.plain, server_hostname=HUB_SERVER_NAME)
        except BaseException:
            self.plain.close()
            raise
        self._heard = bytearray()

    def send(self, data: bytes) -> bool:
        """Whether the hub took it, all of it and within the deadline."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def pour(self, data: bytes, *, total: int, within_s: float) -> int:
        """Write the same bytes until so many were taken, or the hub takes no more; how many it took."""
        until, taken = time.monotonic() + within_s, 0
        self.sock.settimeout(1.0)
        while taken < total and time.monotonic() < until:
            try:
                taken += self.sock.send(data)
            except TimeoutError:
                continue
            except OSError:
                break
        return taken

    def pour_and_read(self, data: bytes, *, within_s: float) -> None:
        """Write the same bytes again and again, and read all answers. In one thread: an SSL socket is not for two."""
        until = time.monotonic() + within_s
        self.sock.setblocking(False)
        while time.monotonic() < until:
            try:
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    self.sock.send(data)
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    while self.sock.recv(65536):
                        pass
            except OSError:
                return
            select.select([self.sock], [self.sock], [], 0.1)

    def upgraded(self) -> WebPeer:
        assert self.send(upgrade())
        answer = self.answer()
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return self

    def answer(self) -> bytes:
        """The hub's HTTP answer, its head; empty when it hangs up."""
        while b"\r\n\r\n" not in self._heard:
            data = self._receive()
            if not data:
                return bytes(self._heard)
            self._heard += data
        head, _, rest = bytes(self._heard).partition(b"\r\n\r\n")
        self._heard = bytearray(rest)
        return head

    def say(self, *frames: Frame) -> bool:
        return self.send(b"".join(web_frame(encode(frame)) for frame in frames))

    def hear(self) -> Frame | None:
        """The next frame of the session; None when the hub has ended the connection."""
        message = b""
        while True:
            found = self._web_frame()
            if found is None:
                return None
            opcode, fin, payload = found
            if opcode not in (BINARY, CONTINUED):
                continue
            message += payload
            if fin:
                return decode(message)

    def hear_a(self, *kinds: type[Frame]) -> Frame:
        """The next frame of one of these kinds."""
        while True:
            frame = self.hear()
            assert frame is not None, "the hub hung up"
            if isinstance(frame, kinds):
                return frame

    def goodbye(self) -> Close:
        """The hub's last word."""
        frame = self.hear_a(Close)
        assert isinstance(frame, Close)
        return frame

    def is_ended(self, within_s: float = PATIENCE_S) -> bool:
        """Whether the hub ends the connection, whatever it says before."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            self.sock.settimeout(max(0.05, until - time.monotonic()))
            try:
                if not self.sock.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def close(self) -> None:
        self.sock.close()

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            return b""

    def _take(self, count: int) -> bytes | None:
        while len(self._heard) < count:
            data = self._receive()
            if not data:
                return None
            self._heard += data
        taken = bytes(self._heard[:count])
        del self._heard[:count]
        return taken

    def _web_frame(self) -> tuple[int, bool, bytes] | None:
        head = self._take(2)
        if head is None:
            return None
        size = head[1] & 0x7F
        if size >= 126:
            more = self._take(2 if size == 126 else 8)
            if more is None:
                return None
            size = int.from_bytes(more, "big")
        payload = self._take(size)
        return None if payload is None else (head[0] & 0x0F, bool(head[0] & 0x80), payload)


# --- QUIC ---


class RogueConnection(QuicConnection):
    """aioquic's connection that sends any frame it is told to, right or wrong, as often as it is told to."""

    def __init__(self, configuration: QuicConfiguration, tickets: list[SessionTicket]) -> None:
        self.rogue: deque[bytes] = deque()
        """Whole frames, each beginning with its type in one byte."""
        self.rogue_initial: deque[bytes] = deque()
        """All of an Initial packet each."""
        super().__init__(configuration=configuration, session_ticket_handler=tickets.append)

    def let_go(self, *, datagram_bytes: int | None = None) -> None:
        """Mind no congestion from now on."""
        self._loss._cc.congestion_window = 1 << 40
        self._loss._pacer.next_send_time = lambda now: None  # pyright: ignore[reportAttributeAccessIssue]
        if datagram_bytes is not None:
            self._max_datagram_size = datagram_bytes

    def _write_handshake(self, builder: QuicPacketBuilder, epoch: Epoch, now: float) -> None:
        super()._write_handshake(builder, epoch, now)
        crypto = self._cryptos[Epoch.INITIAL]
        if epoch is Epoch.INITIAL and crypto.send.is_valid():
            while self.rogue_initial:
                frames = self.rogue_initial[0]
                builder.start_packet(QuicPacketType.INITIAL, crypto)
                builder.start_frame(frames[0], capacity=len(frames)).push_bytes(frames[1:])
                self.rogue_initial.popleft()

    def _write_application(self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float) -> None:
        crypto = self._cryptos[Epoch.ONE_RTT]
        if self.rogue and crypto.send.is_valid():
            builder.start_packet(QuicPacketType.ONE_RTT, crypto)
            while self.rogue:
                frame = self.rogue[0]
                builder.start_frame(frame[0], capacity=len(frame)).push_bytes(frame[1:])
                self.rogue.popleft()
        super()._write_application(builder, network_path, now)


@dataclass(slots=True)
class QuicPeer:
    """One QUIC connection on a UDP socket of its own, driven by hand and by one thread."""

    address: str
    papers: Papers
    source: str = "127.0.0.1"
    ticket: SessionTicket | None = None
    tickets: list[SessionTicket] = field(default_factory=list[SessionTicket])
    ended: events.ConnectionTerminated | None = None
    """How the hub ended it."""
    connection: RogueConnection = field(init=False)
    sock: socket.socket = field(init=False)
    _reader: FrameReader = field(init=False)
    _heard: deque[Frame | None] = field(default_factory=deque["Frame | None"])

    def __post_init__(self) -> None:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=["skerry/1/session"], server_name=HUB_SERVER_NAME
        )
        configuration.load_verify_locations(cafile=str(self.papers.ca))
        if self.papers.certificate is not None and self.papers.key is not None:
            configuration.load_cert_chain(self.papers.certificate, self.papers.key)
        configuration.session_ticket = self.ticket
        self.connection = RogueConnection(configuration, self.tickets)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.source, 0))
        self.sock.connect(place_of(self.address))
        self._reader = FrameReader(frame_bytes_max=FRAME_BYTES_MAX + 64)
        self.connection.connect(place_of(self.address), now=time.monotonic())

    def shaken(self) -> QuicPeer:
        """Go on until the handshake is done."""
        self.until(lambda: self.connection._handshake_confirmed or self.ended is not None)
        assert self.ended is None, self.ended
        return self

    def is_ended(self, within_s: float = PATIENCE_S) -> bool:
        with contextlib.suppress(AssertionError):
            self.until(lambda: self.ended is not None, within_s)
        return self.ended is not None

    def until(self, level: Any, within_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + within_s
        while not level():
            assert time.monotonic() < deadline, "not reached"
            self.turn(0.05)

    def run(self, seconds: float) -> None:
        """Go on for so long, whatever comes."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.ended is None:
            self.turn(0.02)

    def turn(self, wait_s: float = 0.0) -> None:
        """Send what is to be sent, take what has come."""
        self.flush()
        self.sock.settimeout(max(wait_s, 0.001))
        with contextlib.suppress(OSError):
            while True:
                data = self.sock.recv(65536)
                self.connection.receive_datagram(data, place_of(self.address), now=time.monotonic())
                self.sock.settimeout(0.0001)
        timer = self.connection.get_timer()
        if timer is not None and timer <= time.monotonic():
            self.connection.handle_timer(now=time.monotonic())
        self._events()
        self.flush()

    def flush(self) -> None:
        while made := self.connection.datagrams_to_send(now=time.monotonic()):
            for data, _ in made:
                with contextlib.suppress(OSError):
                    self.sock.send(data)

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            self.connection.send_stream_data(0, framed(encode(frame)))
        self.turn()

    def pour(self, frames: Iterable[bytes], *, batch: int = 400) -> None:
        """QUIC frames by hand, many to a packet."""
        for number, frame in enumerate(frames):
            self.connection.rogue.append(frame)
            if number % batch == batch - 1:
                self.turn()
            if self.ended is not None:
                return
        while self.connection.rogue and self.ended is None:
            self.turn()

    def hear_a(self, *kinds: type[Frame]) -> Frame:
        found: list[Frame] = []

        def there() -> bool:
            while self._heard:
                frame = self._heard.popleft()
                if isinstance(frame, kinds):
                    found.append(frame)
            return bool(found)

        self.until(lambda: there() or self.ended is not None)
        assert found, f"the hub ended it: {self.ended}"
        return found[0]

    def close(self) -> None:
        self.connection.close()
        self.flush()
        self.sock.close()

    def _events(self) -> None:
        while (event := self.connection.next_event()) is not None:
            match event:
                case events.ConnectionTerminated():
                    self.ended = event
                case events.StreamDataReceived(stream_id=0):
                    self._reader.feed(event.data)
                    while (frame := self._reader.next()) is not None:
                        self._heard.append(decode(frame))
                case _:
                    pass


def varint(value: int) -> bytes:
    """RFC 9000 section 16, always in four bytes or in eight."""
    return struct.pack("!I", 0x8000_0000 | value) if value < 1 << 30 else struct.pack("!Q", 0xC0 << 56 | value)


def stream_frame(stream: int, offset: int, data: bytes, *, fin: bool = False) -> bytes:
    """A STREAM frame with an offset and a length (RFC 9000 section 19.8)."""
    return bytes([0x0E | fin]) + varint(stream) + varint(offset) + varint(len(data)) + data


def first_packet() -> bytes:
    """An Initial that asks for a session, of a client that nobody has seen."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["skerry/1/session"])
    connection = QuicConnection(configuration=configuration)
    connection.connect(("127.0.0.1", 9), now=0.0)
    return connection.datagrams_to_send(now=0.0)[0][0]


@contextmanager
def closing(peers: list[WebPeer] | list[QuicPeer]) -> Generator[None]:
    """Whatever happens, no peer outlives the block."""
    try:
        yield
    finally:
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.close()
