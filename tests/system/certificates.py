"""A CA with certificates of every good and bad sort, as files, for links over real sockets."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cloudcore.pki.certificates import (
    Authority,
    Issued,
    issue_client,
    issue_server,
    key_fingerprint,
    new_authority,
)
from skerry.transport.identity import Identity

NOW = datetime.now(UTC)
RESET_KEY = bytes(range(32))
"""Of the hub's stateless resets."""


class Site:
    """A CA, a server certificate, and a gateway's files."""

    def __init__(self, path: Path, *, now: datetime = NOW) -> None:
        self.path = path
        self.now = now
        self.authority = new_authority(name="test", now=now)
        server = issue_server(self.authority, names=["127.0.0.1", "hub.skerry.internal"], now=now)
        (path / "ca.pem").write_text(self.authority.pem)
        (path / "server.pem").write_text(server.certificate_pem + server.key_pem)
        self.identity = self.gateway(self.authority, "system:node:eu-1")

    def gateway(self, authority: Authority, user: str, *, now: datetime | None = None) -> Identity:
        issued = issue_client(
            authority, user=user, groups=["system:nodes"], now=now or self.now, valid=timedelta(days=30)
        )
        return self.files(issued)

    def files(self, issued: Issued) -> Identity:
        certificate, key = self.path / "node.crt", self.path / "node.key"
        certificate.write_text(issued.certificate_pem)
        key.write_text(issued.key_pem)
        return Identity(ca_file=self.path / "ca.pem", certificate_file=certificate, key_file=key)

    def key_pin(self) -> str:
        """`pin_of` the gateway's key, by the private half of it."""
        key = load_pem_private_key(self.identity.key_file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key_fingerprint(key.public_key())

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.path / "server.pem")
        context.load_verify_locations(cafile=self.path / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context
