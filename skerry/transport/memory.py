"""A link within one process: for tests of the shells, in both directions, that can be cut.

Keeps what is on its way in two bounded queues; a crash or a cut loses it, as a wire does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from skerry.errors import UnavailableError

T = TypeVar("T")

IN_FLIGHT_MAX: Final = 64
"""Frames on their way in one direction before the sender waits."""


class MemoryLink:
    """One end. `pair` makes both."""

    def __init__(self, *, peer_name: str, peer_key: str = "", peer_issuer: str = "") -> None:
        self._peer_name = peer_name
        self._peer_key = peer_key
        self._peer_issuer = peer_issuer
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue(IN_FLIGHT_MAX)
        self.ended = asyncio.Event()
        self.peer: MemoryLink | None = None
        self.silent = False
        """What is sent from this end vanishes, as on a half-open link."""

    @property
    def apart(self) -> bool:
        return False

    @property
    def heard_s(self) -> float:
        return 0.0

    @property
    def peer_name(self) -> str:
        return self._peer_name

    @property
    def peer_key(self) -> str:
        return self._peer_key

    @property
    def peer_issuer(self) -> str:
        return self._peer_issuer

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        assert self.peer is not None
        if self.ended.is_set():
            raise UnavailableError("the link has ended")
        if not self.silent:
            await self._unless_ended(self.peer.arrived.put(data))

    async def receive(self) -> bytes:
        if not self.arrived.empty():
            return self.arrived.get_nowait()
        return await self._unless_ended(self.arrived.get())

    async def close(self, *, code: int, reason: str) -> None:
        self.cut()

    def abort(self) -> None:
        self.cut()

    def cut(self) -> None:
        """End the link for both; what is on its way can still be received."""
        assert self.peer is not None
        self.ended.set()
        if not self.peer.silent and not self.silent:
            self.peer.ended.set()

    async def _unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self.ended.wait())
        try:
            await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise UnavailableError("the link has ended")
        finally:
            task.cancel()
            ended.cancel()


def pair(*, edge_name: str, edge_key: str = "", edge_issuer: str = "") -> tuple[MemoryLink, MemoryLink]:
    """(the edge's end, the cloud's end); the cloud sees the three as the peer's."""
    edge = MemoryLink(peer_name="cloud")
    cloud = MemoryLink(peer_name=edge_name, peer_key=edge_key, peer_issuer=edge_issuer)
    edge.peer, cloud.peer = cloud, edge
    return edge, cloud
