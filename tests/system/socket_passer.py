"""Holds sockets and hands them to a program, as systemd does with a .socket unit (sd_listen_fds(3)): they stay open
while the program ends and another is started, and what comes in meanwhile waits in them."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_START = """
import os, sys
count = int(sys.argv[1])
held = [int(number) for number in sys.argv[2 : 2 + count]]
for place, number in enumerate(held):
    os.dup2(number, 3 + place)
for number in range(3 + count, 256):
    try:
        os.close(number)
    except OSError:
        pass
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=sys.argv[2 + count])
os.execv(sys.argv[3 + count], sys.argv[3 + count :])
"""


class SocketPasser:
    """`names` are of the sockets, in order."""

    def __init__(self, sockets: Sequence[socket.socket], names: Sequence[str]) -> None:
        self._sockets = sockets
        self._names = names

    def start(self, log: Path, *command: str) -> subprocess.Popen[bytes]:
        numbers = [each.fileno() for each in self._sockets]
        # Far above those that are to be, so that none is written over before it is copied.
        far = [os.dup2(number, 200 + place) for place, number in enumerate(numbers)]
        words = [str(len(far)), *map(str, far), ":".join(self._names)]
        try:
            with log.open("ab") as written:
                return subprocess.Popen(
                    [sys.executable, "-c", _START, *words, *command], stderr=written, pass_fds=far
                )
        finally:
            for number in far:
                os.close(number)


def reuseport_socket(kind: socket.SocketKind, port: int = 0) -> socket.socket:
    """As systemd opens it with ReusePort=yes."""
    made = socket.socket(socket.AF_INET, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def reuseport_sockets() -> tuple[socket.socket, socket.socket]:
    """One for datagrams and one for connections, at a port that nobody has for either."""
    while True:
        datagrams = reuseport_socket(socket.SOCK_DGRAM)
        try:
            return datagrams, reuseport_socket(socket.SOCK_STREAM, datagrams.getsockname()[1])
        except OSError as error:
            datagrams.close()
            if error.errno != errno.EADDRINUSE:
                raise
