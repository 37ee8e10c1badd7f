"""The socket that a server listens on. Keeps nothing; the server that is handed the socket closes it."""

from __future__ import annotations

import socket


def listening_socket(host: str, port: int, *, backlog: int) -> socket.socket:
    """Bound and listening; port 0 means any. On `::` it takes IPv4 as well, which asyncio's own listeners don't:
    they set IPV6_V6ONLY (RFC 3493 section 5.3). Raises `OSError`."""
    if ":" not in host:
        return socket.create_server((host, port), backlog=backlog)
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=both)
