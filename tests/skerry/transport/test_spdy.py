"""A connection that speaks SPDY: streams in pairs and by type, bounded, and over when its client has gone."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.pod_streams import Input, InputEnded, Resized, Session, Whose
from skerry.ports import Pipe
from skerry.transport.forwarding import ForwardedPod
from skerry.transport.inside import pipe_pair
from skerry.transport.liveness import OptionSocket
from skerry.transport.spdy import UNREAD_BYTES_MAX, WAITING_MAX, SpdyTerminal, command_streams, serving
from skerry.transport.spdy_forwarding import SpdyForwarder
from skerry.wire.spdy_server import RESET_REFUSED_STREAM
from tests.skerry.wire.test_spdy_server import Client, data_frame

WHOSE = Whose(namespace="ns", pod="web", uid="u")


class Wire:
    """What carries the bytes, and the client at its other end."""

    def __init__(self) -> None:
        self.client = Client()
        self._coming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = bytearray()
        self.taken = 0
        self.kernel_socket: OptionSocket | None = None

    def say(self, data: bytes) -> None:
        self._coming.put_nowait(data)

    def hang_up(self) -> None:
        self._coming.put_nowait(b"")

    async def receive(self) -> bytes:
        data = await self._coming.get()
        self.taken += len(data)
        return data

    async def send(self, data: bytes) -> None:
        self.sent += data

    def frames(self) -> list[tuple[int, int, bytes]]:
        frames, self.sent = self.client.frames(bytes(self.sent)), bytearray()
        return frames

    async def until(self, kind: int, body: bytes) -> None:
        """A frame of this type that begins so is sent."""
        seen: list[tuple[int, int, bytes]] = []
        async with asyncio.timeout(20):
            while not any(each[0] == kind and each[2].startswith(body) for each in seen):
                await asyncio.sleep(0)
                seen += self.frames()


def session(**flags: bool) -> Session:
    return Session(whose=WHOSE, container="c", command=("sh",), **flags)


async def test_a_terminal_reads_input_and_sizes_each_on_its_own_stream() -> None:
    wire, wanted = Wire(), session(stdin=True, stdout=True, tty=True)
    for number, kind in ((1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")):
        wire.say(wire.client.open(number, {"streamtype": kind}))
    wire.say(data_frame(3, b"ls\n") + data_frame(7, b'{"Width":80,"Height":24}\n') + data_frame(3, b"", fin=True))
    async with asyncio.timeout(20), serving(wire) as connection:
        streams = await command_streams(connection, wanted, "v4.channel.k8s.io")
        terminal = SpdyTerminal(connection, streams, wanted, has_status=True)
        terminal.start()
        events = [await terminal.receive() for _ in range(3)]
        assert sorted(map(str, events)) == sorted(
            map(str, [Input(data=b"ls\n"), Resized(width=80, height=24), InputEnded()])
        )
        await terminal.output(1, b"file")
        await terminal.output(2, b"nobody asked for it")
        await terminal.finish({"status": "Success"})
        wire.hang_up()
        assert await terminal.receive() is None
        await terminal.stop()
    data = [(flags, body) for kind, flags, body in wire.frames() if kind == 0]
    assert data == [
        (0, b"\0\0\0\5file"),
        (1, b"\0\0\0\5"),
        (0, b'\0\0\0\1{"status":"Success"}'),
        (1, b"\0\0\0\1"),
    ]


async def test_streams_that_nobody_wants_are_refused() -> None:
    wire = Wire()
    wire.say(wire.client.open(1, {"streamtype": "video"}))
    async with asyncio.timeout(20), serving(wire) as connection:
        with pytest.raises(BadRequestError, match="unexpected stream type: 'video'"):
            await command_streams(connection, session(stdout=True), "v4.channel.k8s.io")
    assert wire.frames() == [(3, 0, struct.pack(">II", 1, RESET_REFUSED_STREAM))]


async def test_a_client_that_goes_before_its_streams_are_there_is_not_waited_for() -> None:
    wire = Wire()
    wire.hang_up()
    async with asyncio.timeout(20), serving(wire) as connection:
        with pytest.raises(UnavailableError, match="has gone"):
            await command_streams(connection, session(stdout=True), "v4.channel.k8s.io")


async def test_what_nobody_reads_is_not_taken_without_end() -> None:
    wire = Wire()
    wire.say(wire.client.open(1, {"streamtype": "data"}))
    for _ in range(20):
        wire.say(data_frame(1, bytes(50_000)))
    async with asyncio.timeout(20), serving(wire) as connection:
        stream = await connection.opened()
        assert stream is not None
        for _ in range(100):
            await asyncio.sleep(0)
        assert wire.taken < UNREAD_BYTES_MAX + 100_000
        read = 0
        while read < 20 * 50_000:
            read += len(await stream.read())


async def test_streams_that_are_opened_and_given_up_for_ever_are_not_kept() -> None:
    """As somebody does who may enter one pod and wants the gateway's memory."""
    wire = Wire()
    count = 4 * WAITING_MAX
    async with asyncio.timeout(60), serving(wire) as connection:
        for number in range(1, 2 * count, 2):
            wire.say(wire.client.open(number, {"streamtype": "data", "x": "y" * 4000}))
            wire.say(struct.pack(">HHIII", 0x8003, 3, 8, number, 5))
        refused: set[int] = set()
        while len(refused) < count - WAITING_MAX:
            await asyncio.sleep(0)
            refused |= {struct.unpack_from(">I", body)[0] for kind, _, body in wire.frames() if kind == 3}
        assert not connection.over.is_set()
        for _ in range(WAITING_MAX):
            stream = await connection.opened()
            assert stream is not None and await stream.read() == b""
        wire.say(wire.client.open(2 * count + 1, {"streamtype": "data"}))
        last = await connection.opened()
        assert last is not None and last.number == 2 * count + 1


