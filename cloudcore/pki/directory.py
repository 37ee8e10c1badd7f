"""The cloud's keys and certificates on disk: DIR/pki, and DIR/admin.kubeconfig.

    pki/ca.crt ca.key    the certificate authority, made once on the first start
    pki/sa.key           signs ServiceAccount tokens, made with it
    pki/server.pem       key and certificate that API and hub serve, renewed in place
    pki/admin.pem        key and certificate of the kubeconfig's user (system:masters)

Keys are readable by their owner alone. The CA's files appear together: they are written and synced in a directory
of another name which is then renamed. Every other file is one file, replaced by rename. So a crash at any moment
leaves what was there before or what comes after, never a key without its certificate.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloudcore.pki.certificates import (
    ADMIN_VALID,
    Authority,
    Issued,
    canonical_name,
    certificate_pem,
    due,
    issue_client,
    issue_server,
    key_pem,
    new_authority,
    new_key,
    served_names,
)
from skerry.errors import UnavailableError
from skerry.files import sync_directory, unavailable, write_private

ADMIN_USER: Final = "skerry:admin"
ADMIN_GROUP: Final = "system:masters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """What was found or made: the CA, the token key, and where the files are."""

    directory: Path
    authority: Authority
    token_key: ec.EllipticCurvePrivateKey
    """Signs ServiceAccount tokens (ES256)."""

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def server_file(self) -> Path:
        """Key and certificate in one PEM file, as `ssl.SSLContext.load_cert_chain` takes them."""
        return self.directory / "server.pem"


def open_pki(data: Path, *, now: datetime) -> Pki:
    """Read DIR/pki, or make it. Raises `UnavailableError` when it can't be read or written, or makes no sense."""
    directory = data / "pki"
    try:
        if not directory.exists():
            _make(directory, now=now)
        return _read(directory)
    except OSError as error:
        raise unavailable(directory, error) from error
    except (ValueError, TypeError) as error:
        raise UnavailableError(
            f"the keys in {directory} can't be read ({error}): restore the directory from a backup; "
            "without its key every gateway would have to join anew"
        ) from error


def refresh_server(pki: Pki, *, names: Iterable[str], now: datetime) -> bool:
    """See that server.pem covers `names` and is not near its end; whether it was replaced."""
    wanted = frozenset(canonical_name(name) for name in names)
    current = _certificate_in(pki.server_file, pki.authority)
    if current is not None and not due(current, now) and wanted <= served_names(current):
        return False
    _write_pair(pki.server_file, issue_server(pki.authority, names=wanted, now=now))
    return True


def admin_identity(pki: Pki, *, now: datetime) -> Issued:
    """The administrator's certificate: the one on disk while it is good for long, else a new one."""
    path = pki.directory / "admin.pem"
    current = _certificate_in(path, pki.authority)
    if current is not None and not due(current, now):
        text = path.read_text(encoding="ascii")
        key = serialization.load_pem_private_key(text.encode(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "admin.pem holds the key that was written with it"
        return Issued(certificate_pem=certificate_pem(current), key_pem=key_pem(key))
    issued = issue_client(pki.authority, user=ADMIN_USER, groups=[ADMIN_GROUP], now=now, valid=ADMIN_VALID)
    _write_pair(path, issued)
    return issued


def _make(directory: Path, *, now: datetime) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    for left in directory.parent.glob(".pki-new-*"):  # of a start that was cut off
        shutil.rmtree(left)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".pki-new-"))
    authority = new_authority(name="skerry-ca", now=now)
    write_private(temporary / "ca.key", key_pem(authority.key).encode())
    write_private(temporary / "sa.key", key_pem(new_key()).encode())
    write_private(temporary / "ca.crt", authority.pem.encode())
    (temporary / "ca.crt").chmod(0o644)
    temporary.rename(directory)
    sync_directory(directory.parent)


def _read(directory: Path) -> Pki:
    certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    key = _read_key(directory / "ca.key")
    if key.public_key() != certificate.public_key():
        raise ValueError("ca.key is not the key of ca.crt")
    return Pki(
        directory=directory,
        authority=Authority(certificate=certificate, key=key),
        token_key=_read_key(directory / "sa.key"),
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path.name} is not an EC key")
    return key


def _certificate_in(path: Path, authority: Authority) -> x509.Certificate | None:
    """The certificate in a PEM file if it is one of ours; None: there is none worth keeping."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
    except FileNotFoundError:
        return None
    except Exception as error:
        if isinstance(error, OSError):
            raise unavailable(path, error) from error
        return None
    return certificate


def _write_pair(path: Path, issued: Issued) -> None:
    write_private(path, (issued.key_pem + issued.certificate_pem).encode())
