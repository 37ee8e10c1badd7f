"""Listening for gateways over QUIC: one UDP socket, one connection for each gateway, every one with a certificate.

Bounds: connections, handshakes under way (each with a deadline), handshake bytes, the length of datagrams, and the
processor's time for each connection (`allowance`): all share one socket, so that one that sends without end would be
all that is heard. While many handshakes are under way
an address must first prove that it receives what is sent to it (Retry, RFC 9000 section 8.1.2), so that a flood from
forged addresses costs a hash a packet. A packet of a connection that is not known here is answered with a stateless
reset (section 10.3), whose tokens follow from a key that outlives the process: a gateway whose cloud was started anew
notices with its next packet.

Keeps connections by their ids and session tickets, in memory. A renewed server certificate is read when its file has
changed; connections that are open keep the old one. A crash ends every connection; gateways dial again.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from aioquic._buffer import Buffer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import NetworkAddress
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import Store

from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.listening import datagram_socket
from skerry.ports import Clock
from skerry.transport.allowance import Allowance, Others
from skerry.transport.datagrams import BatchedDatagrams
from skerry.transport.door import Shutters
from skerry.transport.quic_connection import RESET_TOKEN_BYTES, LinkConnection, quic_configuration
from skerry.transport.quic_link import OPEN_S_MAX, RESET_BYTES_MIN, Carrier, QuicLink, protocol_of
from skerry.transport.quic_tls import HubTls, PeerCertificate, ServerKeys, Tickets, authorities, check_client

LOG: Final = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 20_000
"""Far above what one process drives well; a bound for memory."""
HALF_OPEN_MAX: Final = 2_048
"""Handshakes under way; beyond, first packets are dropped, and well-behaved clients send theirs again."""
RETRY_FROM: Final = 128
"""Handshakes under way from which on an address is validated first: above what a calm hub ever sees."""
RETRY_S: Final = 35.0
"""How long that goes on after the last time: longer than a token lives, so that none comes back unexpected."""
RESETS_PER_S: Final = 500
DATAGRAM_BYTES_MAX: Final = 2048
"""No way through the internet takes more in one packet. Sixty kilobytes of frames of one byte each, which arrive
where the kernel puts fragments together, would be one turn of tenths of a second."""
ID_BYTES: Final = 8
_VERSIONS: Final = [int(QuicProtocolVersion.VERSION_1)]

Handler = Callable[[QuicLink], Awaitable[None]]


class HubCredentials:
    """What the hub shows, by the name that it is asked for, and whom it trusts. Certificates are read from files that
    are replaced now and then."""

    def __init__(self, *, server_files: Mapping[str, Path], roots_pem: str, reset_key: bytes, clock: Clock) -> None:
        """Reads them; the first file is shown to who asks for a name that has none. `reset_key` is the hub's own, and
        the same in its next life: stateless resets are told from it. Raises `OSError`, or `ValueError` for what can't
        be understood."""
        assert server_files
        self._files = dict(server_files)
        self._clock = clock
        self._seen: dict[str, tuple[int, int]] = {}
        self._keys: dict[str, ServerKeys] = {}
        self._store: Store = authorities(roots_pem.encode())
        for name in self._files:
            self._read(name)
        self._first = next(iter(self._files))
        self.reset_key = reset_key

    def keys(self, name: str) -> ServerKeys:
        """What is shown under a name now."""
        found = name if name in self._files else self._first
        try:
            self._read(found)
        except (OSError, ValueError) as error:
            LOG.warning("the renewed server certificate can't be read, QUIC goes on with the old one error=%s", error)
        return self._keys[found]

    def check(self, chain: Sequence[x509.Certificate]) -> PeerCertificate:
        """A gateway's chain, now. Raises `aioquic.tls.Alert`."""
        return check_client(self._store, chain, datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC))

    def _read(self, name: str) -> None:
        found = self._files[name].stat()
        seen = (found.st_mtime_ns, found.st_ino)
        if seen == self._seen.get(name):
            return
        self._seen[name] = seen  # also where it can't be understood: said once
        pem = self._files[name].read_bytes()
        key = load_pem_private_key(pem[pem.index(b"-----BEGIN PRIVATE KEY") :], password=None)
        self._keys[name] = ServerKeys(chain=tuple(x509.load_pem_x509_certificates(pem)), key=key)


