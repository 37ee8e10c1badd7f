"""The OPT record of queries and answers (EDNS, RFC 6891). Pure, keeps nothing."""

from __future__ import annotations

from typing import Final

from skerry.dns.numbers import DO, OPT, OPTION, RECORD_TAIL, MalformedError
from skerry.frozen import Frozen

SIZE: Final = 1232
"""What we take and send over UDP: no link of these days cuts it into fragments (the DNS flag day of 2020)."""


class Opt(Frozen):
    """The OPT record of a query (RFC 6891)."""

    size: int
    """What the client takes over UDP, as it said."""
    version: int
    dnssec: bool
    options: tuple[tuple[int, bytes], ...]

    def option(self, code: int) -> bytes | None:
        """Its first of this code."""
        for found, data in self.options:
            if found == code:
                return data
        return None


def read_opt(size: int, ttl: int, data: bytes) -> Opt:
    """Of the record's class, TTL and data. Raises `MalformedError`."""
    options: list[tuple[int, bytes]] = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise MalformedError("an option is cut off")
        code, length = OPTION.unpack_from(data, position)
        position += 4
        if position + length > len(data):
            raise MalformedError("an option's data is cut off")
        options.append((code, data[position : position + length]))
        position += length
    return Opt(size=size, version=ttl >> 16 & 0xFF, dnssec=bool(ttl & DO), options=tuple(options))


def opt_record(opt: Opt, *, extended_rcode: int, options: list[tuple[int, bytes]]) -> bytes:
    """The OPT record for an answer to `opt`."""
    data = b"".join(OPTION.pack(code, len(each)) + each for code, each in options)
    ttl = extended_rcode << 24 | (DO if opt.dnssec else 0)
    return b"\0" + RECORD_TAIL.pack(OPT, SIZE, ttl, len(data)) + data
