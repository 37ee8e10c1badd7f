"""The sockets that servers listen on. Keeps nothing; the server that is handed a socket closes it."""

from __future__ import annotations

import socket
from typing import Final

DATAGRAM_BUFFER_BYTES: Final = 4 << 20
"""What may wait to be read when thousands of gateways knock at once; the kernel has a limit of its own (rmem_max)."""


def listening_socket(host: str, port: int, *, backlog: int) -> socket.socket:
    """Bound and listening; port 0 means any. On `::` it takes IPv4 as well, which asyncio's own listeners don't:
    they set IPV6_V6ONLY (RFC 3493 section 5.3). What it accepts sends small frames at once. Raises `OSError`."""
    if ":" not in host:
        made = socket.create_server((host, port), backlog=backlog)
    else:
        both = host == "::" and socket.has_dualstack_ipv6()
        made = socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=both)
    # Accepted sockets inherit it. asyncio sets it by itself only where a socket was made with its protocol by number,
    # which Python's is not; without, a second small frame waits until the peer's kernel has acknowledged the first.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def datagram_socket(host: str, port: int) -> socket.socket:
    """A bound UDP socket; port 0 means any. On `::` it takes IPv4 as well. Raises `OSError`."""
    six = ":" in host
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER_BYTES)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
