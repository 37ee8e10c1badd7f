"""How a gateway's network is wanted. Apart from what carries it out, which costs memory that most agents save."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from skerry.frozen import Frozen

RESOLV_PORT: Final = 53
"""The only one that a resolv.conf can mean."""


class DnsSettings(Frozen):
    """Where the cluster's DNS listens, and for which domain."""

    host: str
    port: int = 53
    domain: str = "cluster.local"

    @property
    def for_pods(self) -> tuple[str, ...]:
        """What a pod's resolv.conf names; () where a pod with a network of its own could not ask it."""
        reached = self.port == RESOLV_PORT and not ip_address(self.host).is_loopback
        return (self.host,) if reached else ()


class NetworkSettings(Frozen):
    """What of it there is."""

    dns: DnsSettings | None = None
    """None: no names are answered for."""
    nftables: bool = False
    """Whether the kernel leads service addresses to endpoints."""
