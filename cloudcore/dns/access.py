"""Who may have whole zones: holders of a key, and addresses (RFC 5936 section 5). Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloudcore.dns.tsig import ALGORITHMS, Key
from skerry.dns.names import name_of
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen

SECRET_BYTES_MIN: Final = 16

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Access(Frozen):
    keys: Mapping[bytes, Key] = {}
    networks: tuple[Network, ...] = ()
    """Who may have zones without a signature."""

    def allows(self, address: bytes, key: Key | None) -> bool:
        if key is not None:
            return True
        there = ipaddress.ip_address(address)
        return any(there.version == network.version and there in network for network in self.networks)


def read_keys(path: Path) -> dict[bytes, Key]:
    """A key a line: name, algorithm, secret in base64. Raises `InvalidError`, `UnavailableError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"--transfer-keys {path}: {error}") from error
    keys: dict[bytes, Key] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3:
            raise InvalidError(f"--transfer-keys {path}: line {number} is not NAME ALGORITHM SECRET")
        name, algorithm = name_of(words[0]).lower(), name_of(words[1]).lower()
        if algorithm not in ALGORITHMS:
            raise InvalidError(
                f"--transfer-keys {path}: line {number}: {words[1]} is not one of hmac-sha1 to hmac-sha512"
            )
        try:
            secret = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            raise InvalidError(f"--transfer-keys {path}: line {number}: the secret is not base64") from None
        if len(secret) < SECRET_BYTES_MIN:
            raise InvalidError(
                f"--transfer-keys {path}: line {number}: a secret has {SECRET_BYTES_MIN} bytes or more"
            )
        keys[name] = Key(name=name, algorithm=algorithm, secret=secret)
    return keys


def read_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Raises `InvalidError`."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise InvalidError(f"--allow-transfer: {error}") from error


class Peer(Frozen):
    """A server that is told of changes."""

    host: str
    port: int


def peer_of(text: str, flag: str = "--notify") -> Peer:
    """ADDRESS or ADDRESS@PORT, as Knot and NSD write it. Raises `InvalidError`."""
    host, at, port = text.partition("@")
    try:
        ipaddress.ip_address(host)
        number = int(port) if at else 53
    except ValueError:
        raise InvalidError(f"{flag}: {text!r} is not ADDRESS or ADDRESS@PORT") from None
    if not 1 <= number <= 65535:
        raise InvalidError(f"{flag}: {text!r} has no port from 1 to 65535")
    return Peer(host=host, port=number)
