"""Whether a chain of certificates is good now: by `cryptography`'s RFC 5280 verifier, against our own authorities.

For what TLS does not check itself: aioquic checks no client at all, and OpenSSL looks at a certificate once, when a
session is made, and never again when a ticket resumes it. Pure; keeps nothing.

Sources: RFC 5280 section 6; RFC 8446 sections 2.2 and 4.6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from skerry.errors import CallerError

CHAIN_MAX: Final = 4
"""Certificates that a peer may show: our CA signs leaves, and a foreign one has hardly ever more."""


class Flaw(Enum):
    """What is wrong with a chain, as TLS tells them apart (RFC 8446 section 6.2)."""

    MISSING = auto()
    BAD = auto()
    """Too long, or not to be read."""
    EXPIRED = auto()
    """Or not valid yet."""
    PURPOSE = auto()
    UNTRUSTED = auto()


class ChainError(CallerError):
    """A chain that is not good. The text holds nothing secret."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


def check_client(store: Store, chain: Sequence[x509.Certificate], at: datetime) -> None:
    """Check a gateway's chain, its own certificate first, for the purpose clientAuth (RFC 5280 section 4.2.1.12).
    Raises `ChainError`.

    A node's certificate names it in the subject alone, as Kubernetes does, so no subjectAltName is asked for.
    """
    leaf = ExtensionPolicy.webpki_defaults_ee().may_be_present(
        x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
    )
    builder = PolicyBuilder().store(store).time(at).max_chain_depth(CHAIN_MAX)
    verifier = builder.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=leaf
    ).build_client_verifier()
    _check(chain, at, ExtendedKeyUsageOID.CLIENT_AUTH, verifier.verify)


def check_server(store: Store, chain: Sequence[x509.Certificate], at: datetime, *, name: str) -> None:
    """Check a cloud's chain for the purpose serverAuth and this DNS name. Raises `ChainError`."""
    builder = PolicyBuilder().store(store).time(at).max_chain_depth(CHAIN_MAX)
    verifier = builder.build_server_verifier(x509.DNSName(name))
    _check(chain, at, ExtendedKeyUsageOID.SERVER_AUTH, verifier.verify)


def client_flaw(authorities: Sequence[bytes], shown: bytes, at: datetime) -> str:
    """Why a client's certificate is not good at this instant, or "". All in DER; for what was proved before and is
    looked at again, so the certificate stands alone: whoever signed it has to be one of the authorities."""
    try:
        roots = [x509.load_der_x509_certificate(each) for each in authorities]
        chain = [x509.load_der_x509_certificate(shown)]
    except ValueError:
        return "certificate can't be read"
    if not roots:
        return "no authority is trusted"
    try:
        check_client(Store(roots), chain, at)
    except ChainError as error:
        return str(error)
    return ""


def _check(
    chain: Sequence[x509.Certificate],
    at: datetime,
    purpose: x509.ObjectIdentifier,
    verify: Callable[[x509.Certificate, list[x509.Certificate]], object],
) -> None:
    if not chain:
        raise ChainError(Flaw.MISSING, "a certificate is needed")
    if len(chain) > CHAIN_MAX:
        raise ChainError(Flaw.BAD, f"more than {CHAIN_MAX} certificates")
    own = chain[0]
    if at > own.not_valid_after_utc:
        raise ChainError(Flaw.EXPIRED, f"certificate expired on {own.not_valid_after_utc:%Y-%m-%d}")
    if at < own.not_valid_before_utc:
        raise ChainError(Flaw.EXPIRED, f"certificate not valid before {own.not_valid_before_utc:%Y-%m-%d}")
    try:
        usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise ChainError(Flaw.PURPOSE, "certificate without an extended key usage") from error
    if purpose not in usage:
        raise ChainError(Flaw.PURPOSE, "certificate of another purpose")
    try:
        verify(own, list(chain[1:]))
    except VerificationError as error:
        raise ChainError(Flaw.UNTRUSTED, f"certificate not trusted: {str(error)[:200]}") from error
    except ValueError as error:
        raise ChainError(Flaw.BAD, "certificate can't be read") from error
