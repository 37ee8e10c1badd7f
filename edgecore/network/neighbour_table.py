"""Who answered for which address on this machine's networks, as the kernel knows (ARP, RFC 4861): of both families.

Asked by rtnetlink rather than by `ip neigh`: it is asked every few seconds. What is read is pure; keeps nothing.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Final

_HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, number, port."""
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")
"""struct ndmsg: family, interface, state, flags, type."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_DONE, _NEW, _GET = 3, 28, 30
_REQUEST_DUMP: Final = 0x301
_DESTINATION: Final = 1
_NOARP: Final = 0x40
_ANSWERED: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
"""NUD_REACHABLE, STALE, DELAY, PROBE, PERMANENT (linux/neighbour.h)."""
_SIZES: Final = {socket.AF_INET: 4, socket.AF_INET6: 16}
READ_S: Final = 1.0
_READ_BYTES: Final = 64 << 10


def answered() -> dict[str, bool]:
    """By address whether somebody answered for it; who was not looked for is not in it. Raises `OSError`."""
    found: dict[str, bool] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as made:
        made.settimeout(READ_S)
        made.bind((0, 0))
        size = _HEADER.size + _NEIGHBOUR.size
        made.send(_HEADER.pack(size, _GET, _REQUEST_DUMP, 1, 0) + _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        while not read_into(found, made.recv(_READ_BYTES)):
            continue
    return found


def read_into(found: dict[str, bool], data: bytes) -> bool:
    """What one datagram of the kernel's says; whether it is the last. Pure."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or kind != _NEW:
            return True  # the end, or an error
        message = data[at + _HEADER.size : at + length]
        if len(message) >= _NEIGHBOUR.size:
            family, _, state, _, _ = _NEIGHBOUR.unpack_from(message)
            address = _address_in(message[_NEIGHBOUR.size :], _SIZES.get(family, 0))
            if address and not state & _NOARP:
                # Of one that is on two interfaces, one answer counts.
                found[address] = found.get(address, False) or bool(state & _ANSWERED)
        at += length + 3 & ~3
    return False


def _address_in(data: bytes, size: int) -> str:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return ""
        if kind == _DESTINATION and length == _ATTRIBUTE.size + size:
            return str(ip_address(data[at + _ATTRIBUTE.size : at + length]))
        at += length + 3 & ~3
    return ""
