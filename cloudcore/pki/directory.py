"""The cloud's keys and certificates on disk: DIR/pki, and DIR/admin.kubeconfig.

    pki/ca.crt ca.key       the authority that signs, made on the first start
    pki/former/ID.pem       key and certificate of authorities that signed before and are still good
    pki/rotation.pem        an authority that is about to sign: a rotation that was cut off is finished from it
    pki/sa.key              signs ServiceAccount tokens, and the public keys that did before and are still good
    pki/server-ID.pem       key and certificate that API and hub serve, one signed by each authority, renewed in place
    pki/quic-reset.key      32 random bytes: tell gateways that this hub had their connection in an earlier life
    pki/admin.pem           key and certificate of the kubeconfig's user (system:masters)
    pki/replica.pem         key and certificate that this replica shows to others, renewed in place

Keys are readable by their owner alone. The CA's first files appear together: they are written and synced in a
directory of another name which is then renamed. Every other file is one file, replaced by rename. So a crash at any
moment leaves what was there before or what comes after, never a key without its certificate.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloudcore.pki.certificates import (
    ADMIN_VALID,
    SERVER_VALID,
    Authority,
    Issued,
    canonical_name,
    certificate_pem,
    due,
    issue_client,
    issue_server,
    key_pem,
    new_authority,
    served_names,
)
from cloudcore.pki.token_keys import Algorithm, TokenKeys, new_token_keys, rotated, token_keys_in, without
from skerry.errors import NotFoundError, UnavailableError
from skerry.files import sync_directory, unavailable, write_private
from skerry.frozen import Frozen
from skerry.objects.enrolment import hub_server_name

ADMIN_USER: Final = "skerry:admin"
ADMIN_GROUP: Final = "system:masters"
_RESET_KEY_BYTES: Final = 32
_FORMER: Final = "former"
_ROTATION: Final = "rotation.pem"


class Material(Frozen):
    """What makes a cloud this cloud: whoever has it may serve its gateways and users."""

    authority: Authority
    """The one that signs."""
    former: tuple[Authority, ...] = ()
    """Those that signed before and are still good."""
    token_keys: TokenKeys


class Pki(Frozen):
    """What was found or made: the authorities, the token key, and where the files are."""

    directory: Path
    authority: Authority
    """The one that signs."""
    former: tuple[Authority, ...] = ()
    """Those that signed before and are still good, the newest first."""
    token_keys: TokenKeys
    """Of ServiceAccount tokens."""

    @property
    def authorities(self) -> tuple[Authority, ...]:
        return (self.authority, *self.former)

    @property
    def bundle_pem(self) -> str:
        """What clients and gateways are to trust."""
        return "".join(authority.pem for authority in self.authorities)

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.crt"

    def server_file(self, authority: Authority) -> Path:
        """Key and certificate in one PEM file, as `ssl.SSLContext.load_cert_chain` takes them."""
        return self.directory / f"server-{authority.id}.pem"


def open_pki(data: Path, *, now: datetime | None) -> Pki:
    """Read DIR/pki, or make it (`now` None: don't).

    Raises `UnavailableError` when it can't be read or written, or makes no sense.
    """
    directory = data / "pki"
    try:
        if now is not None and not directory.exists():
            _make(directory, new_material(now=now))
        return _read(directory)
    except OSError as error:
        raise unavailable(directory, error) from error
    except (ValueError, TypeError) as error:
        raise UnavailableError(
            f"the keys in {directory} can't be read ({error}): restore the directory from a backup; "
            "without its key every gateway would have to join anew"
        ) from error


def keep_pki(data: Path, material: Material) -> Pki:
    """See that DIR/pki has these keys, and no former authority but these. Raises as `open_pki`.

    A crash leaves what there was, or some of the former authorities more or less; the next start does it again.
    """
    directory = data / "pki"
    try:
        if not directory.exists():
            _make(directory, material)
            return _read(directory)
        if _read(directory).token_keys.ids != material.token_keys.ids:
            write_private(directory / "sa.key", material.token_keys.pem.encode())
        former = directory / _FORMER
        former.mkdir(mode=0o700, exist_ok=True)
        kept = {authority.id: authority for authority in material.former}
        for name, authority in kept.items():
            _write_authority(former / f"{name}.pem", authority)
        if _read(directory).authority.id != material.authority.id:
            _write_authority(directory / _ROTATION, material.authority)
            _finish_rotation(directory)
        for path in former.glob("*.pem"):
            if path.stem not in kept:
                path.unlink()
        sync_directory(former)
        return _read(directory)
    except OSError as error:
        raise unavailable(directory, error) from error


def new_material(*, now: datetime) -> Material:
    """A new authority and a new key for tokens."""
    return Material(authority=new_authority(name="skerry-ca", now=now), token_keys=new_token_keys())


def rotate(data: Path, *, now: datetime) -> Pki:
    """Make a new authority that signs from now on; the old one stays good until it is retired.

    A cloudcore that is running goes on as it was until it is started again. Raises as `open_pki`.
    """
    directory = data / "pki"
    if not directory.exists():
        raise UnavailableError(f"{directory} is not there: cloudcore makes it on its first start")
    try:
        pki = _read(directory)
        former = directory / _FORMER
        former.mkdir(mode=0o700, exist_ok=True)
        _write_authority(former / f"{pki.authority.id}.pem", pki.authority)
        _write_authority(directory / _ROTATION, new_authority(name="skerry-ca", now=now))
        return _read(directory)
    except OSError as error:
        raise unavailable(directory, error) from error


def retire(data: Path, authority: str) -> Pki:
    """Trust a former authority no more, by its id. Raises `NotFoundError` when there is none of that id."""
    directory = data / "pki"
    pki = open_pki(data, now=None)
    found = next((former for former in pki.former if former.id == authority), None)
    if found is None:
        known = ", ".join(former.id for former in pki.former) or "none"
        raise NotFoundError(
            f"{authority} is no former authority (there: {known}); the one that signs can't be retired"
        )
    try:
        (directory / _FORMER / f"{authority}.pem").unlink()
        sync_directory(directory / _FORMER)
    except OSError as error:
        raise unavailable(directory, error) from error
    return _read(directory)


def rotate_token_keys(data: Path, algorithm: Algorithm) -> TokenKeys:
    """A new key signs ServiceAccount tokens; those of the old one stay good until it is retired. Raises as
    `open_pki`, and `InvalidError`."""
    return _keep_token_keys(data, rotated(open_pki(data, now=None).token_keys, algorithm))


def retire_token_key(data: Path, key: str) -> TokenKeys:
    """Trust a former key of tokens no more, by its id. Raises as `open_pki`, and `NotFoundError`."""
    return _keep_token_keys(data, without(open_pki(data, now=None).token_keys, key))


def _keep_token_keys(data: Path, keys: TokenKeys) -> TokenKeys:
    path = data / "pki" / "sa.key"
    try:
        write_private(path, keys.pem.encode())
    except OSError as error:
        raise unavailable(path, error) from error
    return keys


def refresh_server(pki: Pki, *, names: Iterable[str], now: datetime) -> bool:
    """See that the server certificate of each authority covers `names` and its own name, and is not near its end;
    whether one was replaced."""
    replaced = False
    for authority in pki.authorities:
        wanted = frozenset(canonical_name(name) for name in (*names, hub_server_name(authority.id)))
        path = pki.server_file(authority)
        current = _certificate_in(path, authority)
        if current is None or due(current, now) or not wanted <= served_names(current):
            _write_pair(path, issue_server(authority, names=wanted, now=now))
            replaced = True
    return replaced


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


def reset_key(pki: Pki) -> bytes:
    """The key of this hub's stateless resets (RFC 9000 section 10.3), made where there is none. Each replica has its
    own: with a key for all, one replica could be asked for what ends a connection of another (section 21.11). Raises
    `UnavailableError`."""
    path = pki.directory / "quic-reset.key"
    try:
        found = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise unavailable(path, error) from error
    if len(found) != _RESET_KEY_BYTES:
        found = secrets.token_bytes(_RESET_KEY_BYTES)
        write_private(path, found)
    return found


def replica_file(pki: Pki, *, user: str, group: str, now: datetime) -> Path:
    """The certificate and key that this replica shows to others of the same cloud: those on disk while they are good
    for long, else new ones. Signed by the oldest authority, which a replica knows that a rotation has not reached."""
    path = pki.directory / "replica.pem"
    signer = pki.authorities[-1]
    current = _certificate_in(path, signer)
    if current is None or due(current, now):
        _write_pair(path, issue_client(signer, user=user, groups=[group], now=now, valid=SERVER_VALID))
    return path


def _make(directory: Path, material: Material) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    for left in directory.parent.glob(".pki-new-*"):  # of a start that was cut off
        shutil.rmtree(left)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".pki-new-"))
    write_private(temporary / "ca.key", key_pem(material.authority.key).encode())
    write_private(temporary / "sa.key", material.token_keys.pem.encode())
    write_private(temporary / "ca.crt", material.authority.pem.encode())
    if material.former:
        (temporary / _FORMER).mkdir(mode=0o700)
    for former in material.former:
        _write_authority(temporary / _FORMER / f"{former.id}.pem", former)
    (temporary / "ca.crt").chmod(0o644)
    temporary.rename(directory)
    sync_directory(directory.parent)


def _read(directory: Path) -> Pki:
    _finish_rotation(directory)
    former = [_authority_in(path) for path in (directory / _FORMER).glob("*.pem")]
    authority = _authority(directory / "ca.crt", directory / "ca.key")
    return Pki(
        directory=directory,
        authority=authority,
        # A rotation that was cut off before it was sure leaves the one that signs among the former ones.
        former=tuple(
            sorted(
                (each for each in former if each.id != authority.id),
                key=lambda each: each.certificate.not_valid_before_utc,
                reverse=True,
            )
        ),
        token_keys=token_keys_in((directory / "sa.key").read_text(encoding="ascii")),
    )


def _finish_rotation(directory: Path) -> None:
    """Put the new authority in its place; done again as often as it is cut off."""
    path = directory / _ROTATION
    if not path.exists():
        return
    authority = _authority_in(path)
    write_private(directory / "ca.key", key_pem(authority.key).encode())
    write_private(directory / "ca.crt", authority.pem.encode())
    (directory / "ca.crt").chmod(0o644)
    path.unlink()
    sync_directory(directory)


def _authority_in(path: Path) -> Authority:
    return _authority(path, path)


def _authority(certificate_file: Path, key_file: Path) -> Authority:
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    key = _read_key(key_file)
    if key.public_key() != certificate.public_key():
        raise ValueError(f"{key_file.name} is not the key of {certificate_file.name}")
    return Authority(certificate=certificate, key=key)


def _write_authority(path: Path, authority: Authority) -> None:
    write_private(path, (key_pem(authority.key) + authority.pem).encode())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path.name} is not an EC key")
    return key


def _certificate_in(path: Path, authority: Authority) -> x509.Certificate | None:
    """The certificate in a PEM file if it is one of ours; None: there is none worth keeping. Raises
    `UnavailableError` for a file that is there and can't be read."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unavailable(path, error) from error
    try:
        certificate = x509.load_pem_x509_certificate(text)
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, x509.InvalidVersion, InvalidSignature, UnsupportedAlgorithm):
        return None
    return certificate


def _write_pair(path: Path, issued: Issued) -> None:
    write_private(path, (issued.key_pem + issued.certificate_pem).encode())
