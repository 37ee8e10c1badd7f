"""Which pods have which ports of the gateway: no two may have one. Pure; kept by the agent's pods together.

The scheduler sees to it for the pods that it places; a pod whose `nodeName` somebody wrote, and one that the cloud
placed without knowing what the gateway still runs, are refused here as a kubelet refuses them (lifecycle.predicate,
NodePorts). A crash loses it: pods that were begun before take their ports first.
"""

from __future__ import annotations

from typing import Final

from edgecore.pods.status import Ending
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, int_at, maps_at, str_at

_ANY: Final = ("", "0.0.0.0", "::")
REFUSED: Final = Ending(
    reason="NodePorts",
    message="Pod was rejected: Predicate NodePorts failed: "
    "node(s) didn't have free ports for the requested pod ports",
)


class HostPort(Frozen, order=True):
    """One port of the gateway."""

    protocol: str
    number: int
    address: str
    """"" for all addresses."""

    def meets(self, other: HostPort) -> bool:
        same = (self.protocol, self.number) == (other.protocol, other.number)
        return same and ("" in (self.address, other.address) or self.address == other.address)


def host_ports_of(pod: JsonObject) -> frozenset[HostPort]:
    """What a pod asks for: `hostPort`s, and with the gateway's network all that it says it listens on. Of init
    containers those that stay."""
    host_network = bool_at(pod, "spec", "hostNetwork")
    staying = [each for each in maps_at(pod, "spec", "initContainers") if str_at(each, "restartPolicy") == "Always"]
    found: set[HostPort] = set()
    for container in (*maps_at(pod, "spec", "containers"), *staying):
        for port in maps_at(container, "ports"):
            number = int_at(port, "hostPort") or (int_at(port, "containerPort") if host_network else 0)
            if number:
                address = str_at(port, "hostIP")
                protocol = str_at(port, "protocol", default="TCP")
                found.add(HostPort(protocol=protocol, number=number, address="" if address in _ANY else address))
    return frozenset(found)


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
