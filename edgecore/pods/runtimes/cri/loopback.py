"""Connections to ports of a pod's own loopback, made from inside its network namespace.

A socket belongs to the namespace of the thread that makes it: one is made in a thread that goes there for that alone,
and is then used like any other. Needs the rights of root over that namespace. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from edgecore.pods.dialing import dial_fault
from edgecore.pods.port import ExecStream
from edgecore.pods.runtimes.visits import CONNECT_S_MAX, WINDOW_BYTES, Forward
from skerry.errors import UnavailableError

CLONE_NEWNET: Final = 0x40000000
_WAYS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def connect(pid: int, port: int) -> ExecStream:
    """To a port, over IPv4 and then IPv6, in the network namespace of this process. Raises `UnavailableError`."""
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    for family, host in _WAYS:
        try:
            made = await _in_thread(loop, pid, family)
        except OSError as error:
            faults.append(f"{host}: {error.strerror or error}")
            continue
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await loop.sock_connect(made, (host, port))
            reader, writer = await asyncio.open_connection(sock=made, limit=WINDOW_BYTES)
        except OSError as error:  # a time-out among them
            made.close()
            faults.append(dial_fault(host, port, error, network="tcp6" if ":" in host else "tcp4"))
            continue
        except BaseException:
            made.close()
            raise
        return Forward(reader, writer)
    raise UnavailableError(f"failed to connect to localhost:{port} inside the pod: {', '.join(faults)}")


async def _in_thread(loop: asyncio.AbstractEventLoop, pid: int, family: socket.AddressFamily) -> socket.socket:
    """The thread ends with it: it is never used for anything else."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pod-network") as thread:
        return await loop.run_in_executor(thread, _socket_in, pid, family)


def _socket_in(pid: int, family: socket.AddressFamily) -> socket.socket:
    import ctypes  # a megabyte that only port-forwards need

    libc = ctypes.CDLL(None, use_errno=True)
    space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(space, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"entering the pod's network: {os.strerror(number)}")
    finally:
        os.close(space)
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    return made
