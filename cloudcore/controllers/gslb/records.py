"""Records as people write them, tried by dnspython and written as lines of a master file with absolute names.

Keeps the lines that it made last. dnspython comes with the first record, so that a cloud without zones has no part
of it in memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from skerry.errors import InvalidError

LINES_MAX: Final = 20_000
"""Lines that are remembered: a zone is put together again at each change of anything in it."""


@lru_cache(maxsize=LINES_MAX)
def line_of(owner: str, ttl: int, kind: str, data: str, origin: str) -> str:
    """A line, its names absolute; `data` may have names below `origin` ("." for none). Raises `InvalidError`."""
    import dns.exception
    import dns.name
    import dns.rdata

    try:
        made = dns.rdata.from_text("IN", kind, data, origin=dns.name.from_text(origin), relativize=False)
        name = dns.name.from_text(owner)
    except (dns.exception.DNSException, ValueError, OverflowError) as error:
        raise InvalidError(f"{kind} {data[:80]!r}: {error or type(error).__name__}") from error
    return f"{name.to_text()} {ttl} IN {kind} {made.to_text()}"


def quoted(text: str) -> str:
    """Data of a TXT record, of text that may be in quotes already (as external-dns writes it)."""
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return text
    raw = text.encode()
    pieces = [raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""]
    return " ".join('"' + "".join(_escaped(byte) for byte in piece) + '"' for piece in pieces)


def _escaped(byte: int) -> str:
    if byte in (0x22, 0x5C):
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte <= 0x7E else f"\\{byte:03d}"
