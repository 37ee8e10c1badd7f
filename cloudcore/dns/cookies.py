"""DNS cookies that other servers of the same name understand (RFC 7873, 9018). Pure but for what it remembers.

A server's cookie is SipHash-2-4 over the client's, the time and the client's address, so servers that share a key
take each other's. What was hashed is remembered for a while: a busy resolver sends the same one with each query.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

KEY_SIZE: Final = 16
CLIENT_SIZE: Final = 8
FULL_SIZE: Final = 24
AGE_S_MAX: Final = 3600
"""RFC 9018 section 4.3: older is refused; made anew after half of it; and the future is 5 minutes long."""
RENEW_S: Final = 1800
AHEAD_S_MAX: Final = 300
REMEMBERED_MAX: Final = 4096
_M64: Final = (1 << 64) - 1
_HEAD: Final = struct.Struct("!B3xI")


class Cookies:
    """Made and checked with the first key; the others are former or coming ones, which are taken as well."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        assert keys and all(len(key) == KEY_SIZE for key in keys), "keys of 16 bytes"
        self._keys = tuple(keys)
        self._hashed: dict[tuple[bytes, bytes, bytes], bytes] = {}

    def check(self, option: bytes, address: bytes, now_s: int) -> tuple[bytes, bool]:
        """The option for the answer, and whether the client has shown that it is where it says (its address is
        packed, 4 or 16 bytes). An option's size was checked (`is_well_formed`)."""
        client = option[:CLIENT_SIZE]
        if len(option) == FULL_SIZE and option[CLIENT_SIZE] == 1:
            head = option[CLIENT_SIZE : CLIENT_SIZE + 8]
            age_s = (now_s - int.from_bytes(head[4:], "big") + (1 << 31)) % (1 << 32) - (1 << 31)
            if -AHEAD_S_MAX <= age_s <= AGE_S_MAX:
                for number, key in enumerate(self._keys):
                    if self._hash(key, client + head, address) == option[16:]:
                        keep = number == 0 and age_s <= RENEW_S
                        return (option if keep else self._made(client, address, now_s)), True
        return self._made(client, address, now_s), False

    def _made(self, client: bytes, address: bytes, now_s: int) -> bytes:
        # The same one for a minute, which is then remembered.
        head = _HEAD.pack(1, (now_s - now_s % 60) & 0xFFFFFFFF)
        return client + head + self._hash(self._keys[0], client + head, address)

    def _hash(self, key: bytes, said: bytes, address: bytes) -> bytes:
        about = (key, said, address)
        found = self._hashed.get(about)
        if found is None:
            if len(self._hashed) >= REMEMBERED_MAX:
                self._hashed.clear()
            found = self._hashed[about] = siphash(key, said + address)
        return found


def is_well_formed(option: bytes) -> bool:
    """8 bytes of the client's, alone or with 8 to 32 of the server's (RFC 7873 section 5.2.2)."""
    return len(option) == CLIENT_SIZE or 16 <= len(option) <= 40


def siphash(key: bytes, data: bytes) -> bytes:
    """SipHash-2-4 (Aumasson and Bernstein), 64 bits, in the order of bytes that RFC 9018 has."""
    k0, k1 = struct.unpack("<QQ", key)
    state = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    tail = len(data) % 8
    padded = data + bytes(7 - tail) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _rounds((v0, v1, v2, v3 ^ word), 2)
        state = (v0 ^ word, v1, v2, v3)
    v0, v1, v2, v3 = state
    v0, v1, v2, v3 = _rounds((v0, v1, v2 ^ 0xFF, v3), 4)
    return struct.pack("<Q", v0 ^ v1 ^ v2 ^ v3)


def _rounds(state: tuple[int, int, int, int], count: int) -> tuple[int, int, int, int]:
    v0, v1, v2, v3 = state
    for _ in range(count):
        v0 = (v0 + v1) & _M64
        v1 = ((v1 << 13) & _M64 | v1 >> 51) ^ v0
        v0 = (v0 << 32) & _M64 | v0 >> 32
        v2 = (v2 + v3) & _M64
        v3 = ((v3 << 16) & _M64 | v3 >> 48) ^ v2
        v0 = (v0 + v3) & _M64
        v3 = ((v3 << 21) & _M64 | v3 >> 43) ^ v0
        v2 = (v2 + v1) & _M64
        v1 = ((v1 << 17) & _M64 | v1 >> 47) ^ v2
        v2 = (v2 << 32) & _M64 | v2 >> 32
    return v0, v1, v2, v3
