"""What a pod's status says to those who count pods or speak to them. Pure; keeps nothing."""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen
from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, bool_at, dig, int_at, maps_at, str_at

GRACE_S: Final = 30.0
"""Kubernetes' default terminationGracePeriodSeconds."""
_ANY: Final = ("", "0.0.0.0", "::")


def is_over(pod: JsonObject) -> bool:
    """It has run to its end, well or not."""
    return str_at(pod, "status", "phase") in ("Succeeded", "Failed")


def is_ready(pod: JsonObject) -> bool:
    return is_true(pod, "Ready")


def own_grace_s(pod: JsonObject) -> float:
    """Seconds between SIGTERM and SIGKILL, as its spec says them, whatever a deletion does."""
    said = dig(pod, "spec", "terminationGracePeriodSeconds")
    return float(said) if isinstance(said, int) else GRACE_S


class HostPort(Frozen, order=True):
    """One port of the gateway that a pod has to itself."""

    protocol: str
    number: int
    address: str
    """"" for all addresses."""

    def meets(self, other: HostPort) -> bool:
        """No two pods of a gateway may have both."""
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
                protocol = str_at(port, "protocol") or "TCP"
                found.add(HostPort(protocol=protocol, number=number, address="" if address in _ANY else address))
    return frozenset(found)
