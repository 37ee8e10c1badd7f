"""X.509 as Skerry writes it: the CA, server and client certificates, and what a CSR may ask. No files, no clock.

The subject of a client certificate is Kubernetes' form of an identity (common name: user; organizations: groups)
and is always written by us: of a signing request only its public key is used, after its signature proved that the
asker holds the private key. Profiles follow RFC 5280: keys are EC P-256, leaves carry exactly one extended key
usage, so that a gateway's certificate never serves as a cloud's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.errors import BadRequestError, UnauthenticatedError
from skerry.frozen import Frozen
from skerry.objects.enrolment import authority_id, pin_of, spki_of_certificate

CA_VALID: Final = timedelta(days=3650)
SERVER_VALID: Final = timedelta(days=90)
ADMIN_VALID: Final = timedelta(days=3650)
"""As long as the CA: the kubeconfig is written again at every start, but a copy of it should not rot in a drawer."""
NODE_VALID: Final = timedelta(days=365)
BACKDATED: Final = timedelta(hours=25)
"""Gateways and laptops run late, some by a time zone; a certificate is valid a little before it was made."""

_RSA_BITS_MIN: Final = 2048
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class Authority(Frozen):
    """A CA: its certificate and the key that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return certificate_pem(self.certificate)

    @property
    def pin(self) -> str:
        """What join tokens carry: the SHA-256 of the public key, which outlives a renewed CA certificate."""
        return pin_of(self._spki)

    @property
    def id(self) -> str:
        """What it is called in file names, server names and annotations."""
        return authority_id(self._spki)

    @property
    def key_id(self) -> str:
        """By what certificates name their signer (RFC 5280 4.2.1.1), hex."""
        return self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()

    @property
    def _spki(self) -> bytes:
        public = self.certificate.public_key()
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class Issued(Frozen):
    """A certificate with the key that was made for it, both in PEM."""

    certificate_pem: str
    key_pem: str


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """PKCS#8, unencrypted: it is the file's mode that guards it, as the daemon starts without anybody near."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def new_authority(*, name: str, now: datetime) -> Authority:
    """A self-signed CA that may sign leaves only."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key(), now=now, valid=CA_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def issue_server(authority: Authority, *, names: Iterable[str], now: datetime) -> Issued:
    """A certificate to serve under DNS names and IP addresses."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "skerry-cloud")])
    alternative = x509.SubjectAlternativeName([_general_name(name) for name in sorted(set(names))])
    certificate = (
        _leaf(authority, subject, key.public_key(), now=now, valid=SERVER_VALID)
        .add_extension(alternative, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate_pem=certificate_pem(certificate), key_pem=key_pem(key))


def issue_client(
    authority: Authority, *, user: str, groups: Sequence[str], now: datetime, valid: timedelta
) -> Issued:
    """A client certificate with a key made here."""
    key = new_key()
    certificate = _sign_client(authority, key.public_key(), user=user, groups=groups, now=now, valid=valid)
    return Issued(certificate_pem=certificate_pem(certificate), key_pem=key_pem(key))


def sign_request(authority: Authority, csr_pem: str, *, user: str, groups: Sequence[str], now: datetime) -> str:
    """A node's client certificate (PEM) for the key in a CSR; nothing else of the CSR is used."""
    public_key = requested_key(csr_pem)
    return certificate_pem(_sign_client(authority, public_key, user=user, groups=groups, now=now, valid=NODE_VALID))


