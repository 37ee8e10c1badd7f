"""The API's bounds on real sockets: too many requests, too long a request, too slow a reader, a fault of our own."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloudcore.api.app import Api, ApiSettings, serving
from cloudcore.api.bootstrap import Address, bootstrap
from cloudcore.api.ports import Endpoint, Posted, Replied
from cloudcore.store.cache import following
from cloudcore.store.memory import MemoryState, MemoryStore
from skerry.errors import UnavailableError
from skerry.frozen import replace
from tests.cloudcore.api.conftest import ApiWorld

pytestmark = pytest.mark.system

Answer = tuple[int, dict[str, str], Any]


@asynccontextmanager
async def served(settings: ApiSettings, **endpoints: Endpoint) -> AsyncGenerator[tuple[ApiWorld, int]]:
    """A world and the port on which it answers in plain HTTP."""
    store = MemoryStore(MemoryState(epoch="e"))
    async with following(store) as cache:
        world = ApiWorld(store, cache)
        await bootstrap(world.objects, world.scheme, Address(host="192.0.2.7", port=1))
        parts = replace(world.parts, endpoints={f"/{name}": endpoint for name, endpoint in endpoints.items()})
        async with serving(Api(parts, settings), host="127.0.0.1", port=0, tls=None, settings=settings) as listening:
            yield world, listening.port


async def ask(port: int, head: str) -> Answer:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    raw = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    top, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    named = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), named, json.loads(body) if body.startswith(b"{") else body


async def test_a_request_more_than_there_is_room_for_is_told_to_come_back() -> None:
    free, inside = asyncio.Event(), asyncio.Event()

    async def slow(_posted: Posted) -> Replied:
        inside.set()
        await free.wait()
        return Replied(status=200, body=b"{}")

    async with served(ApiSettings(running_max=1), slow=slow) as (_, port):
        first = asyncio.create_task(ask(port, "POST /slow"))
        await inside.wait()
        code, headers, status = await ask(port, "GET /api/v1/namespaces")
        assert (code, headers["Retry-After"], status["reason"]) == (429, "1", "TooManyRequests")
        free.set()
        assert (await first)[0] == 200
        assert (await ask(port, "GET /api/v1/namespaces"))[0] == 200


async def test_a_request_that_takes_too_long_is_504() -> None:
    async def never(_posted: Posted) -> Replied:
        await asyncio.Event().wait()
        raise AssertionError

    async with served(ApiSettings(unary_s_max=0.1), never=never) as (_, port):
        code, _, status = await ask(port, "POST /never")
    assert (code, status["reason"]) == (504, "Timeout")


async def test_a_fault_of_ours_is_500_without_a_word_of_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_posted: Posted) -> Replied:
        raise LookupError("a secret detail")

    async with served(ApiSettings(), broken=broken) as (_, port):
        code, _, status = await ask(port, "POST /broken")
        assert (await ask(port, "GET /healthz"))[0] == 200
    assert (code, status["reason"]) == (500, "InternalError")
    assert "secret" not in json.dumps(status)
    assert "a secret detail" in caplog.text


async def test_a_reader_that_does_not_read_is_closed_and_holds_up_nobody() -> None:
    async with served(ApiSettings(write_s_max=0.2)) as (world, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(20)
            client.sendall(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await asyncio.to_thread(client.recv, 64)
            for number in range(40):
                await world.config(f"c{number}", text="x" * 500_000)
            await asyncio.sleep(1.0)  # longer than the reader is waited for
            end = await asyncio.to_thread(drain, client)
        # Either it was cut off within a piece, or the ring had moved on and it was told so before the end.
        assert not end.endswith(b"0\r\n\r\n") or b'"code":410' in end


def drain(client: socket.socket) -> bytes:
    """The last of what there was to read."""
    last = b""
    try:
        while chunk := client.recv(1 << 20):
            last = (last + chunk)[-1000:]
    except ConnectionError:
        pass
    return last


async def test_an_address_that_is_taken_is_said() -> None:
    async with served(ApiSettings()) as (world, port):
        with pytest.raises(UnavailableError, match=f"can't listen on 127.0.0.1:{port}"):
            async with serving(Api(world.parts), host="127.0.0.1", port=port, tls=None):
                pass
