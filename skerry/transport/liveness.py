"""Whether somebody is still at the other end of a conversation in which he may say nothing for hours.

A client may be slow to read, or read nothing for a while, and is there none the less; so it is not asked itself: its
kernel is. A ping goes out now and then, and what the kernel here knows of the connection (TCP_INFO) says whether it
was acknowledged, and whether the other side has closed. That is seen even while nothing is read here because whoever
should take it does not, which is when an end would not be heard otherwise. Over a unix socket, and where there is no
TCP_INFO, a ping that can't be written says so. Keeps nothing.

Source: tcp(7); `struct tcp_info` of linux/tcp.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.waits import end_tasks

PING_S: Final = 20.0
UNANSWERED_S: Final = 30.0
"""For a kernel to acknowledge: several retransmissions."""
PROBED_S: Final = 180.0
"""For one that has no room: it is asked again ever more seldom, after two minutes at most (TCP_RTO_MAX)."""
PING_WRITE_S_MAX: Final = 5.0
"""A client that takes nothing has much on its way that says the same as a ping."""
IDLE_S: Final = 30
PROBE_S: Final = 10
PROBES: Final = 3

_ESTABLISHED: Final = 1
_INFO: Final = struct.Struct("=B7x16xI28xI")
"""State; the unacknowledged; the time since the last acknowledgement, in ms."""


class TcpState(Frozen):
    """What the kernel here knows of a connection."""

    established: bool
    unanswered: bool
    """Something was sent that is not acknowledged."""
    quiet_s: float
    """Since an acknowledgement was heard."""

    @property
    def is_over(self) -> bool:
        """Nobody is at the other end."""
        if not self.established:
            return True
        return self.quiet_s >= (UNANSWERED_S if self.unanswered else PROBED_S)


class OptionSocket(Protocol):
    """The part of a socket that is used, of asyncio's as well."""

    @property
    def family(self) -> int: ...
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...
    def setsockopt(self, level: int, optname: int, value: int, /) -> None: ...


class Watched(Protocol):
    """A client's connection."""

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """None where there is none."""
        ...

    async def ping(self) -> None:
        """Raises `UnavailableError` where the client has gone."""
        ...


class HasSocket(Protocol):
    @property
    def kernel_socket(self) -> OptionSocket | None: ...


class Unasked(Frozen, kw_only=False):
    """A client whose protocol is not ours to say anything in: its kernel is asked by the keep-alive alone."""

    client: HasSocket

    @property
    def kernel_socket(self) -> OptionSocket | None:
        """See `Watched`."""
        return self.client.kernel_socket

    async def ping(self) -> None:
        """See `Watched`."""


def keep_alive(plain: OptionSocket) -> None:
    """Let the kernel ask after a minute of silence whether the other end is there, and end the connection if not."""
    if plain.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # it is over already
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", IDLE_S), ("TCP_KEEPINTVL", PROBE_S), ("TCP_KEEPCNT", PROBES)):
            if (option := getattr(socket, name, None)) is not None:
                plain.setsockopt(socket.IPPROTO_TCP, option, value)


def tcp_state(plain: OptionSocket) -> TcpState | None:
    """None where the kernel does not say."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None or plain.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        state, unanswered, quiet_ms = _INFO.unpack(plain.getsockopt(socket.IPPROTO_TCP, option, _INFO.size))
    except (OSError, struct.error):
        return None
    return TcpState(established=state == _ESTABLISHED, unanswered=unanswered > 0, quiet_s=quiet_ms / 1000)


async def gone(client: Watched, *, every_s: float = PING_S) -> None:
    """Until nobody is there any more."""
    if (plain := client.kernel_socket) is not None:
        keep_alive(plain)
    while True:
        await asyncio.sleep(every_s)
        plain = client.kernel_socket
        if plain is not None and (state := tcp_state(plain)) is not None and state.is_over:
            return
        try:
            async with asyncio.timeout(PING_WRITE_S_MAX):
                await client.ping()
        except TimeoutError:
            continue
        except UnavailableError:
            return


async def attended(work: Coroutine[Any, Any, None], client: Watched, *, every_s: float = PING_S) -> None:
    """Do the work for as long as somebody is there for whom it is done. Raises what the work raises."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(gone(client, every_s=every_s))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        await end_tasks(working, watching)
