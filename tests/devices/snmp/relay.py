"""Datagrams to an agent and back, some of them late, lost, twice or cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias


class Relay(asyncio.DatagramProtocol):
    Fault: TypeAlias = Literal["", "late", "lost", "twice", "cut"]

    def __init__(self, fault: Callable[[int], Fault], late_s: float) -> None:
        self._fault = fault
        self._late_s = late_s
        self.port = 0
        self.requests = 0
        self.spoiled = 0
        self.upstream: asyncio.DatagramTransport | None = None
        self._client: tuple[str, int] | None = None
        self._down: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._down = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests += 1
        self._client = addr
        if self.upstream is not None:
            self.upstream.sendto(data)

    def answered(self, data: bytes) -> None:
        fault, client = self._fault(self.requests), self._client
        self.spoiled += bool(fault)
        if fault == "lost" or client is None:
            return
        if fault == "cut":
            data = data[: len(data) // 2]
        if fault == "late":
            asyncio.get_running_loop().call_later(self._late_s, self._send, data, client)
            return
        for _ in range(2 if fault == "twice" else 1):
            self._send(data, client)

    def _send(self, data: bytes, client: tuple[str, int]) -> None:
        if not self._down.is_closing():
            self._down.sendto(data, client)


class _Upstream(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._relay.answered(data)


@asynccontextmanager
async def relaying(
    agent: int, fault: Callable[[int], Relay.Fault] = lambda _: "", *, late_s: float = 0
) -> AsyncGenerator[Relay]:
    loop = asyncio.get_running_loop()
    down, relay = await loop.create_datagram_endpoint(lambda: Relay(fault, late_s), local_addr=("127.0.0.1", 0))
    up, _ = await loop.create_datagram_endpoint(lambda: _Upstream(relay), remote_addr=("127.0.0.1", agent))
    relay.port, relay.upstream = down.get_extra_info("sockname")[1], up
    try:
        yield relay
    finally:
        down.close()
        up.close()
