"""How a gateway's network is wanted. Apart from what carries it out, which costs memory that most agents save."""

from __future__ import annotations

from skerry.frozen import Frozen


class DnsSettings(Frozen):
    """Where the cluster's DNS listens, and for which domain."""

    host: str
    port: int = 53
    domain: str = "cluster.local"


class NetworkSettings(Frozen):
    """What of it there is."""

    dns: DnsSettings | None = None
    """None: no names are answered for."""
    nftables: bool = False
    """Whether the kernel leads service addresses to endpoints."""
