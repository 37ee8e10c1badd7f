"""By what clients know the local API: an authority of this gateway alone, and a certificate that it signed.

`python -m edgecore.local_api.certificates DIR NAME...` makes them in DIR (`ca.crt`, `server.pem`) where they are not
there or lack a name. The agent runs it as a program of its own: the library for it takes more memory than the rest of
the API. The authority's key is thrown away, so nobody can sign anything else with it, and other names need another
authority. Both are good from 1970 on and without an end (RFC 5280 section 4.1.2.5): a board without a clock starts in
1970, and nobody is there to renew anything. Whoever deletes the directory gets new ones at the next start.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from skerry.files import write_private

CA_FILE: Final = "ca.crt"
SERVER_FILE: Final = "server.pem"
NAMES_FILE: Final = "names"
SERVICE_NAMES: Final = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)
"""By which pods call the API."""


def are_made(directory: Path, names: Sequence[str]) -> bool:
    """Whether there is all that is needed for these names."""
    try:
        there = (directory / NAMES_FILE).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return False
    return set(names) <= set(there) and (directory / CA_FILE).exists() and (directory / SERVER_FILE).exists()


def make(directory: Path, names: Sequence[str]) -> None:
    """Raises `UnavailableError`. A crash in between leaves what is made anew: the names are written last."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / NAMES_FILE).unlink(missing_ok=True)
    begin, end = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "skerry-local-api")])
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number(), begin, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(ca_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    server = (
        x509.CertificateBuilder(ca_name, subject, key.public_key(), x509.random_serial_number(), begin, end)
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(directory / CA_FILE, ca.public_bytes(pem))
    write_private(directory / SERVER_FILE, private + server.public_bytes(pem))
    write_private(directory / NAMES_FILE, "\n".join(names).encode("ascii"))


def _name(text: str):
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:])
