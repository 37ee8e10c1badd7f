"""Where the gateway's DNS is asked: bound before there is a server that answers. Keeps nothing."""

from __future__ import annotations

import socket
from typing import Final

from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.listening import datagram_socket, listening_socket

BACKLOG: Final = 64


class DnsSockets(Frozen):
    """UDP and TCP at one address and port. What comes before somebody reads waits in the kernel."""

    stream: socket.socket
    datagrams: socket.socket

    @property
    def port(self) -> int:
        return self.stream.getsockname()[1]

    def close(self) -> None:
        """Also after a server has closed them."""
        self.stream.close()
        self.datagrams.close()


def dns_sockets_at(host: str, port: int) -> DnsSockets:
    """Port 0 means any. Raises `UnavailableError`."""
    try:
        stream = listening_socket(host, port, backlog=BACKLOG)
    except OSError as error:
        raise UnavailableError(f"DNS on {host}:{port}: {error.strerror}") from error
    try:
        return DnsSockets(stream=stream, datagrams=datagram_socket(host, stream.getsockname()[1]))
    except OSError as error:
        stream.close()
        raise UnavailableError(f"DNS on {host}:{port}: {error.strerror}") from error
