"""Queries and answers signed with a shared key (TSIG, RFC 8945). Pure: the time is an argument.

A signature covers what it answers: the answer's is over the query's, and each message of a transfer over the one
before.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from typing import Final

from skerry.dns.names import name_of
from skerry.dns.numbers import RECORD_TAIL, TSIG, MalformedError
from skerry.frozen import Frozen

FUDGE_S: Final = 300
BADSIG: Final = 16
BADKEY: Final = 17
BADTIME: Final = 18
ALGORITHMS: Final[Mapping[bytes, str]] = {
    name_of("hmac-sha256"): "sha256",
    name_of("hmac-sha384"): "sha384",
    name_of("hmac-sha512"): "sha512",
    name_of("hmac-sha224"): "sha224",
    name_of("hmac-sha1"): "sha1",
}
_CLASS_ANY: Final = 255
_CLASS_TTL: Final = struct.pack("!HI", _CLASS_ANY, 0)
_TIMES: Final = struct.Struct("!HIH")
_BEHIND: Final = struct.Struct("!HHH")


class Key(Frozen, hidden=("secret",)):
    """A key by its name, which both sides know."""

    name: bytes
    """In lower case."""
    algorithm: bytes
    secret: bytes


class Signature(Frozen):
    """Of a query that was signed, or tried to be."""

    key: Key | None
    """None: nobody knows it, or its signature is wrong; the answer is not signed then."""
    name: bytes
    algorithm: bytes
    mac: bytes
    at_s: int
    error: int = 0

    @property
    def size(self) -> int:
        """Bytes of the record that goes with an answer."""
        mac = 0 if self.key is None else len(_mac(self.key, b""))
        return len(self.name) + RECORD_TAIL.size + len(self.algorithm) + 8 + 2 + mac + 6 + 6


def verify(packet: bytes, at: int, keys: Mapping[bytes, Key], now_s: int) -> Signature:
    """What the record that begins at `at`, the last of the packet, says and proves. Raises `MalformedError`."""
    name, position = _name(packet, at)
    _, _, _, length = RECORD_TAIL.unpack_from(packet, position)
    position += RECORD_TAIL.size
    end = position + length
    algorithm, position = _name(packet, position)
    if position + _TIMES.size + 2 > end:
        raise MalformedError("a TSIG that is cut off")
    high, low, fudge = _TIMES.unpack_from(packet, position)
    times = packet[position : position + _TIMES.size]
    position += _TIMES.size
    size = int.from_bytes(packet[position : position + 2], "big")
    mac = packet[position + 2 : position + 2 + size]
    position += 2 + size
    if position + _BEHIND.size > end:
        raise MalformedError("a TSIG that is cut off")
    identity, error, other_size = _BEHIND.unpack_from(packet, position)
    other = packet[position + _BEHIND.size : end]
    if len(other) != other_size:
        raise MalformedError("a TSIG of another length than it says")
    said = Signature(key=None, name=name, algorithm=algorithm, mac=mac, at_s=high << 32 | low)
    key = keys.get(name)
    if key is None or key.algorithm != algorithm:
        return _failed(said, BADKEY)
    additionals = int.from_bytes(packet[10:12], "big") - 1
    whole = identity.to_bytes(2, "big") + packet[2:10] + additionals.to_bytes(2, "big") + packet[12:at]
    whole += name + _CLASS_TTL + algorithm + times + error.to_bytes(2, "big") + other_size.to_bytes(2, "big") + other
    if not hmac.compare_digest(_mac(key, whole), mac):
        return _failed(said, BADSIG)
    signed = Signature(key=key, name=name, algorithm=algorithm, mac=mac, at_s=said.at_s)
    return signed if abs(now_s - said.at_s) <= min(fudge, FUDGE_S) else _failed(signed, BADTIME)


def _failed(said: Signature, error: int) -> Signature:
    return Signature(
        key=said.key, name=said.name, algorithm=said.algorithm, mac=said.mac, at_s=said.at_s, error=error
    )


class Signer:
    """Signs the answers to one query, one after the other."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._before = signature.mac
        self._is_first = True

    def signed(self, message: bytes, now_s: int) -> bytes:
        """The message with its TSIG record."""
        said = self._signature
        other = _time(now_s) if said.error == BADTIME else b""
        at_s = said.at_s if said.error else now_s
        times = _time(at_s) + FUDGE_S.to_bytes(2, "big")
        behind = said.error.to_bytes(2, "big") + len(other).to_bytes(2, "big") + other
        mac = b""
        if said.key is not None:
            whole = len(self._before).to_bytes(2, "big") + self._before + message
            whole += said.name + _CLASS_TTL + said.algorithm + times + behind if self._is_first else times
            mac = _mac(said.key, whole)
        self._before, self._is_first = mac, False
        data = said.algorithm + times + len(mac).to_bytes(2, "big") + mac + message[:2] + behind
        record = said.name + RECORD_TAIL.pack(TSIG, _CLASS_ANY, 0, len(data)) + data
        additionals = int.from_bytes(message[10:12], "big") + 1
        return message[:10] + additionals.to_bytes(2, "big") + message[12:] + record


def signed_query(message: bytes, key: Key, now_s: int) -> bytes:
    """A message of ours, that answers nothing."""
    times = _time(now_s) + FUDGE_S.to_bytes(2, "big")
    mac = _mac(key, message + key.name + _CLASS_TTL + key.algorithm + times + bytes(4))
    data = key.algorithm + times + len(mac).to_bytes(2, "big") + mac + message[:2] + bytes(4)
    record = key.name + RECORD_TAIL.pack(TSIG, _CLASS_ANY, 0, len(data)) + data
    additionals = int.from_bytes(message[10:12], "big") + 1
    return message[:10] + additionals.to_bytes(2, "big") + message[12:] + record


def _time(at_s: int) -> bytes:
    return at_s.to_bytes(6, "big")


def _mac(key: Key, data: bytes) -> bytes:
    return hmac.digest(key.secret, data, ALGORITHMS[key.algorithm])


def _name(packet: bytes, position: int) -> tuple[bytes, int]:
    """A name that is not compressed, as TSIG's never are (RFC 8945 section 4.2), in lower case."""
    begin = position
    while position < len(packet) and (length := packet[position]):
        if length > 63:
            raise MalformedError("a compressed name in a TSIG")
        position += length + 1
    if position + 1 > len(packet) or position + 1 - begin > 255:
        raise MalformedError("a name in a TSIG that is cut off")
    return packet[begin : position + 1].lower(), position + 1
