"""Whoever is asked through the proxy and says nothing holds nobody up for ever (docs/decisions/0368)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from cloudcore.api.call import Backend, Proxied
from cloudcore.api.streaming.proxying import HEAD_S_MAX, TLS_S_MAX, TlsPipe, proxied
from skerry.errors import SkerryError, UnavailableError
from skerry.testkit.simulated.loop import VirtualLoop


class Silent:
    """A pipe to somebody who takes everything and says nothing."""

    def __init__(self) -> None:
        self.taken = bytearray()

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.taken += data

    async def end(self) -> None:
        return

    async def close(self, error: SkerryError | None = None) -> None:
        return


class Pipes:
    def __init__(self, pipe: Silent) -> None:
        self.made = pipe

    @asynccontextmanager
    async def open(self, node: str, kind: str, params: bytes) -> AsyncGenerator[Silent]:
        yield self.made


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


def test_a_handshake_that_nobody_answers_has_an_end(loop: VirtualLoop) -> None:
    pipe, begun_s = Silent(), loop.time()
    with pytest.raises(UnavailableError, match="no TLS handshake within 10 s"):
        loop.run_until_complete(TlsPipe(pipe).begin())
    assert pipe.taken[:1] == b"\x16", "it was begun"
    assert loop.time() - begun_s == pytest.approx(TLS_S_MAX)


def test_an_answer_that_never_begins_has_an_end(loop: VirtualLoop) -> None:
    pipe, begun_s = Silent(), loop.time()
    reply = Proxied(backends=(Backend(node="n", kind="k", params=b"", host="p"),), path="/slow")

    async def ask() -> None:
        request = make_mocked_request("GET", "/api/v1/namespaces/ns/pods/p/proxy/slow", headers={"Host": "cloud"})
        await proxied(request, CIMultiDict(), reply, Pipes(pipe))

    with pytest.raises(UnavailableError, match="no answer within 600 s"):
        loop.run_until_complete(ask())
    assert pipe.taken.startswith(b"GET /slow HTTP/1.1\r\n"), "it was asked"
    assert loop.time() - begun_s == pytest.approx(HEAD_S_MAX)
