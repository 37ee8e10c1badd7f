"""The gateway's DNS servers, asked for its pods: real datagrams."""

from __future__ import annotations

import asyncio

import pytest

from edgecore.network.upstream import Upstream
from skerry.errors import UnavailableError

pytestmark = pytest.mark.system


class Server(asyncio.DatagramProtocol):
    """Answers with the question; on questions that say so it is silent."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if b"silent" not in data:
            self.transport.sendto(data[:2] + b"\x80" + data[3:], addr)


def question(name: bytes) -> bytes:
    return b"\0\7\1\0\0\1\0\0\0\0\0\0" + bytes([len(name)]) + name + b"\0\0\1\0\1"


async def test_a_name_that_nobody_answers_keeps_no_other_from_being_answered() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    upstream = Upstream(lambda: [transport.get_extra_info("sockname")])
    hung = asyncio.create_task(upstream.ask(question(b"silent"), over_tcp=False))
    while not hung.done():
        assert (await upstream.ask(question(b"other"), over_tcp=False))[:2] == b"\0\7"
        await asyncio.sleep(0.05)
    with pytest.raises(UnavailableError):
        await hung
    assert (await upstream.ask(question(b"other"), over_tcp=False))[:2] == b"\0\7"
    transport.close()
