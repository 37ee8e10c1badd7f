"""A UDP relay between a gateway and its hub that does what NATs and networks do: change its port, go silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast


class UdpRelay(asyncio.DatagramProtocol):
    """For one client. Keeps the address that it heard last."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.silent = False
        self.carried = 0
        """Datagrams from the client."""
        self.latest = (b"", b"")
        """What went up last, and down."""
        self._moved_s = 0.0
        self._client: tuple[str, int] | None = None
        self._front: asyncio.DatagramTransport | None = None
        self._back: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._front = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._client = addr
        if self._back is not None and not self.silent:
            self.carried += 1
            self._note(up=data)
            self._back.sendto(data, self.upstream)

    async def rebind(self) -> int:
        """Speak to the hub from another port from now on; that port."""
        relay = self

        class Back(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                if relay._front is not None and relay._client is not None and not relay.silent:
                    relay._note(down=data)
                    relay._front.sendto(data, relay._client)

        older = self._back
        self._back, _ = await asyncio.get_running_loop().create_datagram_endpoint(Back, local_addr=("127.0.0.1", 0))
        if older is not None:
            older.close()
        return int(self._back.get_extra_info("sockname")[1])

    def _note(self, *, up: bytes = b"", down: bytes = b"") -> None:
        self.latest = up or self.latest[0], down or self.latest[1]
        self._moved_s = asyncio.get_running_loop().time()

    def quiet_s(self) -> float:
        """Since anything was carried."""
        return asyncio.get_running_loop().time() - self._moved_s

    def forge(self, data: bytes) -> None:
        """Send the hub something that the client did not, from the client's address."""
        assert self._back is not None
        self._back.sendto(data, self.upstream)

    def inject(self, data: bytes) -> None:
        """Send the client something that the hub did not."""
        assert self._front is not None
        assert self._client is not None
        self._front.sendto(data, self._client)

    def close(self) -> None:
        for transport in (self._front, self._back):
            if transport is not None:
                transport.close()


@asynccontextmanager
async def udp_relay(address: str) -> AsyncGenerator[tuple[UdpRelay, str]]:
    """A relay to `host:port`, and the `host:port` to dial instead."""
    host, _, port = address.rpartition(":")
    relay = UdpRelay((host, int(port)))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
    await relay.rebind()
    try:
        yield relay, f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        relay.close()
