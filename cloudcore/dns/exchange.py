"""What observers tell each other: a datagram with votes, dated and signed with a key that they share. Pure.

    4 bytes  "SKO2"        8 bytes  when, in ms         1 byte  flags (1: isolated)
    1 byte   how long the observer's name is, and it    8 bytes its word, new each time
    1 byte   how many words of others, and of each 8 bytes of who it is and 8 of the word (see `hearing`)
    2 bytes  how many votes, and of each the 8 bytes of the target's id and one, 1 for up
    16 bytes of HMAC-SHA256 over all of it

Who can't show the key is not heard, nor who can't show a word that we have just said; what is older than what was
heard, or dated a minute away, is not taken.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from skerry.errors import ProtocolError
from skerry.frozen import Frozen, as_dict
from skerry.probing.monitor import State
from skerry.probing.probe import Probe

MAGIC: Final = b"SKO2"
VOTES_MAX: Final = 70
"""In one datagram: it goes whole over every link."""
ECHOES_MAX: Final = 16
WORD_SIZE: Final = 8
SKEW_MS_MAX: Final = 60_000
_HEAD: Final = struct.Struct("!4sQBB")
_COUNT: Final = struct.Struct("!H")
_ID: Final = 8
_SIGNATURE: Final = 16


class SkewError(ProtocolError):
    """Dated too far away from our clock; it is signed, so it is a clock and nobody's forgery."""

    def __init__(self, observer: str, message: str) -> None:
        super().__init__(message)
        self.observer = observer


class Told(Frozen):
    observer: str
    at_ms: int
    isolated: bool
    votes: Mapping[bytes, State]
    word: bytes = bytes(WORD_SIZE)
    echoes: Mapping[bytes, bytes] = {}
    """The last words that it has heard of others, by who they are."""


def target_id(address: bytes, probe: Probe) -> bytes:
    """The same at every server that tries the address in this way."""
    said = repr(sorted((name, value) for name, value in as_dict(probe).items())).encode()
    return hashlib.blake2b(address + b"/" + said, digest_size=_ID).digest()


def datagrams(told: Told, key: bytes) -> Iterator[bytes]:
    votes = [*told.votes.items()]
    name = told.observer.encode()[:255]
    echoes = [*told.echoes.items()][:ECHOES_MAX]
    words = told.word + bytes([len(echoes)]) + b"".join(who + word for who, word in echoes)
    for begin in range(0, max(1, len(votes)), VOTES_MAX):
        part = votes[begin : begin + VOTES_MAX]
        head = _HEAD.pack(MAGIC, told.at_ms, 1 if told.isolated else 0, len(name)) + name
        body = head + words + _COUNT.pack(len(part)) + b"".join(_vote(target, state) for target, state in part)
        yield body + _signature(body, key)


def _vote(target: bytes, state: State) -> bytes:
    return target + bytes([state == "up"])


def read_datagram(data: bytes, key: bytes, now_ms: int) -> Told:
    """Raises `ProtocolError`."""
    body, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
    if not hmac.compare_digest(_signature(body, key), signature):
        raise ProtocolError("an observer's datagram that is not signed with our key")
    try:
        head: tuple[bytes, int, int, int] = _HEAD.unpack_from(body)
        magic, at_ms, flags, length = head
        at = _HEAD.size + length
        name = body[_HEAD.size : at].decode()
        word, at = body[at : at + WORD_SIZE], at + WORD_SIZE
        echoes, at = _pieces(body, at + 1, body[at], _ID + WORD_SIZE)
        count = int.from_bytes(body[at : at + _COUNT.size], "big")
        votes, at = _pieces(body, at + _COUNT.size, count, _ID + 1)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise ProtocolError("an observer's datagram that is cut short") from error
    if magic != MAGIC or at != len(body):
        raise ProtocolError("an observer's datagram of another form")
    if abs(at_ms - now_ms) > SKEW_MS_MAX:
        raise SkewError(name, f"the clock of {name} is {abs(at_ms - now_ms) // 1000} s away from ours")
    return Told(
        observer=name,
        at_ms=at_ms,
        isolated=bool(flags & 1),
        votes={each[:_ID]: "up" if each[_ID] else "down" for each in votes},
        word=word,
        echoes={each[:_ID]: each[_ID:] for each in echoes},
    )


def _pieces(body: bytes, begin: int, count: int, size: int) -> tuple[list[bytes], int]:
    """So many pieces of one size, and where they end."""
    end = begin + count * size
    if end > len(body):
        raise struct.error("cut short")
    return [body[at : at + size] for at in range(begin, end, size)], end


def _signature(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:_SIGNATURE]
