"""The OPT record of an answer: what was asked for, and no more (RFC 6891, 5001, 7871, 7828, 7830, 8914). Pure."""

from __future__ import annotations

from typing import Final

from skerry.dns.edns import Opt
from skerry.dns.numbers import CLIENT_SUBNET, EXTENDED_ERROR, KEEPALIVE, NSID, OPTION, PADDING, MalformedError
from skerry.frozen import Frozen

PADDING_BLOCK: Final = 468
"""RFC 8467 section 4.1."""
EDE_NOT_AUTHORITATIVE: Final = 20
EDE_NOT_SUPPORTED: Final = 21
EDE_PROHIBITED: Final = 18
EDE_NOT_READY: Final = 14
EDE_INVALID_TYPE: Final = 30
EDE_OTHER: Final = 0
_ADDRESS_BITS: Final = {1: 32, 2: 128}


class Subnet(Frozen):
    """Where the client's client is, as it says (RFC 7871)."""

    family: int
    source: int
    address: bytes
    """As it came, no longer than `source` needs."""

    def padded(self) -> bytes:
        """A whole address, of 4 or 16 bytes."""
        return self.address + bytes(_ADDRESS_BITS[self.family] // 8 - len(self.address))

    def option(self, scope: int) -> bytes:
        """For the answer; the scope is how many bits of the address it depends on."""
        return self.family.to_bytes(2, "big") + bytes([self.source, scope]) + self.address


def subnet_of(opt: Opt) -> Subnet | None:
    """Raises `MalformedError` where RFC 7871 section 7.1.2 has FORMERR."""
    data = opt.option(CLIENT_SUBNET)
    if data is None:
        return None
    if len(data) < 4:
        raise MalformedError("a client subnet that is cut off")
    family, source, scope = int.from_bytes(data[:2], "big"), data[2], data[3]
    address = data[4:]
    bits = _ADDRESS_BITS.get(family)
    if bits is None or source > bits or scope or len(address) != (source + 7) // 8:
        raise MalformedError("a client subnet of no family, or of another length than it says")
    if source % 8 and address[-1] & (0xFF >> source % 8):
        raise MalformedError("a client subnet with bits beyond its length")
    return Subnet(family=family, source=source, address=address)


def plain_options(opt: Opt, *, nsid: bytes, over_stream: bool, idle_s: float) -> list[tuple[int, bytes]]:
    """Answers to options that need nothing but themselves."""
    found: list[tuple[int, bytes]] = []
    for code, _ in opt.options:
        if code == NSID and nsid:
            found.append((NSID, nsid))
        elif code == KEEPALIVE and over_stream:
            found.append((KEEPALIVE, int(idle_s * 10).to_bytes(2, "big")))
    return list(dict(found).items())


def extended_error(code: int, text: str = "") -> tuple[int, bytes]:
    return EXTENDED_ERROR, code.to_bytes(2, "big") + text.encode()


def padding(size: int) -> tuple[int, bytes]:
    """Fills a message that has `size` bytes without it to a whole block."""
    return PADDING, bytes(-(size + OPTION.size) % PADDING_BLOCK)
