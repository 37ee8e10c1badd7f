"""Tells systemd how the service is doing (sd_notify(3)): READY=1, STOPPING=1, STATUS=..., over its socket.

Twenty lines of ours, as the protocol is one datagram. Keeps nothing. Without systemd (no NOTIFY_SOCKET) it does
nothing; a socket that is gone is no reason to stop serving, so its error is returned as False.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping


def notify(environ: Mapping[str, str], **fields: str) -> bool:
    """Send `READY="1"` and the like; whether systemd took it."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract socket: systemd writes its leading NUL as @
        address = "\0" + address[1:]
    text = "\n".join(f"{name}={value}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), address)
    except OSError:
        return False
    return True
