"""Others' answers, kept for as long as they say, and a while longer for when nobody can be asked. Pure.

A name that is not there is kept as its zone's SOA says (RFC 2308). An answer past its time is given with a short one
while no server answers (RFC 8767): a gateway without a link finds its site's printers where they were. Bounded in
number and bytes, the least recently asked for goes first; in memory alone.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final

from skerry.dns.answers import code_of, is_truncated
from skerry.dns.numbers import NOERROR, NXDOMAIN, OPT, SOA, MalformedError
from skerry.dns.records import places
from skerry.frozen import Frozen

ANSWERS_MAX: Final = 1000
BYTES_MAX: Final = 512 << 10
KEPT_S_MAX: Final = 3600
"""However long an answer says that it holds."""
NOTHING_S_MAX: Final = 30
STALE_S_MAX: Final = 24 * 3600
STALE_TTL_S: Final = 30
"""RFC 8767 section 4."""
_NUMBER: Final = struct.Struct("!H")
_TTL: Final = struct.Struct("!I")

Question = tuple[bytes, int, int, int]
"""Name in lower case, type, class, and the flags that change an answer (RD, CD; DO of EDNS)."""


class _Kept(Frozen):
    message: bytes
    at_s: float
    ttl_s: int
    ttls: tuple[tuple[int, int], ...]
    """Where each record's is, and what it was."""


class AnswerCache:
    """`now_s` is monotonic."""

    def __init__(self, *, answers_max: int = ANSWERS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._answers_max = answers_max
        self._bytes_max = bytes_max
        self._kept: OrderedDict[Question, _Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def get(self, question: Question, number: int, now_s: float, *, stale: bool = False) -> bytes | None:
        """The answer under this number, with what is left of its time; `stale`: also one that is past it."""
        kept = self._kept.get(question)
        if kept is None:
            return None
        age_s = int(max(0.0, now_s - kept.at_s))
        if age_s > kept.ttl_s + STALE_S_MAX:
            self._drop(question)
            return None
        if age_s >= kept.ttl_s and not stale:
            return None
        self._kept.move_to_end(question)
        return _aged(kept, number, age_s)

    def put(self, question: Question, message: bytes, now_s: float) -> None:
        """Keep an answer, if it may be kept."""
        ttl_s = ttl_of(message)
        if ttl_s <= 0 or len(message) > self._bytes_max:
            return
        self._drop(question)
        self._kept[question] = _Kept(message=message, at_s=now_s, ttl_s=ttl_s, ttls=_ttls_in(message))
        self._bytes += len(message)
        while len(self._kept) > self._answers_max or self._bytes > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, question: Question) -> None:
        kept = self._kept.pop(question, None)
        if kept is not None:
            self._bytes -= len(kept.message)


def ttl_of(message: bytes) -> int:
    """How long an answer may be kept, seconds; 0: not at all."""
    try:
        records = [each for each in places(message) if each.type != OPT]
    except MalformedError:
        return 0
    code, answers = code_of(message), struct.unpack_from("!H", message, 6)[0]
    if is_truncated(message) or code not in (NOERROR, NXDOMAIN):
        return 0
    ttls = [each.ttl for each in records]
    if any(ttl > 0x7FFFFFFF for ttl in ttls):
        return 0  # RFC 2181 section 8
    if code == NOERROR and answers:
        return min([*ttls, KEPT_S_MAX])
    for each in records:
        if each.type == SOA and each.size >= 4:
            least = struct.unpack_from("!I", message, each.data_at + each.size - 4)[0]
            return min(each.ttl, least, NOTHING_S_MAX)
    return 0


def _ttls_in(message: bytes) -> tuple[tuple[int, int], ...]:
    return tuple((each.ttl_at, each.ttl) for each in places(message) if each.type != OPT)


def _aged(kept: _Kept, number: int, age_s: int) -> bytes:
    made = bytearray(kept.message)
    _NUMBER.pack_into(made, 0, number)
    for at, ttl_s in kept.ttls:
        left_s = ttl_s - age_s
        _TTL.pack_into(made, at, left_s if left_s > 0 else STALE_TTL_S)
    return bytes(made)