def sign_serving(authority: Authority, csr_pem: str, *, user: str, groups: Sequence[str], now: datetime) -> str:
    """A server certificate (PEM) for the key and the names in a CSR, which somebody has judged
    (`requested_names`)."""
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    alternative = x509.SubjectAlternativeName([_general_name(name) for name in sorted(requested_names(csr_pem))])
    certificate = (
        _leaf(authority, subject, requested_key(csr_pem), now=now, valid=NODE_VALID)
        .add_extension(alternative, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate_pem(certificate)


PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def requested_key(csr_pem: str) -> PublicKey:
    """The key that a CSR asks a certificate for, its possession proved.

    Raises `BadRequestError` for what is no CSR, whose signature does not fit its key, or whose key is weak.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        public_key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BadRequestError("the certificate signing request can't be read as PEM (PKCS#10)") from error
    if not signed:
        raise BadRequestError("the certificate signing request is not signed by the key it names")
    if isinstance(public_key, ec.EllipticCurvePublicKey) and isinstance(public_key.curve, _CURVES):
        return public_key
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size >= _RSA_BITS_MIN:
        return public_key
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return public_key
    raise BadRequestError("the key must be EC P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more")


def requested_names(csr_pem: str) -> frozenset[str]:
    """The DNS names and IP addresses that a CSR asks for, in their one form. Raises `BadRequestError` for a request
    without any, or with a name of another sort, or that `requested_key` refuses."""
    requested_key(csr_pem)
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise BadRequestError("the certificate signing request has no subjectAltName") from error
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise BadRequestError(f"the extensions of the certificate signing request can't be read: {error}") from error
    if not all(isinstance(each, x509.DNSName | x509.IPAddress) for each in found):
        raise BadRequestError("the names of a server are DNS names and IP addresses")
    names = {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}
    return frozenset(canonical_name(name) for name in names)


def key_fingerprint(public_key: PublicKey) -> str:
    return pin_of(
        public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


class Subject(Frozen):
    """Who a client certificate says its holder is."""

    user: str
    groups: tuple[str, ...]
    fingerprint: str
    """SHA-256 of the certificate, hex: names the credential in an audit."""
    expires: datetime
    key: str
    """`pin_of` its public key."""


def subject_of(certificate_der: bytes) -> Subject:
    """Read a certificate that TLS has verified already."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    user = next((str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)), "")
    groups = tuple(str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return Subject(
        user=user,
        groups=groups,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        expires=certificate.not_valid_after_utc,
        key=pin_of(spki_of_certificate(certificate_der)),
    )


class ClientCertificate(Frozen):
    """A client certificate that we signed, in date or not."""

    user: str
    key: PublicKey
    ended: datetime
    """notAfter."""


def client_certificate(pem: str, authorities: Iterable[Authority]) -> ClientCertificate:
    """Read a certificate that TLS has *not* verified, and see that one of our CAs signed it for a client.

    Raises `BadRequestError` for what is none, `UnauthenticatedError` for one that is not ours. Dates are not judged.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = certificate.public_key()
    except (ValueError, x509.ExtensionNotFound, UnsupportedAlgorithm) as error:
        raise BadRequestError("the certificate can't be read as a client certificate in PEM (X.509)") from error
    if not isinstance(key, PublicKey) or ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise BadRequestError("the certificate is not one for a client")
    if not any(_signed_by(certificate, authority) for authority in authorities):
        raise UnauthenticatedError("the certificate was not signed by this cloud")
    user = next((str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)), "")
    return ClientCertificate(user=user, key=key, ended=certificate.not_valid_after_utc)


def _signed_by(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def served_names(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names and addresses a server certificate is good for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    names = set(found.get_values_for_type(x509.DNSName))
    return frozenset(names | {str(address) for address in found.get_values_for_type(x509.IPAddress)})


def canonical_name(name: str) -> str:
    """A name or address in the one form that certificates are compared in."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def due(certificate: x509.Certificate, now: datetime) -> bool:
    """Two thirds of its life are over: time for a new one, with a third left to notice that this fails."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return now >= certificate.not_valid_before_utc + life * 2 / 3


def _sign_client(
    authority: Authority,
    public_key: PublicKey,
    *,
    user: str,
    groups: Sequence[str],
    now: datetime,
    valid: timedelta,
) -> x509.Certificate:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    return (
        _leaf(authority, subject, public_key, now=now, valid=valid)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _leaf(
    authority: Authority, subject: x509.Name, public_key: PublicKey, *, now: datetime, valid: timedelta
) -> x509.CertificateBuilder:
    issuer_key = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, authority.certificate.subject, public_key, now=now, valid=valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: PublicKey, *, now: datetime, valid: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + valid)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
