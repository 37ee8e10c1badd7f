"""Dialling over QUIC (RFC 9000), TLS 1.3 and certificates on both sides: what a gateway does on bad, moving links.

The peer is checked as over WebSocket: one pinned CA, the name that every server certificate of a cloud has, and dates
by the newest time that this gateway knows where its own clock is behind. The socket is not bound to an address of
this machine, so that a change of network moves the connection and does not end it (RFC 9000 section 9).

Importing this module loads aioquic, 16 MB of a gateway's memory: import it when QUIC is dialled. Keeps nothing but
the tickets that it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from aioquic import tls
from aioquic.quic.connection import NetworkAddress
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from skerry.errors import BadRequestError, UnansweredError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.enrolment import split_address
from skerry.sync.ages import clock_is_wrong
from skerry.transport.datagrams import BatchedDatagrams
from skerry.transport.identity import SESSION_PATH, Identity
from skerry.transport.quic_connection import LinkConnection, quic_configuration
from skerry.transport.quic_link import OPEN_S_MAX, Carrier, QuicLink, protocol_of
from skerry.transport.quic_tls import GatewayTls, Kept, PeerCertificate, Tickets, authorities, check_server, judged_at

IDLE_S: Final = 3 * 3600.0 + 60
"""Above what any hub says, which follows from its heartbeat (RFC 9000 section 10.1: the smaller of both counts)."""
DEFAULT_PORT: Final = 10443
CLIENT_TICKETS_MAX: Final = 16
"""One for each address of the cloud, and some for addresses that are no more."""
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
"""ip(7), ipv6(7): tell of ICMP errors on a socket that is not connected. Python's `socket` does not name them."""


class GatewayKeys(Frozen):
    """What a gateway shows and whom it trusts, read from its files."""

    roots_pem: bytes
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes
    server_name: str
    """The name that the cloud's certificate must have."""

    @property
    def digest(self) -> bytes:
        """Changes with the certificate and with the CA: tickets of before are not used after."""
        return hashlib.sha256(
            self.server_name.encode() + self.roots_pem + self.chain[0].fingerprint(hashes.SHA256())
        ).digest()


def gateway_keys(identity: Identity) -> GatewayKeys:
    """Read the files. Raises `OSError`, or `ValueError` for what can't be understood or doesn't belong together."""
    chain = tuple(x509.load_pem_x509_certificates(identity.certificate_file.read_bytes()))
    key = load_pem_private_key(identity.key_file.read_bytes(), password=None)
    if key.public_key() != chain[0].public_key():
        raise ValueError("the key is not the certificate's")
    return GatewayKeys(
        roots_pem=identity.ca_file.read_bytes(), chain=chain, key=key, server_name=identity.server_name
    )


def client_tickets() -> Tickets:
    """Room for the tickets of one gateway."""
    return Tickets(limit=CLIENT_TICKETS_MAX)


class Judgement(Frozen):
    """By which time a gateway judges the cloud's certificate."""

    wall_ms: int
    floor_ms: int
    """The newest time known here; 0 for none."""

    def at(self, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> datetime:
        if not clock_is_wrong(wall_ms=self.wall_ms, floor_ms=self.floor_ms):
            return datetime.fromtimestamp(self.wall_ms / 1000, UTC)
        return judged_at(chain, roots, floor_ms=self.floor_ms)


async def dial(
    address: str,
    keys: GatewayKeys,
    tickets: Tickets,
    judgement: Judgement,
    *,
    path: str = SESSION_PATH,
    open_s_max: float = OPEN_S_MAX,
) -> QuicLink:
    """Open a link to `host:port`. Raises `UnavailableError`, with the reason, whatever went wrong.

    The handshake being over says who the cloud is, not that it takes us: its refusal comes with the first `receive`.
    """
    logging.getLogger("quic").setLevel(logging.ERROR)  # its news of each connection are told by the link
    try:
        host, port = split_address(address, default_port=DEFAULT_PORT)
        async with asyncio.timeout(open_s_max):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            return await _first(
                [place for _, _, _, _, place in found], _Greeting(address, keys, tickets, judgement, path)
            )
    except TimeoutError as error:
        raise UnansweredError(f"{address}: no answer over QUIC within {open_s_max:.0f} s") from error
    except UnansweredError as error:
        raise UnansweredError(f"{address}: {error}") from error
    except (OSError, BadRequestError, UnavailableError) as error:
        raise UnavailableError(f"{address}: {error}") from error


class _Greeting(Frozen, kw_only=False):
    """All that a handshake needs but the place."""

    address: str
    keys: GatewayKeys
    tickets: Tickets
    judgement: Judgement
    path: str

    @property
    def ticket_name(self) -> bytes:
        return b"|".join((self.address.encode(), self.path.encode(), self.keys.digest))

    def check(self, chain: Sequence[x509.Certificate]) -> PeerCertificate:
        roots = x509.load_pem_x509_certificates(self.keys.roots_pem)
        at = self.judgement.at(chain, roots)
        return check_server(authorities(self.keys.roots_pem), chain, at, name=self.keys.server_name)

    def resumed(self) -> Kept | None:
        """The ticket of the last time, if its server's certificate is still good."""
        kept = self.tickets.take(self.ticket_name)
        if kept is not None:
            try:
                self.check(kept.peer.chain)
            except tls.Alert:  # the full handshake says what is wrong
                return None
        return kept


async def _first(places: Sequence[NetworkAddress], greeting: _Greeting) -> QuicLink:
    """The first place that answers; the last one's fault where none does."""
    fault: UnavailableError | None = None
    for place in places:
        try:
            return await _open(place, greeting)
        except UnavailableError as error:
            fault = error
    assert fault is not None, "a name resolves to something, or raises"
    raise fault


async def _open(place: NetworkAddress, greeting: _Greeting) -> QuicLink:
    configuration = quic_configuration(is_client=True, protocols=[protocol_of(greeting.path)], idle_s=IDLE_S)
    configuration.server_name = greeting.keys.server_name
    configuration.certificate = greeting.keys.chain[0]
    configuration.certificate_chain = list(greeting.keys.chain[1:])
    configuration.private_key = greeting.keys.key
    resumed = greeting.resumed()

    def make_tls() -> GatewayTls:
        return GatewayTls(
            protocol=protocol_of(greeting.path),
            server_name=greeting.keys.server_name,
            check=greeting.check,
            keep=lambda kept: greeting.tickets.put(greeting.ticket_name, kept),
            resumed=resumed,
        )

    connection = LinkConnection(configuration=configuration, make_tls=make_tls)
    plain = _socket(place)
    carrier = Carrier(connection, owns_socket=True)
    transport = BatchedDatagrams(plain, carrier)
    carrier.on_error(lambda: _drain_errors(plain))
    opened = False
    try:
        carrier.connect(place)
        await asyncio.shield(carrier.link.open)
        opened = True
        return carrier.link
    finally:
        if not opened:
            carrier.link.abort()
            transport.close()


def _socket(place: NetworkAddress) -> socket.socket:
    """Not connected, so that the kernel finds the way anew for each datagram when this machine's addresses change."""
    six = len(place) > 2
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    with contextlib.suppress(OSError):  # not Linux: a refused port is then noticed by its silence
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    made.bind(("::" if six else "0.0.0.0", 0))
    return made


def _drain_errors(plain: socket.socket) -> None:
    """Empty the socket's queue of errors, which the kernel calls readable for as long as it holds one."""
    with contextlib.suppress(OSError):
        while True:
            plain.recvmsg(0, 512, socket.MSG_ERRQUEUE)
