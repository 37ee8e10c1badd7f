"""Why nobody could be reached, in Go's words: people know them from kubelets. Pure.

asyncio puts its own words into an error's, and the error of a name that is not known has a number of another table.
"""

from __future__ import annotations

import os
import socket
from typing import Literal

Network = Literal["tcp", "tcp4", "tcp6"]


def place_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def dial_fault(host: str, port: int, error: OSError | ValueError, *, network: Network = "tcp") -> str:
    """`dial tcp 10.0.0.1:80: connect: connection refused` (net.OpError)."""
    if isinstance(error, socket.gaierror):
        return f"dial {network}: lookup {host}: no such host"
    dial = f"dial {network} {place_of(host, port)}"
    if isinstance(error, TimeoutError):
        return f"{dial}: i/o timeout"
    if isinstance(error, OSError) and error.errno:
        return f"{dial}: connect: {os.strerror(error.errno).lower()}"
    return f"{dial}: {error}" if str(error) else f"{dial}: i/o timeout"
