"""A stream between two replicas: what is said, how each half ends, and what is said of a replica that is gone."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiohttp import WSMessage, WSMsgType

from cloudcore.runtime.replica_pipes import WebSocketPipe
from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError, UncertainError


class Socket:
    """One end of a WebSocket, without a network."""

    def __init__(self) -> None:
        self.peer: Socket = self
        self.coming: asyncio.Queue[WSMessage] = asyncio.Queue()
        self.looks = 0
        self.silent = False
        self.broken = False

    async def receive(self, _wait_s: float | None = None) -> WSMessage:
        if self.silent:
            self.looks += 1
            raise TimeoutError
        return await self.coming.get()

    async def send_bytes(self, data: bytes) -> None:
        if self.broken:
            raise ConnectionResetError
        self.peer.coming.put_nowait(WSMessage(WSMsgType.BINARY, data, None))

    async def close(self) -> None:
        self.peer.coming.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))


def a_pair() -> tuple[WebSocketPipe, WebSocketPipe, Socket]:
    near, far = Socket(), Socket()
    near.peer, far.peer = far, near
    pipes = (WebSocketPipe(cast("Any", near), "replica north"), WebSocketPipe(cast("Any", far), "replica south"))
    return (*pipes, near)


async def test_it_is_opened_with_what_the_stream_needs_and_goes_both_ways() -> None:
    near, far, _ = a_pair()
    await near.open(b'{"pod": "web"}')
    assert await far.opening() == b'{"pod": "web"}'
    sent = bytes(range(256)) * 1000
    await near.write(sent)
    await near.end()
    came = bytearray()
    while piece := await far.read():
        came += piece
    assert came == sent
    await far.write(b"answer")
    await far.close()
    assert [await near.read(), await near.read(), await near.read()] == [b"answer", b"", b""]


@pytest.mark.parametrize(
    "error", [NotFoundError("x"), BadRequestError("x"), UncertainError("x"), UnavailableError("x")]
)
async def test_it_ends_with_what_the_other_side_says(error: SkerryError) -> None:
    near, far, _ = a_pair()
    await far.write(b"first")
    await far.close(error)
    await far.close()
    assert await near.read() == b"first"
    with pytest.raises(type(error), match="x") as caught:
        await near.read()
    assert type(caught.value) is type(error)


async def test_who_breaks_off_leaves_it_uncertain() -> None:
    near, _, socket = a_pair()
    await socket.peer.close()
    with pytest.raises(UncertainError, match="replica north broke off"):
        await near.read()
    socket.broken = True
    with pytest.raises(UncertainError, match="broke off"):
        await near.write(b"x")
    await near.close()


async def test_a_replica_that_is_silent_is_looked_for() -> None:
    socket, lives = Socket(), [False, True, True]
    socket.silent = True
    pipe = WebSocketPipe(cast("Any", socket), "replica north", lives.pop)
    with pytest.raises(UncertainError, match="replica north is not heard any more"):
        await pipe.read()
    assert socket.looks == 3


async def test_nonsense_at_the_beginning_is_refused() -> None:
    near, far, socket = a_pair()
    await socket.close()
    with pytest.raises(BadRequestError, match="binary message"):
        await far.opening()
    await near.close()
