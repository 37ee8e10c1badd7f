"""View hash: what two sets of (key, stamp) have in common, in 512 bytes or in 8.

64 buckets by hash of key, each the XOR of a 64-bit hash over (key, stamp): free of order, so that either end
computes it in one pass over what it has. The root is a hash over the buckets. Hashes find accidents, not
attackers: both ends are authenticated, and a node can only deceive itself. No data is kept.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from skerry.objects.meta import Key, Stamp

BUCKETS: Final = 64


def bucket_of(key: Key) -> int:
    """Which bucket: CRC-32 of the key, modulo 64."""
    return zlib.crc32(_text(key)) % BUCKETS


def bucket_hashes(stamps: Iterable[tuple[Key, Stamp]]) -> tuple[int, ...]:
    """All 64 bucket hashes, as unsigned 64-bit numbers."""
    buckets = [0] * BUCKETS
    for key, stamp in stamps:
        text = _text(key)
        content = text + f"\0{stamp.uid}\0{stamp.revision}".encode()
        buckets[zlib.crc32(text) % BUCKETS] ^= int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
    return tuple(buckets)


def root_of(buckets: tuple[int, ...]) -> int:
    """One unsigned 64-bit number for all buckets."""
    assert len(buckets) == BUCKETS
    return int.from_bytes(blake2b(struct.pack("<64Q", *buckets), digest_size=8).digest(), "little")


def _text(key: Key) -> bytes:
    return f"{key.resource}\0{key.namespace}\0{key.name}".encode()
