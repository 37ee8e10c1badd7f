"""The sockets that servers listen on. Keeps nothing; the server that is handed a socket closes it."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Final

from skerry.errors import UnavailableError

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


def unix_socket(path: Path, *, group: str, backlog: int) -> socket.socket:
    """Listening, for its owner and the group ("": none) alone from its first moment. A file that a killed program
    left is replaced. Raises `UnavailableError`."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if not path.is_socket():
                raise UnavailableError(f"{path}: there is something that is no socket")
            if _is_served(path):
                raise UnavailableError(f"{path}: another program listens there")
            path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        if group:
            shutil.chown(path, group=group)
            path.chmod(0o660)
        listening.listen(backlog)
        listening.setblocking(False)
    except (OSError, LookupError) as error:
        listening.close()
        raise UnavailableError(f"{path}: {error}") from error
    except UnavailableError:
        listening.close()
        raise
    return listening


def _is_served(path: Path) -> bool:
    """Nobody takes connections only where the kernel says so: who is busy does not answer either. Raises `OSError`
    where it can't be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):
            return True  # its queue is full (unix(7): EAGAIN)
        return True
