"""By what clients know the local API: an authority of this gateway alone, and a certificate that it signed; and what
the cloud is asked with to sign another one.

`python -m edgecore.local_api.certificates DIR NAME... -- MORE...` makes them in DIR where they are not there or lack
a name: `ca.crt` and `server.pem` for all names, and `request.pem`, a key and its PKCS#10 request, for the first ones.
The agent runs it as a program of its own: the library takes more memory than the rest of the API. The
authority's key is thrown away, so nobody can sign anything else with it, and other names need another authority.
Both are good from 1970 on and without an end (RFC 5280 4.1.2.5): a board without a clock starts in 1970, and nobody
is there to renew anything. The request names what the cloud signs for (`skerry.objects.gateway_serving`), and is sent
again for each renewal. Whoever deletes the directory gets new ones at the next start.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.gateway_serving import is_of_the_machine

CA_FILE: Final = "ca.crt"
SERVER_FILE: Final = "server.pem"
NAMES_FILE: Final = "names"
REQUEST_FILE: Final = "request.pem"
SEPARATOR: Final = "--"
_KEY: Final = "-----BEGIN PRIVATE KEY-----"
_REQUEST: Final = "-----BEGIN CERTIFICATE REQUEST-----"


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


class Request(Frozen):
    """What the cloud is asked with, in PEM."""

    key_pem: str
    csr_pem: str


def wanted_names(names: Sequence[str]) -> list[str]:
    """Those of the API's names for which the cloud signs."""
    return sorted({name for name in names if is_of_the_machine(name)})


def request_in(directory: Path, names: Sequence[str]) -> Request | None:
    """What was made for these names; None where there is none, or one that can't be used."""
    try:
        text = (directory / REQUEST_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    said, key, request = text.partition(_KEY)[0], *_parts(text)
    if said.split() != wanted_names(names) or not key or not request:
        return None
    return Request(key_pem=key, csr_pem=request)


def _parts(text: str) -> tuple[str, str]:
    _, key_begin, rest = text.partition(_KEY)
    key, request_begin, request = rest.partition(_REQUEST)
    return key_begin + key, request_begin + request


def make_request(directory: Path, names: Sequence[str]) -> None:
    """Raises `UnavailableError`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, wanted = ec.generate_private_key(ec.SECP256R1()), wanted_names(names)
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]))
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in wanted]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    said = " ".join(wanted).encode("ascii") + b"\n"
    write_private(directory / REQUEST_FILE, said + private + csr.public_bytes(pem))


def make_missing(directory: Path, names: Sequence[str], more: Sequence[str] = ()) -> None:
    """What is not there yet. `more`: names that are the gateway's own authority's alone. Raises
    `UnavailableError`."""
    if not are_made(directory, (*names, *more)):
        make(directory, (*names, *more))
    if request_in(directory, names) is None:
        make_request(directory, names)


def _name(text: str):
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


if __name__ == "__main__":
    _place, *_named = sys.argv[1:]
    _at = _named.index(SEPARATOR)
    make_missing(Path(_place), _named[:_at], _named[_at + 1 :])
