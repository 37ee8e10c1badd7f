"""An address of the gateway's own for its pods to ask: the same on every gateway, whatever network it is on.

A link-local address (169.254.0.0/16) on the loopback interface is reached from each pod by way of its gateway, and
from nowhere else. An interface of its own would need a driver (`dummy`) that not every gateway's kernel has. It takes
CAP_NET_ADMIN and iproute2. Nothing is undone at the end: pods go on while the agent is away. A label says whose the
address is, so that `edgecore cleanup` finds it.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from edgecore.network.programs import run
from skerry.errors import UnavailableError

LABEL: Final = "lo:skerry"


def is_for_pods(address: str) -> bool:
    """Whether it is one that is made here, rather than one that the machine has already."""
    found = ipaddress.ip_address(address)
    return found.is_link_local and found.version == 4


async def hold_address(address: str) -> None:
    """See to it that an address for pods is this machine's. Raises `UnavailableError`."""
    if _is_ours(address):
        return
    try:
        await run("ip", "address", "replace", f"{address}/32", "dev", "lo", "label", LABEL)
    except UnavailableError as error:
        raise UnavailableError(f"{address} can't be made an address of this machine: {error}") from error


def _is_ours(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
