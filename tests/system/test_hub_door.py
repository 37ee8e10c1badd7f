"""The hub's door on real sockets: who says nothing holds nobody up, and nothing is done for who has left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from skerry.transport.door import Door
from skerry.transport.knocks import KnockLimits
from tests.cloudcore.hub.fleet import eventually

pytestmark = pytest.mark.system


@asynccontextmanager
async def a_door(
    shake: Callable[[socket.socket], Awaitable[object]], limits: KnockLimits | None = None
) -> AsyncGenerator[tuple[Door, tuple[str, int]]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        door = Door(listener, shake, limits)
        running = asyncio.create_task(door.run())
        try:
            yield door, listener.getsockname()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_connections_that_say_nothing_keep_nobody_out_and_are_closed() -> None:
    begun: list[bytes] = []

    async def shake(sock: socket.socket) -> None:
        begun.append(sock.recv(10))
        sock.close()

    limits = KnockLimits(waiting_max=20, crowded_s=0.5, silent_s_max=600)
    async with a_door(shake, limits) as (door, place):
        silent = [socket.create_connection(place) for _ in range(20)]
        await eventually(lambda: door.waiting == 20)
        with socket.create_connection(place) as speaks:
            speaks.send(b"hello")
            await eventually(lambda: begun == [b"hello"])
        for sock in silent:
            sock.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""
            sock.close()


async def test_no_handshake_is_begun_for_who_left_before_its_turn() -> None:
    begun: list[bytes] = []
    go_on = asyncio.Event()

    async def shake(sock: socket.socket) -> None:
        begun.append(sock.recv(10))
        await go_on.wait()
        sock.close()

    async with a_door(shake, KnockLimits(handshakes_max=1)) as (door, place):
        sockets = [socket.create_connection(place) for _ in range(3)]
        for number, sock in enumerate(sockets):
            sock.send(b"%d" % number)
            await eventually(lambda: door.waiting == len(sockets) and begun)
        sockets[1].close()
        go_on.set()
        await eventually(lambda: len(begun) == 2)
        assert begun == [b"0", b"2"]
        await eventually(lambda: door.waiting == 0)
        for sock in sockets:
            sock.close()


async def test_a_handshake_that_fails_ends_alone() -> None:
    begun: list[bytes] = []

    async def shake(sock: socket.socket) -> None:
        begun.append(sock.recv(10))
        sock.close()
        if len(begun) == 1:
            raise ConnectionResetError("the peer is gone")

    async with a_door(shake) as (_, place):
        for number in range(2):
            with socket.create_connection(place) as sock:
                sock.send(b"%d" % number)
                await eventually(lambda number=number: len(begun) > number)
    assert begun == [b"0", b"1"]
