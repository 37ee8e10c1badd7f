"""How a gateway's network is wanted. Apart from what carries it out, which costs memory that most agents save."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final

from edgecore.network.ingress.settings import IngressSettings
from skerry.frozen import Frozen

AUTO: Final = "auto"

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


class PodNetworkSettings(Frozen):
    """Of the pods' network that the gateway sets up where nobody else has."""

    directory: Path
    """The container runtime's: of its CNI configurations."""
    ranges: tuple[str, ...] = ()
    """Of pods' addresses; () for those that the Node says."""


class NetworkSettings(Frozen):
    """What of it there is."""

    dns: DnsSettings | None = None
    """None: no names are answered for."""
    pods: PodNetworkSettings | None = None
    """None: pods are connected by others."""
    services: str = ""
    """What leads service addresses to endpoints: `auto`, or a name of `edgecore.network.choice`; "": nothing."""
    ingress: IngressSettings | None = None
    """None: Ingresses are not served."""
