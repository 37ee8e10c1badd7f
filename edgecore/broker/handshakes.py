"""TLS handshakes of the broker's clients: bounded in number and in time, before anybody is a client.

asyncio's own servers count nobody before the handshake is over, and wait a minute for it: whoever opens connections
and says nothing would take the agent's file descriptors and memory. Here the oldest handshake gives way to the
newest.

In memory: the handshakes under way. A crash leaves nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

from skerry.errors import InvalidError

HANDSHAKES_MAX: Final = 100
"""Under way at a time."""
HANDSHAKE_S_MAX: Final = 10.0


class Handshakes:
    """Of one address. `protocol` is what its server makes of each connection."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], peer: Callable[[], asyncio.Protocol]) -> None:
        """`tls` is asked before each; `peer` makes what speaks on a connection that is secure."""
        self.tls = tls
        self.peer = peer
        self._under_way: dict[_Handshake, asyncio.Task[None]] = {}

    def protocol(self) -> asyncio.Protocol:
        return _Handshake(self)

    def begin(self, handshake: _Handshake) -> None:
        if len(self._under_way) >= HANDSHAKES_MAX:
            self._under_way.pop(next(iter(self._under_way))).cancel()
        task = asyncio.get_running_loop().create_task(handshake.run())
        self._under_way[handshake] = task
        task.add_done_callback(lambda _: self._under_way.pop(handshake, None))

    @property
    def count(self) -> int:
        return len(self._under_way)

    def close(self) -> None:
        for task in self._under_way.values():
            task.cancel()


class _Handshake(asyncio.Protocol):
    """One. What the client says together with its last word of the handshake is kept for who comes after it."""

    def __init__(self, all_of_them: Handshakes) -> None:
        self._all = all_of_them
        self._transport = cast(asyncio.Transport, None)
        self._early = bytearray()
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()  # what comes is TLS's
        self._all.begin(self)

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._lost = True

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            secure = await loop.start_tls(
                self._transport, self, self._all.tls(), server_side=True, ssl_handshake_timeout=HANDSHAKE_S_MAX
            )
        except (
            OSError,
            InvalidError,
        ):  # no TLS, no certificate of use, too late, or gone: `ssl`'s errors are OSErrors
            self._transport.abort()
            return
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        if secure is None or self._lost:
            self._transport.abort()
            return
        peer = self._all.peer()
        secure.set_protocol(peer)
        peer.connection_made(secure)
        if self._early:
            peer.data_received(bytes(self._early))
