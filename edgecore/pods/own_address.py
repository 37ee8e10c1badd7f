"""By which address this machine is reached, also while it has no way out.

With a way out the kernel says from where it would speak. Without one (the cable is out, the modem has no signal) the
one that was last told counts: pods, probes and neighbours go by it, and it comes back with the link. A gateway that
never had a way out is reached by the address of an interface. Asks the kernel, sends nothing, keeps nothing.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

NO_ROUTE: Final = ("127.0.0.1",)
"""The addresses of a machine that can't speak to others."""
_OUTSIDE: Final = ("192.0.2.1", 9)
"""TEST-NET-1 (RFC 5737)."""
_SIOCGIFADDR: Final = 0x8915
_IFREQ: Final = struct.Struct("16sH2x4s16x")
_LOOPBACK: Final = "127."
_LINK_LOCAL: Final = "169.254."


def own_addresses() -> tuple[str, ...]:
    """The first is the node's InternalIP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_OUTSIDE)
            name: tuple[str, int] = probe.getsockname()
        except OSError:
            return NO_ROUTE
    return (name[0],)


def site_address(interfaces: Sequence[str], address_of: Callable[[str], str]) -> tuple[str, ...]:
    """The first that others of the site could know; () where there is none."""
    found = [address_of(each) for each in interfaces]
    return tuple(each for each in found if each and not each.startswith((_LOOPBACK, _LINK_LOCAL)))[:1]


def or_known(addresses: tuple[str, ...], known: str | None) -> tuple[str, ...]:
    """`known`: the one that was told last."""
    if addresses != NO_ROUTE:
        return addresses
    return (known,) if known else _of_interfaces() or NO_ROUTE


def _of_interfaces() -> tuple[str, ...]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return site_address(_interfaces(), lambda each: _address_of(probe, each))


def _interfaces() -> list[str]:
    """In the kernel's order, without bridges: those are of pods and containers."""
    return [name for _, name in socket.if_nameindex() if not Path("/sys/class/net", name, "bridge").is_dir()]


def _address_of(probe: socket.socket, interface: str) -> str:
    request = _IFREQ.pack(interface.encode(), socket.AF_INET, bytes(4))
    try:
        answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
    except OSError:  # it has none
        return ""
    return socket.inet_ntoa(answer[20:24])
