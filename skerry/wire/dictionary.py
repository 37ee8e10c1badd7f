"""Deflation with a dictionary that both sides have: what every frame has in common need not travel.

A metered link pays for each twin and each pod status by the byte, and most of their bytes are names of fields. The
dictionary is data in this repository, made by docs/tools/make_wire_dictionary.py from objects and reports of our own;
it has a number, which the two sides agree on in `Hello` and `Welcome`, and once released it never changes. It costs
the memory of its text and of one prepared deflater a process, and nothing where no peer knows it.

Source: RFC 1951; zlib's deflateSetDictionary.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from skerry.errors import ProtocolError

NUMBERS: Final = (1,)
"""Dictionaries that this version has, best first."""
_WINDOW_BITS: Final = 14
"""16 KiB: the dictionary and a frame of the usual size behind it."""


class _Deflater(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self, mode: int = ..., /) -> bytes: ...
    def copy(self) -> _Deflater: ...


class Inflater(Protocol):
    """zlib's decompression object."""

    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


@lru_cache(maxsize=len(NUMBERS))
def dictionary(number: int) -> bytes:
    """The text of a dictionary of `NUMBERS`."""
    data = Path(__file__).with_name(f"dictionary-{number}.zlib").read_bytes()
    return zlib.decompress(data)


@lru_cache(maxsize=len(NUMBERS))
def _prepared(number: int) -> _Deflater:
    """A deflater that has read the dictionary: a copy of it costs a tenth of reading it anew."""
    return zlib.compressobj(level=6, wbits=-_WINDOW_BITS, memLevel=7, zdict=dictionary(number))


def deflated(data: bytes, number: int, *, end: int = zlib.Z_FINISH) -> bytes:
    """The number of the dictionary in one byte, then raw deflate. With `zlib.Z_SYNC_FLUSH` as its end more blocks may
    follow."""
    deflater = _prepared(number).copy()
    return bytes((number,)) + deflater.compress(data) + deflater.flush(end)


def inflated(data: bytes, *, bytes_max: int) -> bytes:
    """What `deflated` was given. Raises `ProtocolError` for anything else, and before it grows over `bytes_max`."""
    if not data or data[0] not in NUMBERS:
        raise ProtocolError(f"a frame needs dictionary {data[0] if data else 'none'}, which is not known here")
    inflater = zlib.decompressobj(wbits=-_WINDOW_BITS, zdict=dictionary(data[0]))
    return inflated_by(inflater, data[1:], bytes_max=bytes_max)


def inflated_by(inflater: Inflater, data: bytes, *, bytes_max: int) -> bytes:
    """All that a deflated frame holds, bounded."""
    try:
        plain = inflater.decompress(data, bytes_max + 1)
    except zlib.error as error:
        raise ProtocolError(f"a deflated frame can't be inflated: {error}") from error
    if len(plain) > bytes_max:
        raise ProtocolError(f"a frame inflates to more than {bytes_max} bytes")
    if not inflater.eof:
        raise ProtocolError("a deflated frame is cut short")
    return plain


def agreed(offered: tuple[int, ...]) -> int:
    """The best dictionary that both sides have; 0 for none."""
    return next((number for number in NUMBERS if number in offered), 0)