class Pod:
    """Its port 80 gives back what it gets, and 81 is refused."""

    def __init__(self) -> None:
        self.open_now = 0

    def where(self) -> ForwardedPod:
        return ForwardedPod(pod="web", uid="u", open=self._open)

    def _open(self, port: int) -> AbstractAsyncContextManager[Pipe]:
        return self._opened(port)

    @asynccontextmanager
    async def _opened(self, port: int) -> AsyncGenerator[Pipe]:
        near, far = pipe_pair()
        echoing = asyncio.create_task(self._echo(far, port))
        self.open_now += 1
        try:
            yield near
        finally:
            self.open_now -= 1
            echoing.cancel()
            await asyncio.gather(echoing, return_exceptions=True)

    async def _echo(self, far: Pipe, port: int) -> None:
        if port == 81:
            await far.close(UnavailableError("connection refused"))
            return
        while data := await far.read():
            await far.write(data)
        await far.close()


def pair(wire: Wire, first: int, port: str, request: str) -> bytes:
    headers = {"port": port, "requestid": request}
    return wire.client.open(first, {"streamtype": "error", **headers}) + wire.client.open(
        first + 2, {"streamtype": "data", **headers}
    )


async def test_a_connection_is_a_pair_of_streams_and_ends_by_halves() -> None:
    wire, pod = Wire(), Pod()
    async with asyncio.timeout(20), serving(wire) as connection:
        running = asyncio.create_task(SpdyForwarder(connection, pod.where()).run())
        wire.say(pair(wire, 1, "80", "0") + pair(wire, 5, "80", "1"))
        wire.say(data_frame(3, b"one") + data_frame(7, b"two"))
        await wire.until(0, b"\0\0\0\3one")
        wire.say(data_frame(3, b"", fin=True) + data_frame(1, b"", fin=True))
        await wire.until(0, b"\0\0\0\3")
        while pod.open_now != 1:
            await asyncio.sleep(0)
        wire.hang_up()
        await running
    assert pod.open_now == 0


async def test_a_port_that_is_refused_is_said_on_the_stream_for_errors() -> None:
    wire, pod = Wire(), Pod()
    async with asyncio.timeout(20), serving(wire) as connection:
        running = asyncio.create_task(SpdyForwarder(connection, pod.where()).run())
        wire.say(pair(wire, 1, "81", "0"))
        await wire.until(0, b"\0\0\0\1error forwarding port 81 to pod web, uid u: connection refused")
        wire.hang_up()
        await running


@pytest.mark.parametrize(
    "headers",
    [
        {"streamtype": "data", "port": "http", "requestid": "0"},
        {"streamtype": "data", "port": "0", "requestid": "0"},
        {"streamtype": "video", "port": "80", "requestid": "0"},
        {"streamtype": "error", "requestid": "0"},
    ],
)
async def test_streams_that_make_no_sense_are_refused_and_the_others_go_on(headers: dict[str, str]) -> None:
    wire, pod = Wire(), Pod()
    async with asyncio.timeout(20), serving(wire) as connection:
        running = asyncio.create_task(SpdyForwarder(connection, pod.where()).run())
        wire.say(wire.client.open(1, headers))
        await wire.until(3, struct.pack(">II", 1, RESET_REFUSED_STREAM))
        wire.say(pair(wire, 3, "80", "1") + data_frame(5, b"still"))
        await wire.until(0, b"\0\0\0\5still")
        wire.hang_up()
        await running
