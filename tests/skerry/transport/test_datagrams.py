"""Datagrams in batches: bounded turns, what the socket does not take at once, and ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from typing import Any

import pytest

from skerry.transport.datagrams import BATCH_MAX, UNSENT_MAX, BatchedDatagrams


class Heard(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.errors: list[Exception] = []
        self.lost = asyncio.Event()
        self.changed = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.append(data)
        self.changed.set()

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.datagrams) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def pair() -> Generator[tuple[socket.socket, socket.socket]]:
    """Two that are connected to each other."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    far.setblocking(False)
    yield near, far
    near.close()
    far.close()


async def test_what_is_there_comes_in_one_turn_up_to_a_bound(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    heard = Heard()
    for number in range(4):
        far.send(bytes((number,)))
    transport = BatchedDatagrams(near, heard)
    transport._read()
    assert heard.datagrams == [bytes((number,)) for number in range(4)]
    sent = 0
    while True:
        try:
            far.send(b"more")
            sent += 1
        except BlockingIOError:
            break
    heard.datagrams.clear()
    transport._read()
    assert len(heard.datagrams) == min(sent, BATCH_MAX)
    transport.close()
    await heard.lost.wait()


async def test_what_has_no_room_waits_in_order_up_to_a_bound(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    transport, there = BatchedDatagrams(near, Heard()), Heard()
    for number in range(3 * UNSENT_MAX):
        transport.sendto(number.to_bytes(2, "big"))
    assert len(transport._unsent) == UNSENT_MAX
    receiving = BatchedDatagrams(far, there)
    await there.until(UNSENT_MAX)
    assert there.datagrams == sorted(there.datagrams)
    assert there.datagrams[0] == bytes(2)
    transport.close()
    receiving.close()
    await there.lost.wait()


async def test_nothing_is_heard_or_sent_after_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    heard = Heard()
    transport = BatchedDatagrams(near, heard)
    transport.close()
    transport.close()
    assert transport.is_closing()
    transport.sendto(b"late")
    async with asyncio.timeout(20):
        await heard.lost.wait()
    with pytest.raises(BlockingIOError):
        far.recv(10)