class HubCarrier(Carrier):
    """A gateway's connection, which keeps its own list of the ids by which the endpoint finds it."""

    def __init__(
        self, connection: LinkConnection, table: dict[bytes, HubCarrier], ids: Sequence[bytes], others: Others
    ) -> None:
        super().__init__(connection, owns_socket=False)
        self.allowance = Allowance()
        self._others = others
        self._table = table
        self._ids: set[bytes] = set()
        for each in (*ids, connection.host_cid):
            self._issued(each)
        self._connection_id_issued_handler = self._issued
        self._connection_id_retired_handler = self._retired
        self._connection_terminated_handler = self._terminated

    def transmit(self) -> None:
        began_s = time.thread_time()
        super().transmit()
        took_s, now_s = time.thread_time() - began_s, self._loop.time()
        if self.allowance.used_up(now_s):
            self._others.not_theirs(took_s)
        self.allowance.took(took_s, now_s)

    def _issued(self, cid: bytes) -> None:
        self._ids.add(cid)
        self._table[cid] = self

    def _retired(self, cid: bytes) -> None:
        self._ids.discard(cid)
        self._table.pop(cid, None)

    def _terminated(self) -> None:
        for cid in self._ids:
            self._table.pop(cid, None)
        self._ids.clear()


class _Origin(Frozen):
    """Which ids a connection begins with."""

    original: bytes
    """The destination that the client chose at first."""
    retry: bytes | None = None
    """The one that a Retry gave it."""


