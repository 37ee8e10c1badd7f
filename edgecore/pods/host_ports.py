"""Which pods have which ports of the gateway: no two may have one. Pure; kept by the agent's pods together.

The scheduler sees to it for the pods that it places; a pod whose `nodeName` somebody wrote, and one that the cloud
placed without knowing what the gateway still runs, are refused here as a kubelet refuses them (lifecycle.predicate,
NodePorts). A crash loses it: pods that were begun before take their ports first.
"""

from __future__ import annotations

from typing import Final

from edgecore.pods.admitting import refused
from skerry.objects.pods import HostPort

REFUSED: Final = refused(
    "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
)


class HostPorts:
    """Of all pods of the gateway, by uid."""

    def __init__(self) -> None:
        self._held: dict[str, frozenset[HostPort]] = {}

    def hold(self, uid: str, ports: frozenset[HostPort]) -> None:
        """They are this pod's, whoever else has them."""
        if ports:
            self._held[uid] = ports

    def are_free(self, uid: str, ports: frozenset[HostPort]) -> bool:
        """Nobody else has one of them."""
        others = (port for other, held in self._held.items() if other != uid for port in held)
        return not any(port.meets(other) for other in others for port in ports)

    def release(self, uid: str) -> None:
        self._held.pop(uid, None)
