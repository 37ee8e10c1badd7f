"""The door of a hub: accepts connections and begins their handshakes at a pace that leaves time for who is inside.

asyncio's own server accepts all that wait at once and begins all handshakes in one round of its loop: with four
thousand gateways at the door, nobody who is connected is heard for ten seconds. Here one handshake begins in each
round of the loop. Who waits so long that it gave up costs nothing. Keeps open sockets; a crash closes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Final

from skerry.transport.knocks import KnockLimits, Knocks

log = logging.getLogger(__name__)

SHORT_OF_FILES_S: Final = 1.0
"""How long nothing is accepted when the process or the machine has no file descriptor left."""
_ESTABLISHED: Final = 1
"""TCP_ESTABLISHED of netinet/tcp.h; every other state of an accepted connection is on its way to the end."""
_SHORT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Shutters:
    """Close listeners to who is not inside yet, some time before what they let in is ended: who is told to leave
    comes back at once, and must not find the same door open."""

    def __init__(self) -> None:
        self._doors: list[Callable[[], object]] = []

    def add(self, close: Callable[[], object]) -> None:
        self._doors.append(close)

    def close(self) -> None:
        """All of them; again is nothing."""
        while self._doors:
            self._doors.pop()()


class Door:
    """Run `run` until cancelled; the listening socket is the caller's.

    `shake` makes the handshake on a connected socket, which it owns from then on. Whatever it raises of the peer's
    doing (`OSError`, `TimeoutError`) ends that connection alone.
    """

    def __init__(
        self,
        listener: socket.socket,
        shake: Callable[[socket.socket], Awaitable[object]],
        limits: KnockLimits | None = None,
    ) -> None:
        self._listener = listener
        self._shake = shake
        self._knocks = Knocks(limits or KnockLimits())
        self._sockets: dict[int, socket.socket] = {}
        self._shaking: dict[int, asyncio.Task[None]] = {}
        self._number = 0
        self._changed = asyncio.Event()
        """A connection spoke, or a handshake is over."""
        self._room = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Connections that wait for their handshake, or are in it."""
        return self._knocks.waiting + self._knocks.shaking

    async def run(self) -> None:
        self._listener.setblocking(False)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._accept())
                tasks.create_task(self._expire())
                await self._begin(tasks)
        finally:
            loop = asyncio.get_running_loop()
            for sock in self._sockets.values():
                loop.remove_reader(sock)
                sock.close()
            self._sockets.clear()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        short = False
        while True:
            while self._knocks.full:
                self._room.clear()
                await self._room.wait()
            try:
                sock, address = await loop.sock_accept(self._listener)
            except OSError as error:
                if error.errno not in _SHORT_OF_FILES:
                    continue  # the peer was gone before it was accepted (accept(2) reports it so)
                if not short:
                    log.error("no further gateway can be accepted: %s", error.strerror)
                short = True
                await asyncio.sleep(SHORT_OF_FILES_S)
                continue
            short = False
            self._number += 1
            self._sockets[self._number] = sock
            self._knocks.arrived(self._number, str(address[0]), time.monotonic())
            loop.add_reader(sock, self._spoke, self._number)

    def _spoke(self, number: int) -> None:
        """There is something to read: the first words, or the end."""
        sock = self._sockets[number]
        asyncio.get_running_loop().remove_reader(sock)
        if _has_left(sock):
            self._drop(number)
            self._knocks.gone(number)
        else:
            self._knocks.spoke(number)
        self._changed.set()
        self._room.set()

    async def _begin(self, tasks: asyncio.TaskGroup) -> None:
        """Begin handshakes, one in each round of the loop."""
        while True:
            number = self._knocks.next(time.monotonic())
            if number is None:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._room.set()
            sock = self._sockets.pop(number)
            if _has_left(sock):  # while it waited for its turn
                sock.close()
                self._knocks.ended(number)
                continue
            self._shaking[number] = tasks.create_task(self._serve(number, sock))
            await asyncio.sleep(0)

    async def _serve(self, number: int, sock: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError):
                await self._shake(sock)
        finally:
            del self._shaking[number]
            self._knocks.ended(number)
            self._changed.set()

    async def _expire(self) -> None:
        while True:
            late = self._knocks.expired(time.monotonic())
            for number in late:
                asyncio.get_running_loop().remove_reader(self._sockets[number])
                self._drop(number)
            if late:
                self._room.set()
            for number in self._knocks.overdue(time.monotonic()):
                self._shaking[number].cancel()
            await asyncio.sleep(1.0)

    def _drop(self, number: int) -> None:
        self._sockets.pop(number).close()


def _has_left(sock: socket.socket) -> bool:
    """The peer has closed, or the connection has broken: a handshake would be for nobody."""
    try:
        state: int = struct.unpack_from("B", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0]
    except OSError:
        return True
    return state != _ESTABLISHED
