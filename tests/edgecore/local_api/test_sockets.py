"""Messages of a client of the local API: of any size up to the bound, in pieces, not more than there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from websockets.frames import Frame, Opcode

from edgecore.local_api.bounds import LargeMessages
from edgecore.local_api.sockets import LocalSocket
from skerry.errors import UnavailableError

LARGE = 300 * 1024


class Wire:
    """Both directions of a connection."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = bytearray()
        self.lost = False

    async def read(self, _n: int, /) -> bytes:
        return await self.coming.get()

    def write(self, data: bytes, /) -> None:
        self.sent += data

    async def drain(self) -> None:
        if self.lost:
            raise ConnectionResetError

    def get_extra_info(self, _name: str, /) -> object:
        return None

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            data = frame.serialize(mask=True)
            for at in range(0, len(data), 60_000):
                self.coming.put_nowait(data[at : at + 60_000])


def opened(large: LargeMessages) -> tuple[LocalSocket, Wire]:
    wire = Wire()
    return LocalSocket(wire, wire, key="k", protocol="", trailing=b"", large=large), wire


def fragments(*pieces: bytes) -> Sequence[Frame]:
    last = len(pieces) - 1
    return [
        Frame(Opcode.BINARY if at == 0 else Opcode.CONT, piece, fin=at == last) for at, piece in enumerate(pieces)
    ]


async def test_a_message_comes_whole_in_however_many_pieces() -> None:
    socket, wire = opened(LargeMessages())
    wire.say(*fragments(b"a", b"", b"bc"), Frame(Opcode.TEXT, b"text"), Frame(Opcode.BINARY, bytes(LARGE)))
    assert [await socket.hear(), await socket.hear()] == [b"abc", "text"]
    assert await socket.hear() == bytes(LARGE)


async def test_a_large_message_waits_for_a_place_and_a_used_one_gives_its_own_back() -> None:
    large = LargeMessages(1)
    (first, one), (second, two) = opened(large), opened(large)
    for wire in (one, two):
        wire.say(Frame(Opcode.BINARY, bytes(LARGE)))
    assert await first.hear() == bytes(LARGE)
    waiting = asyncio.create_task(second.hear())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not waiting.done()
    one.say(Frame(Opcode.BINARY, b"next"))
    assert await first.hear() == b"next"
    assert await waiting == bytes(LARGE)


async def test_a_client_that_goes_gives_its_place_back() -> None:
    large = LargeMessages(1)
    first, one = opened(large)
    one.say(Frame(Opcode.BINARY, bytes(LARGE)))
    await first.hear()
    await first.close()
    await large.take(0)


async def test_a_message_over_the_bound_ends_it() -> None:
    socket, wire = opened(LargeMessages())
    wire.say(Frame(Opcode.BINARY, bytes((1 << 20) + 1)))
    assert await socket.hear() is None


async def test_a_ping_is_written_or_says_that_the_client_has_gone() -> None:
    socket, wire = opened(LargeMessages())
    await socket.ping()
    assert bytes(wire.sent) == b"\x89\x00\x8a\x00"
    wire.lost = True
    with pytest.raises(UnavailableError):
        await socket.ping()
