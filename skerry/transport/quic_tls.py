"""TLS 1.3 as QUIC links use it: both sides show a certificate, and both are truly checked.

aioquic's server asks nobody for a certificate, and its private flag that asks checks neither issuer nor dates nor
purpose. Here the TLS context is subclassed: after the proof of possession (CertificateVerify) the chain is checked
against the one CA (`skerry.transport.chains`), with the purpose; no certificate ends the handshake. What
was proved is in `peer`, which stays None unless every check ran: a library that changes its ways under us gives
links without a peer, and those are refused.

A session ticket is bound to the certificate that was checked when it was made, is good for one use, and the chain is
checked again when it is used. There is no early data: see docs/decisions/0121-no-early-data.md. Tickets are kept in
memory only; a crash costs a full handshake.

Sources: RFC 8446 sections 2.2, 4.4.2.4, 4.6.1 and 8; RFC 9001 section 4.6; RFC 5280 section 6.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from aioquic import tls
from aioquic._buffer import Buffer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Store

from skerry.frozen import Frozen
from skerry.objects.enrolment import issuer_key_of_certificate, pin_of
from skerry.transport import chains
from skerry.transport.chains import ChainError, Flaw

TICKETS_MAX: Final = 20_000
"""Twice the gateways of one hub, about a kilobyte each; the oldest go first."""


class CertificateRequiredError(tls.Alert):
    """RFC 8446 section 4.4.2.4: the peer showed no certificate."""

    description = tls.AlertDescription.certificate_required


class UnknownCaError(tls.Alert):
    """RFC 8446 section 6.2: the chain does not end at our CA."""

    description = tls.AlertDescription.unknown_ca


_ALERT_OF: Final[dict[Flaw, type[tls.Alert]]] = {
    Flaw.MISSING: CertificateRequiredError,
    Flaw.BAD: tls.AlertBadCertificate,
    Flaw.EXPIRED: tls.AlertCertificateExpired,
    Flaw.PURPOSE: tls.AlertUnsupportedCertificate,
    Flaw.UNTRUSTED: UnknownCaError,
}


class PeerCertificate(Frozen):
    """A certificate that was checked, with what the peer showed beside it."""

    chain: tuple[x509.Certificate, ...]
    """The peer's own first."""

    @property
    def name(self) -> str:
        """Common name of its subject, or ""."""
        names = self.chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    @property
    def key(self) -> str:
        """`pin_of` its public key."""
        public = self.chain[0].public_key()
        return pin_of(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    @property
    def issuer(self) -> str:
        """Key identifier (hex) of who signed it, or ""."""
        return issuer_key_of_certificate(self.chain[0].public_bytes(Encoding.DER))

    @property
    def not_after_ms(self) -> int:
        return round(self.chain[0].not_valid_after_utc.timestamp() * 1000)


class Kept(Frozen):
    """A ticket and whom it is bound to."""

    ticket: tls.SessionTicket
    peer: PeerCertificate


class Tickets:
    """Session tickets by name, each good for one use."""

    def __init__(self, *, limit: int = TICKETS_MAX) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    @property
    def count(self) -> int:
        return len(self._kept)

    @property
    def names(self) -> Sequence[bytes]:
        return tuple(self._kept)

    def put(self, name: bytes, kept: Kept) -> None:
        self._kept.pop(name, None)
        self._kept[name] = kept
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def take(self, name: bytes) -> Kept | None:
        return self._kept.pop(name, None)


def authorities(pem: bytes) -> Store:
    """The CA certificates that peers are checked against. Raises `ValueError` when the text holds none."""
    return Store(x509.load_pem_x509_certificates(pem))


def check_client(store: Store, chain: Sequence[x509.Certificate], at: datetime) -> PeerCertificate:
    """A gateway's chain, checked for the purpose clientAuth. Raises `tls.Alert`."""
    try:
        chains.check_client(store, chain, at)
    except ChainError as error:
        raise _ALERT_OF[error.flaw](str(error)) from error
    return PeerCertificate(chain=tuple(chain))


def check_server(store: Store, chain: Sequence[x509.Certificate], at: datetime, *, name: str) -> PeerCertificate:
    """A cloud's chain, checked for the purpose serverAuth and this DNS name. Raises `tls.Alert`."""
    try:
        chains.check_server(store, chain, at, name=name)
    except ChainError as error:
        raise _ALERT_OF[error.flaw](str(error)) from error
    return PeerCertificate(chain=tuple(chain))


def judged_at(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, floor_ms: int) -> datetime:
    """The instant by which a gateway with a wrong clock judges a chain: the newest time it knows, or when the newest
    certificate was made, whichever is later. A chain that expired before what is known is refused by that."""
    known = datetime.fromtimestamp(floor_ms / 1000, UTC)
    return max(known, *(certificate.not_valid_before_utc for certificate in (*chain, *roots)))


class ServerKeys(Frozen):
    """What a hub shows under one name."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes


class HubTls(tls.Context):
    """The server's side of one handshake."""

    def __init__(
        self,
        *,
        protocols: Sequence[str],
        keys: Callable[[str], ServerKeys],
        check: Callable[[Sequence[x509.Certificate]], PeerCertificate],
        tickets: Tickets,
    ) -> None:
        super().__init__(is_client=False, alpn_protocols=list(protocols), max_early_data=None)  # pyright: ignore[reportUnknownMemberType]
        self._request_client_certificate = True
        self._keys = keys
        self._check = check
        self._tickets = tickets
        self._early_data_offered = False
        self.peer: PeerCertificate | None = None
        """Who it is, once every check passed."""
        self.get_session_ticket_cb = self._bound_ticket
        self.new_session_ticket_cb = self._keep

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        begin = input_buf.tell()
        hello = tls.pull_client_hello(input_buf)
        input_buf.seek(begin)
        self._early_data_offered = hello.early_data
        shown = self._keys(hello.server_name or "")  # RFC 6066 section 3: the gateway says which CA it knows
        self.certificate, self.certificate_chain = shown.chain[0], list(shown.chain[1:])
        self.certificate_private_key = cast("Any", shown.key)
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)
        if self.session_resumed:
            # No certificate was asked for: the ticket stands for it.
            self._server_expect_finished()

    def _server_handle_certificate(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate(input_buf)
        if self._peer_certificate is None:
            raise CertificateRequiredError("a client certificate is needed")

    def _server_handle_certificate_verify(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate_verify(input_buf)
        assert self._peer_certificate is not None, "a signature was checked with its key"
        self.peer = self._check((self._peer_certificate, *self._peer_certificate_chain))

    def _bound_ticket(self, name: bytes) -> tls.SessionTicket | None:
        """The ticket, if it was made here, is unused, offers no early data, and its certificate is still good."""
        kept = self._tickets.take(name)
        if kept is None or self._early_data_offered:
            return None
        try:
            self.peer = self._check(kept.peer.chain)
        except tls.Alert:
            return None  # a full handshake says what is wrong with the certificate
        return kept.ticket

    def _keep(self, ticket: tls.SessionTicket) -> None:
        if self.peer is not None:
            self._tickets.put(ticket.ticket, Kept(ticket=ticket, peer=self.peer))

    def _server_handle_finished(self, input_buf: Buffer, output_buf: Buffer) -> None:
        if self.peer is None:
            raise CertificateRequiredError("a client certificate is needed")
        super()._server_handle_finished(input_buf, output_buf)


class GatewayTls(tls.Context):
    """The client's side of one handshake."""

    def __init__(
        self,
        *,
        protocol: str,
        server_name: str,
        check: Callable[[Sequence[x509.Certificate]], PeerCertificate],
        keep: Callable[[Kept], None],
        resumed: Kept | None,
    ) -> None:
        # aioquic would judge the chain by this machine's clock, which may be wrong, and for no purpose: `check` does.
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            is_client=True, alpn_protocols=[protocol], server_name=server_name, verify_mode=ssl.CERT_NONE
        )
        self._check = check
        self._keep = keep
        self._resumed = resumed
        self.peer: PeerCertificate | None = None
        self.session_ticket = resumed.ticket if resumed is not None else None
        self.new_session_ticket_cb = self._bind

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        super()._client_handle_certificate_verify(input_buf)
        assert self._peer_certificate is not None, "a signature was checked with its key"
        self.peer = self._check((self._peer_certificate, *self._peer_certificate_chain))

    def _client_handle_finished(self, input_buf: Buffer, output_buf: Buffer) -> None:
        if self.session_resumed and self._resumed is not None:
            self.peer = self._resumed.peer  # its chain was checked again before the ticket was offered
        if self.peer is None:
            raise CertificateRequiredError("a server certificate is needed")
        super()._client_handle_finished(input_buf, output_buf)

    def _bind(self, ticket: tls.SessionTicket) -> None:
        if self.peer is not None and ticket.max_early_data_size is None:
            self._keep(Kept(ticket=ticket, peer=self.peer))


def adopt(made: tls.Context, context: HubTls | GatewayTls) -> None:
    """Give `context` what the connection prepared in the context that it `made` itself."""
    context.certificate = made.certificate
    context.certificate_chain = made.certificate_chain
    context.certificate_private_key = made.certificate_private_key
    context.handshake_extensions = made.handshake_extensions
    context.alpn_cb = made.alpn_cb
    context.update_traffic_key_cb = made.update_traffic_key_cb


_ALERTS: Final[dict[int, str]] = {
    tls.AlertDescription.certificate_required: "a certificate is needed",
    tls.AlertDescription.unknown_ca: "the certificate is not of this cloud",
    tls.AlertDescription.bad_certificate: "the certificate is bad",
    tls.AlertDescription.certificate_expired: "the certificate expired",
    tls.AlertDescription.unsupported_certificate: "the certificate is of another purpose",
    tls.AlertDescription.no_application_protocol: "the peer does not speak this protocol",
}


IDENTITY_ALERTS: Final = frozenset(_ALERTS) - {tls.AlertDescription.no_application_protocol}
"""Those by which a peer says what it thinks of our certificate."""


def alert_text(code: int) -> str:
    """What a CRYPTO_ERROR (RFC 9001 section 4.8) says, for people; "" when it is no such error."""
    if not 0x100 <= code < 0x200:
        return ""
    return _ALERTS.get(code - 0x100, f"TLS alert {code - 0x100}")
