"""Keys that zones are signed with (DNSSEC, ECDSA P-256): files ORIGIN+TAG.STATE.pem in one directory, shared by all
servers of a zone.

A zone's key is key-signing and zone-signing key in one. `published`: in the DNSKEY set, so that resolvers know it
before it signs; `active`: signs; `retired`: in the set until what it signed is forgotten. All three sign the DNSKEY
set, so any of them may be in the parent's DS. Changing a state renames a file: a crash leaves one of both names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, cast

import dns.dnssec
import dns.name
import dns.rdtypes.ANY.DNSKEY
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.dns.names import name_of
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.files import unavailable, write_private
from skerry.frozen import Frozen

KeyState = Literal["published", "active", "retired"]
STATES: Final[tuple[KeyState, ...]] = ("published", "active", "retired")
_MAKE: Final = cast("Callable[..., object]", dns.dnssec.make_dnskey)
ALGORITHM: Final = "ECDSAP256SHA256"
FLAGS: Final = 257
_FILE: Final = re.compile(r"(.+)\+([0-9]{1,5})\.(published|active|retired)\.pem")


class ZoneKey(Frozen, hidden=("private",)):
    zone: str
    """Its name in lower case, with a dot at its end."""
    tag: int
    state: KeyState
    private: ec.EllipticCurvePrivateKey
    dnskey: dns.rdtypes.ANY.DNSKEY.DNSKEY
    path: Path

    def ds(self) -> str:
        """For the parent, SHA-256."""
        return dns.dnssec.make_ds(dns.name.from_text(self.zone), self.dnskey, "SHA256").to_text()


def read_keys(directory: Path) -> list[ZoneKey]:
    """All of a directory. Raises `InvalidError`, `UnavailableError`."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.name.endswith(".pem") and path.name[0] != ".")
    except OSError as error:
        raise UnavailableError(f"{directory}: {error.strerror}") from error
    return [_read(path) for path in paths]


def _read(path: Path) -> ZoneKey:
    found = _FILE.fullmatch(path.name)
    if found is None:
        raise InvalidError(f"{path}: is not called ORIGIN+TAG.STATE.pem")
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise unavailable(path, error) from error
    except (ValueError, TypeError) as error:
        raise InvalidError(f"{path}: is no private key: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise InvalidError(f"{path}: is no key of ECDSA P-256")
    state = cast("KeyState", found[3])
    return _key(found[1].lower().rstrip(".") + ".", state, private, path)


def _key(zone: str, state: KeyState, private: ec.EllipticCurvePrivateKey, path: Path) -> ZoneKey:
    dnskey = _MAKE(private.public_key(), ALGORITHM, flags=FLAGS)
    made = cast("dns.rdtypes.ANY.DNSKEY.DNSKEY", dnskey)
    return ZoneKey(zone=zone, tag=dns.dnssec.key_id(made), state=state, private=private, dnskey=made, path=path)


def generate(directory: Path, zone: str) -> ZoneKey:
    """A new key: active where the zone has none, else published. Raises `UnavailableError`, `InvalidError`."""
    name_of(zone)
    zone = zone.lower().rstrip(".") + "."
    if "/" in zone or zone == ".":
        raise InvalidError(f"{zone}: a key's file can't be called so")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unavailable(directory, error) from error
    there = [each for each in read_keys(directory) if each.zone == zone]
    state: KeyState = "published" if any(each.state == "active" for each in there) else "active"
    while True:
        made = _key(zone, state, ec.generate_private_key(ec.SECP256R1()), directory)
        if made.tag not in {each.tag for each in there}:
            break
    path = _path(directory, zone, made.tag, state)
    pem = made.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, pem)
    return _read(path)


def set_state(directory: Path, zone: str, tag: int, state: KeyState) -> ZoneKey:
    """Activating a key retires those that were active. Raises `NotFoundError`, `UnavailableError`."""
    zone = zone.lower().rstrip(".") + "."
    there = [each for each in read_keys(directory) if each.zone == zone]
    chosen = next((each for each in there if each.tag == tag), None)
    if chosen is None:
        raise NotFoundError(f"{zone} has no key {tag}")
    if state != "active" and not any(each.state == "active" and each.tag != tag for each in there):
        raise InvalidError(f"{zone} would have no key that signs: activate another first")
    _rename(chosen, directory, state)
    if state == "active":
        for each in there:
            if each.state == "active" and each.tag != tag:
                _rename(each, directory, "retired")
    return next(each for each in read_keys(directory) if each.zone == zone and each.tag == tag)


def _rename(key: ZoneKey, directory: Path, state: KeyState) -> None:
    try:
        key.path.rename(_path(directory, key.zone, key.tag, state))
    except OSError as error:
        raise unavailable(key.path, error) from error


def _path(directory: Path, zone: str, tag: int, state: KeyState) -> Path:
    return directory / f"{zone.rstrip('.')}+{tag}.{state}.pem"


def by_zone(keys: Sequence[ZoneKey]) -> dict[bytes, list[ZoneKey]]:
    """By name in the wire's form; zones without an active key are not signed."""
    found: dict[bytes, list[ZoneKey]] = {}
    for key in keys:
        found.setdefault(name_of(key.zone).lower(), []).append(key)
    return {origin: of for origin, of in found.items() if any(each.state == "active" for each in of)}