class Endpoint(asyncio.DatagramProtocol):
    """The socket's reader: finds the connection of each datagram, or makes one."""

    def __init__(
        self,
        credentials: HubCredentials,
        handlers: Mapping[str, Handler],
        *,
        idle_s: float,
        retry_from: int = RETRY_FROM,
    ) -> None:
        self._credentials = credentials
        self._handlers = {protocol_of(path): handler for path, handler in handlers.items()}
        # Not a task group: that would wrap whatever ends the listener's block into an exception group.
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_s = idle_s
        self._retry_from = retry_from
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._table: dict[bytes, HubCarrier] = {}
        self._half_open: set[HubCarrier] = set()
        self._open: set[HubCarrier] = set()
        self._tickets = Tickets()
        self._tokens = QuicRetryTokenHandler()
        self._retry_until_s = 0.0
        self._others = Others()
        self._resets = (0, 0)
        """(which second, how many in it)."""
        self._stopped = False

    @property
    def connections(self) -> int:
        return len(self._open) + len(self._half_open)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: NetworkAddress) -> None:
        if len(data) > DATAGRAM_BYTES_MAX:
            return
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=ID_BYTES)
        except ValueError:
            return
        carrier = self._table.get(header.destination_cid)
        if carrier is None:
            carrier = self._stranger(header, data, addr)
        if carrier is not None:
            self._deliver(carrier, data, addr)

    def shut(self) -> None:
        """Take no more."""
        self._stopped = True

    async def stop(self) -> None:
        """Take no more, end every connection at once, and wait for whoever served them."""
        self._stopped = True
        for carrier in (*self._open, *self._half_open):
            carrier.link.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _deliver(self, carrier: HubCarrier, data: bytes, addr: NetworkAddress) -> None:
        now_s, began_s = self._loop.time(), time.thread_time()
        greedy = carrier.allowance.used_up(now_s)
        if greedy and (self._others.busy(now_s, began_s) or self._crowded()):
            return  # as lost as if the network had dropped it: its sender slows down, and sends it again
        try:
            carrier.datagram_received(data, addr)
        except Exception:
            # The root of a connection's work: what one peer sent ends its own connection, and no other.
            LOG.exception("QUIC connection failed peer=%s", carrier.link.peer_address)
            carrier.link.broken("a fault here")
        took_s = time.thread_time() - began_s
        carrier.allowance.took(took_s, now_s)
        if greedy:
            self._others.not_theirs(took_s)

    def _crowded(self) -> bool:
        """What others send would find no room soon."""
        return isinstance(self._transport, BatchedDatagrams) and self._transport.crowded

    # --- who is not known ---

    def _stranger(self, header: QuicHeader, data: bytes, addr: NetworkAddress) -> HubCarrier | None:
        """A new connection, if this is how one begins."""
        if header.packet_type == QuicPacketType.ONE_RTT:
            self._reset(header.destination_cid, len(data), addr)
            return None
        if len(data) < SMALLEST_MAX_DATAGRAM_SIZE or header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            return None
        if header.version not in _VERSIONS:
            self._send(
                encode_quic_version_negotiation(
                    source_cid=header.destination_cid,
                    destination_cid=header.source_cid,
                    supported_versions=_VERSIONS,
                ),
                addr,
            )
            return None
        full = len(self._half_open) >= HALF_OPEN_MAX or self.connections >= CONNECTIONS_MAX
        if header.packet_type != QuicPacketType.INITIAL or self._stopped or full:
            return None
        origin = self._origin(header, addr)
        return None if origin is None else self._begin(origin, header)

    def _origin(self, header: QuicHeader, addr: NetworkAddress) -> _Origin | None:
        """Whom the client first spoke to; None when it must prove its address first."""
        now_s = self._loop.time()
        if len(self._half_open) >= self._retry_from:
            self._retry_until_s = now_s + RETRY_S
        if now_s >= self._retry_until_s:
            return _Origin(original=header.destination_cid)
        if header.token:
            try:
                original = self._tokens.validate_token(
                    address=addr, destination_cid=header.destination_cid, token=header.token, now=now_s
                )
            except ValueError:
                return None
            return _Origin(original=original, retry=header.destination_cid)
        assert header.version is not None, "a long header has one"
        source = os.urandom(ID_BYTES)
        token = self._tokens.create_token(
            address=addr,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=now_s,
        )
        self._send(
            encode_quic_retry(
                version=header.version,
                source_cid=source,
                destination_cid=header.source_cid,
                original_destination_cid=header.destination_cid,
                retry_token=token,
            ),
            addr,
        )
        return None

    def _begin(self, origin: _Origin, header: QuicHeader) -> HubCarrier:
        connection = LinkConnection(
            configuration=self._configuration(),
            make_tls=lambda: HubTls(
                protocols=list(self._handlers),
                keys=self._credentials.keys,
                check=self._credentials.check,
                tickets=self._tickets,
            ),
            original_destination_connection_id=origin.original,
            retry_source_connection_id=origin.retry,
            reset_token=self._reset_token,
        )
        carrier = HubCarrier(connection, self._table, [header.destination_cid], self._others)
        assert self._transport is not None, "it received something"
        carrier.connection_made(self._transport)
        self._half_open.add(carrier)
        deadline = self._loop.call_later(OPEN_S_MAX, carrier.link.abort)
        carrier.link.open.add_done_callback(lambda done: self._opened(carrier, deadline, done))
        return carrier

    def _configuration(self) -> QuicConfiguration:
        configuration = quic_configuration(is_client=False, protocols=list(self._handlers), idle_s=self._idle_s)
        # aioquic wants some before it has heard for which name; `HubTls` chooses.
        shown = self._credentials.keys("")
        configuration.certificate, configuration.private_key = shown.chain[0], shown.key
        return configuration

    # --- who is ---

    def _opened(self, carrier: HubCarrier, deadline: asyncio.TimerHandle, done: asyncio.Future[None]) -> None:
        deadline.cancel()
        self._half_open.discard(carrier)
        if done.cancelled() or done.exception() is not None:
            return
        if self._stopped:
            carrier.link.abort()
            return
        self._open.add(carrier)
        task = self._loop.create_task(self._serve(carrier))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, carrier: HubCarrier) -> None:
        link = carrier.link
        try:
            await self._handlers[link.protocol](link)
        except UnavailableError as error:
            LOG.debug("QUIC link ended peer=%s reason=%s", link.peer_name, error)
        except Exception:
            # The root of a link's work: its fault ends it alone.
            LOG.exception("QUIC link failed peer=%s", link.peer_name)
        finally:
            link.abort()
            self._open.discard(carrier)

    # --- resets ---

    def _reset_token(self, cid: bytes) -> bytes:
        return hmac.digest(self._credentials.reset_key, cid, "sha256")[:RESET_TOKEN_BYTES]

    def _reset(self, cid: bytes, size: int, addr: NetworkAddress) -> None:
        """Say that this connection is not known. Smaller than what asked for it, so that two ends never play ball."""
        second, count = self._resets
        now = int(time.monotonic())
        count = count + 1 if second == now else 1
        self._resets = (now, count)
        length = min(size - 1, 2 * RESET_BYTES_MIN)
        if length < RESET_BYTES_MIN or count > RESETS_PER_S:
            return
        noise = bytearray(os.urandom(length - RESET_TOKEN_BYTES))
        noise[0] = 0x40 | noise[0] & 0x3F
        self._send(bytes(noise) + self._reset_token(cid), addr)

    def _send(self, data: bytes, addr: NetworkAddress) -> None:
        assert self._transport is not None, "it received something"
        self._transport.sendto(data, addr)


@asynccontextmanager
async def listen(
    host: str,
    port: int,
    credentials: HubCredentials,
    handlers: Mapping[str, Handler],
    *,
    idle_s: float,
    shutters: Shutters | None = None,
) -> AsyncGenerator[tuple[str, int]]:
    """Serve links for as long as the context lasts; gives the address bound (port 0 means any). `shutters` can close
    the door earlier. Raises `OSError`.

    `handlers` answer by the path that a link over WebSocket would ask for; every link has a peer that showed a
    certificate. `idle_s` ends a connection on which nothing at all is heard: above what the session allows.
    """
    logging.getLogger("quic").setLevel(logging.ERROR)  # its news of each connection are told by the hub
    bound = datagram_socket(host, port)
    name: tuple[str, int] = bound.getsockname()[:2]
    endpoint = Endpoint(credentials, handlers, idle_s=idle_s)
    if shutters is not None:
        shutters.add(endpoint.shut)
    transport = BatchedDatagrams(bound, endpoint)
    try:
        yield name
    finally:
        await endpoint.stop()
        transport.close()
