"""What observers tell each other: a datagram with votes, dated and signed with a key that they share. Pure.

    4 bytes  "SKO1"        8 bytes  when, in ms         1 byte  flags (1: isolated)
    1 byte   how long the observer's name is, and it    2 bytes how many votes
    9 bytes  a vote: the target's id, 1 for up          16 bytes of HMAC-SHA256 over all of it

Who can't show the key is not heard; what is older than what was heard, or dated a minute away, is not taken again.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from cloudcore.dns.monitor import State
from cloudcore.dns.probe import Probe
from skerry.errors import ProtocolError
from skerry.frozen import Frozen, as_dict

MAGIC: Final = b"SKO1"
VOTES_MAX: Final = 120
"""In one datagram: it goes whole over every link."""
SKEW_MS_MAX: Final = 60_000
_HEAD: Final = struct.Struct("!4sQBB")
_COUNT: Final = struct.Struct("!H")
_ID: Final = 8
_SIGNATURE: Final = 16


class Told(Frozen):
    observer: str
    at_ms: int
    isolated: bool
    votes: Mapping[bytes, State]


def target_id(address: bytes, probe: Probe) -> bytes:
    """The same at every server that tries the address in this way."""
    said = repr(sorted((name, value) for name, value in as_dict(probe).items())).encode()
    return hashlib.blake2b(address + b"/" + said, digest_size=_ID).digest()


def datagrams(told: Told, key: bytes) -> Iterator[bytes]:
    votes = [*told.votes.items()]
    name = told.observer.encode()[:255]
    for begin in range(0, max(1, len(votes)), VOTES_MAX):
        part = votes[begin : begin + VOTES_MAX]
        head = _HEAD.pack(MAGIC, told.at_ms, 1 if told.isolated else 0, len(name)) + name + _COUNT.pack(len(part))
        body = head + b"".join(target + bytes([state == "up"]) for target, state in part)
        yield body + _signature(body, key)


def read_datagram(data: bytes, key: bytes, now_ms: int) -> Told:
    """Raises `ProtocolError`."""
    body, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
    if not hmac.compare_digest(_signature(body, key), signature):
        raise ProtocolError("an observer's datagram that is not signed with our key")
    try:
        magic, at_ms, flags, length = _HEAD.unpack_from(body)
        name = body[_HEAD.size : _HEAD.size + length].decode()
        (count,) = _COUNT.unpack_from(body, _HEAD.size + length)
    except (struct.error, UnicodeDecodeError) as error:
        raise ProtocolError("an observer's datagram that is cut short") from error
    votes = body[_HEAD.size + length + _COUNT.size :]
    if magic != MAGIC or len(votes) != count * (_ID + 1):
        raise ProtocolError("an observer's datagram of another form")
    if abs(at_ms - now_ms) > SKEW_MS_MAX:
        raise ProtocolError(f"a datagram of {name} is {abs(at_ms - now_ms) // 1000} s away from our clock")
    step = _ID + 1
    found: dict[bytes, State] = {
        votes[at : at + _ID]: "up" if votes[at + _ID] else "down" for at in range(0, len(votes), step)
    }
    return Told(observer=name, at_ms=at_ms, isolated=bool(flags & 1), votes=found)


def _signature(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:_SIGNATURE]
