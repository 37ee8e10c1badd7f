"""A UDP socket on the event loop that gives what came in batches: asyncio's gives one datagram in a turn of its loop.

Who answers in the next turn of the loop answers a batch at once: a copy of a gigabyte is a million datagrams, and an
answer to each of them would be a million more. A batch is bounded, so that other work of the loop has its turn. What
the socket does not take at once is dropped when a bound is reached, as the network would do it. Keeps what waits to
be sent; a crash loses it, and whoever misses it sends again.

Source: `SO_MEMINFO` of linux/sock_diag.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import Any, Final, TypeAlias, cast

Address: TypeAlias = "tuple[Any, ...]"

BATCH_MAX: Final = 24
"""Datagrams of one turn: some milliseconds of work."""
UNSENT_MAX: Final = 512
"""Datagrams that may wait for room in the socket."""
READ_BYTES: Final = 65_535
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("=II28x")
"""What is taken of the room for what came; the room. Seven further figures."""


class BatchedDatagrams(asyncio.DatagramTransport):
    """A transport for a protocol of asyncio's, on a bound socket that does not block."""

    def __init__(self, plain: socket.socket, protocol: asyncio.DatagramProtocol) -> None:
        super().__init__({"socket": plain, "sockname": plain.getsockname()})
        self._loop = asyncio.get_running_loop()
        self._socket = plain
        self._protocol = protocol
        self._unsent: deque[tuple[bytes, Address | None]] = deque()
        self._closed = False
        protocol.connection_made(self)
        if not self._closed:
            self._loop.add_reader(plain.fileno(), self._read)

    @property
    def crowded(self) -> bool:
        """More than half of the room for what came is taken, though it is read all the time."""
        try:
            taken, room = _MEMINFO.unpack(self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        except (OSError, struct.error):
            return False
        return taken > room // 2

    def sendto(self, data: Any, addr: Any = None) -> None:
        """See `asyncio.DatagramTransport`."""
        if self._closed:
            return
        if not self._unsent and self._sent(data, addr):
            return
        if len(self._unsent) < UNSENT_MAX:
            if not self._unsent:
                self._loop.add_writer(self._socket.fileno(), self._write)
            self._unsent.append((bytes(data), addr))

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        descriptor = self._socket.fileno()
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        for data, addr in self._unsent:  # a last word goes if it can
            self._sent(data, addr)
        self._unsent.clear()
        self._loop.call_soon(self._gone)

    def _gone(self) -> None:
        self._socket.close()
        self._protocol.connection_lost(None)

    def _read(self) -> None:
        for _ in range(BATCH_MAX):
            if self._closed:
                return
            try:
                data, addr = cast("tuple[bytes, Address]", self._socket.recvfrom(READ_BYTES))
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._protocol.error_received(error)
                return
            self._protocol.datagram_received(data, addr)

    def _write(self) -> None:
        while self._unsent and self._sent(*self._unsent[0]):
            self._unsent.popleft()
        if not self._unsent and not self._closed:
            self._loop.remove_writer(self._socket.fileno())

    def _sent(self, data: bytes, addr: Address | None) -> bool:
        """False where it must wait."""
        try:
            if addr is None:
                self._socket.send(data)
            else:
                self._socket.sendto(data, addr)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            with contextlib.suppress(Exception):
                self._protocol.error_received(error)
        return True
