"""Who is at the two ends of a link over TLS: a gateway's files, contexts made of them, and what certificates say.

Keeps nothing. TLS 1.3 alone, with certificates on both sides.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from skerry.frozen import Frozen
from skerry.objects.enrolment import HUB_SERVER_NAME, issuer_key_of_certificate, pin_of, spki_of_certificate
from skerry.transport.resumption import ResumingContext

SESSION_PATH: Final = "/session"
WRITE_BYTES: Final = 8 * 1024
"""What may wait in each of asyncio's two buffers before `send` waits, and the size of a fragment."""
UNSENT_BYTES: Final = 16 * 1024
"""What the kernel takes beyond what is on its way (TCP_NOTSENT_LOWAT): two seconds at 64 kbit/s."""
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's `ssl` does not name."""


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


class Peer(Frozen):
    """What TLS proved of the other end; nothing is "" or 0."""

    name: str
    key: str
    issuer: str
    not_after_ms: int
    """When the certificate expires, milliseconds since the epoch of Unix."""


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """The key is told by TLS itself, and so also after a handshake that a ticket made short."""
    certificate = peer_certificate(transport)
    tls = tls_of(transport)
    shown = None if tls is None else tls.getpeercert(binary_form=True)
    until = certificate.get("notAfter")
    return Peer(
        name=common_name(certificate),
        key="" if shown is None else pin_of(spki_of_certificate(shown)),
        issuer="" if shown is None else sys.intern(issuer_key_of_certificate(shown)),
        not_after_ms=round(ssl.cert_time_to_seconds(until) * 1000) if isinstance(until, str) else 0,
    )


def tls_of(transport: asyncio.BaseTransport) -> ssl.SSLObject | None:
    return cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object"))


def peer_certificate(transport: asyncio.BaseTransport) -> Mapping[str, object]:
    return cast("Mapping[str, object] | None", transport.get_extra_info("peercert")) or {}


def common_name(certificate: Mapping[str, object]) -> str:
    """The subject's common name in a certificate as `ssl` describes it, or ""."""
    for part in cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ())):
        for name, value in part:
            if name == "commonName":
                return value
    return ""


def keep_little(transport: asyncio.BaseTransport) -> None:
    """Limit what the kernel and the transport under TLS take before a sender waits, and forget what the handshake
    left: the certificate's text is 3 KB. asyncio has no way to reach the transport and the text but its own
    attributes; without them a link works, and takes 64 KiB more ahead."""
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


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection by a reset, which goes out at once. An orderly end would wait behind what the peer has not
    acknowledged, and where only our direction is alive that is for ever: the peer would find out late, by itself."""
    own = cast("socket.socket | None", transport.get_extra_info("socket"))
    if own is not None and own.fileno() >= 0:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
