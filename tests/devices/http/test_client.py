"""The HTTP client against servers that do not behave."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from devices.http.client import HttpClient
from devices.http.config import Origin, Tls
from devices.http.driver import Asked
from skerry.errors import UnavailableError

pytestmark = pytest.mark.system
GET = Asked(method="GET", target="/x", headers={})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5"

Answering = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]
"""Number of the request, its head, and where to answer."""


class Server:
    def __init__(self) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.connections = 0


@asynccontextmanager
async def serving(answer: Answering) -> AsyncGenerator[Server]:
    made = Server()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                made.requests.append(head)
                await answer(len(made.requests), head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@asynccontextmanager
async def client(
    server: Server, *, timeout_s: float = 10, bytes_max: int = 1000, keep: bool = False
) -> AsyncGenerator[HttpClient]:
    origin = Origin(scheme="http", host="127.0.0.1", port=server.port)
    made = HttpClient(origin, Tls(), timeout_s=timeout_s, bytes_max=bytes_max, keep=keep)
    try:
        yield made
    finally:
        await made.close()


def saying(data: bytes, *, end: bool = False) -> Answering:
    async def answer(_number: int, _head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if end:
            writer.close()

    return answer


async def test_each_exchange_has_a_connection_of_its_own_unless_it_may_be_kept() -> None:
    async with serving(saying(OK)) as server, client(server) as asks:
        for _ in range(3):
            assert (await asks.exchange(GET)).body == b"5"
        assert server.connections == 3 and b"Connection: close" in server.requests[0]
    async with serving(saying(OK)) as server, client(server, keep=True) as asks:
        for _ in range(3):
            assert (await asks.exchange(GET)).body == b"5"
        assert server.connections == 1 and b"Connection" not in server.requests[0]
        assert b"Host: 127.0.0.1:" in server.requests[0] and b"Accept-Encoding: identity" in server.requests[0]


async def test_letters_beyond_ascii_in_a_header_go_back_as_they_came() -> None:
    answer = b'HTTP/1.1 200 OK\r\nETag: "gr\xc3\xbcn \xe4"\r\nContent-Length: 1\r\n\r\n5'
    async with serving(saying(answer)) as server, client(server) as asks:
        tag = (await asks.exchange(GET)).headers["etag"]
        again = Asked(method="GET", target="/x", headers={"If-None-Match": tag, "X-Place": "K\xfcche"})
        assert (await asks.exchange(again)).body == b"5"
    assert b'If-None-Match: "gr\xc3\xbcn \xe4"\r\n' in server.requests[1]
    assert b"X-Place: K\xfcche\r\n" in server.requests[1]


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
async def test_a_name_that_no_host_can_have_is_a_reason(host: str) -> None:
    asks = HttpClient(Origin(scheme="http", host=host, port=80), Tls(), timeout_s=10, bytes_max=1)
    with pytest.raises(UnavailableError, match="can't be reached: "):
        await asks.exchange(GET)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ended before the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n5", "no HTTP|ended before"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n5", "encoded .gzip."),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"5" * 2000, "larger than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "the answer is no HTTP"),
    ],
)
async def test_an_answer_that_is_none_is_no_value(data: bytes, said: str) -> None:
    async with serving(saying(data, end=True)) as server, client(server) as asks:
        with pytest.raises(UnavailableError, match=said):
            await asks.exchange(GET)


async def test_a_late_answer_is_nobodys() -> None:
    first = asyncio.Event()

    async def answer(number: int, _head: bytes, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            await first.wait()
            writer.write(OK.replace(b"5", b"1"))
        else:
            writer.write(OK)

    async with serving(answer) as server, client(server, timeout_s=0.1) as asks:
        with pytest.raises(UnavailableError, match=r"no answer within 0\.1 s"):
            await asks.exchange(GET)
        first.set()
    async with serving(saying(OK)) as server, client(server) as asks:
        assert (await asks.exchange(GET)).body == b"5"


async def test_what_was_asked_on_a_connection_that_the_server_had_ended_is_asked_again_but_no_command_is() -> None:
    async def once_each(_number: int, _head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with serving(once_each) as server, client(server, keep=True) as asks:
        for _ in range(3):
            assert (await asks.exchange(GET)).body == b"5"
        assert len(server.requests) == server.connections == 3

    async def reads_only(_number: int, head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET"):
            writer.write(OK)
        else:
            writer.close()

    post = Asked(method="POST", target="/x", headers={}, body=b"")
    for asked, once in ((post, False), (Asked(method="PUT", target="/x", headers={}), True)):
        async with serving(reads_only) as server, client(server, keep=True) as asks:
            await asks.exchange(GET)
            with pytest.raises(UnavailableError):
                await asks.exchange(asked, once=once)
            assert [head.split()[0] for head in server.requests] == [b"GET", asked.method.encode()]


async def test_a_body_without_a_length_ends_with_the_connection_and_chunks_are_put_together() -> None:
    async with serving(saying(b"HTTP/1.0 200 OK\r\n\r\n42", end=True)) as server, client(server) as asks:
        assert (await asks.exchange(GET)).body == b"42"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n1\r\n2\r\n0\r\n\r\n"
    async with serving(saying(chunked)) as server, client(server, keep=True) as asks:
        assert (await asks.exchange(GET)).body == b"42"
        assert (await asks.exchange(GET)).body == b"42" and server.connections == 1


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("apart_s", [0.0, 0.02])
async def test_an_answer_that_comes_twice_is_not_the_next_ones(keep: bool, apart_s: float) -> None:
    async def answer(number: int, _head: bytes, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(OK.replace(b"5", str(number % 10).encode()))
            await asyncio.sleep(apart_s)

    async with serving(answer) as server, client(server, keep=keep) as asks:
        for number in range(1, 10):
            assert (await asks.exchange(GET)).body == str(number).encode()
            await asyncio.sleep(3 * apart_s)


async def test_no_late_damaged_or_repeated_answer_is_a_wrong_value() -> None:
    chance = random.Random(7)

    async def answer(_number: int, head: bytes, writer: asyncio.StreamWriter) -> None:
        said = head.split()[1][1:]
        data, at = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said), chance.random()
        if at < 0.08:
            await asyncio.sleep(0.3)
        elif at < 0.12:
            data = data[: len(data) // 2]
        elif at < 0.16:
            data += data
        elif at < 0.18:
            data = chance.randbytes(40) + b"\r\n\r\n"
        writer.write(data)
        if 0.08 <= at < 0.12:
            writer.close()

    right = none = 0
    async with serving(answer) as server, client(server, timeout_s=0.2) as asks:
        for number in range(300):
            try:
                answered = await asks.exchange(Asked(method="GET", target=f"/{number}", headers={}))
            except UnavailableError:
                none += 1
            else:
                assert answered.body == str(number).encode()
                right += 1
    assert right > 150 and none > 10


async def test_who_is_cancelled_while_a_connection_closes_stays_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closing = asyncio.Event()

    async def never(_: asyncio.StreamWriter) -> None:
        closing.set()
        await asyncio.Event().wait()

    async with serving(saying(OK)) as server, client(server) as asks:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.StreamWriter, "wait_closed", never)
            asking = asyncio.create_task(asks.exchange(GET))
            await closing.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
