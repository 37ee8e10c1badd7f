"""Which addresses the kit uses: a private pool that exists only inside its namespaces.

IPv4 10.203.0.0/16 and IPv6 fd5c:e221:7c0d::/48. The cloud's place has .0.N for its Nth replica; line N takes four
addresses after that. No interface of the machine's own network is ever given one, so that they can't clash with
what the machine uses, nor one run's with another's.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen

POOL_4: Final = IPv4Address("10.203.0.0")
POOL_6: Final = IPv6Address("fd5c:e221:7c0d::")
REPLICAS_MAX: Final = 254
LINES_MAX: Final = (65_536 - 256) // 4


class Ends(Frozen):
    """Both ends of one line."""

    site_4: IPv4Address
    cloud_4: IPv4Address
    site_6: IPv6Address
    cloud_6: IPv6Address


def cloud_addresses(replica: int) -> tuple[IPv4Address, IPv6Address]:
    """Where replica 1, 2 … listens."""
    if not 1 <= replica <= REPLICAS_MAX:
        raise InvalidError(f"replica {replica}: there is room for 1 to {REPLICAS_MAX}")
    return POOL_4 + replica, POOL_6 + replica


def ends_of(line: int) -> Ends:
    """The addresses of line 0, 1 …"""
    if not 0 <= line < LINES_MAX:
        raise InvalidError(f"line {line}: there is room for {LINES_MAX} sites")
    four = POOL_4 + 256 + 4 * line
    six = POOL_6 + ((line + 1) << 64)
    return Ends(site_4=four + 2, cloud_4=four + 1, site_6=six + 2, cloud_6=six + 1)
