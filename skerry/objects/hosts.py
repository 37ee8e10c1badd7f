"""What can be told of a host by how it is written, without asking a resolver. Pure; keeps nothing."""

from __future__ import annotations

import ipaddress


def is_address(host: str) -> bool:
    """Of IPv4 or IPv6; else it is a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether it is this machine: what goes there is read by nobody on the way."""
    return ipaddress.ip_address(host).is_loopback if is_address(host) else host.lower() == "localhost"
