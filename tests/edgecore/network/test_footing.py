"""What there is of the network before pods begin, and that the rest goes on from it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from edgecore.network.claim import Claim
from edgecore.network.cni import OUR_FILE, configuration
from edgecore.network.dns_sockets import dns_sockets_at
from edgecore.network.footing import Footing, footing_of
from edgecore.network.server import DnsServer
from edgecore.network.settings import DnsSettings, NetworkSettings, PodNetworkSettings
from skerry.errors import UnavailableError

RANGES = ("10.88.0.0/24",)


class Echo:
    """Answers with the question; over TCP after a moment."""

    def at_once(self, data: bytes, /) -> bytes | None:
        return data

    async def answer(self, data: bytes, /, *, over_tcp: bool) -> bytes | None:
        assert over_tcp
        return data


async def test_what_is_asked_before_there_is_a_server_is_answered_by_it(tmp_path: Path) -> None:
    footing = await footing_of(NetworkSettings(dns=DnsSettings(host="127.0.0.1", port=0)), tmp_path, tuple)
    assert footing is not None and footing.sockets is not None
    port = footing.sockets.port
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.create_connection(("127.0.0.1", port)) as tcp,
    ):
        client.setblocking(False)
        tcp.setblocking(False)
        client.connect(("127.0.0.1", port))
        client.send(b"by UDP")
        tcp.send(b"\0\x06by TCP")
        server = DnsServer(Echo(), "127.0.0.1", 0)
        await server.listen(footing.sockets)
        assert server.port == port
        running = asyncio.create_task(server.run())
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            assert await loop.sock_recv(client, 99) == b"by UDP"
            assert await loop.sock_recv(tcp, 99) == b"\0\x06by TCP"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    footing.close()


async def test_where_the_port_is_somebodys_the_agent_begins_without(tmp_path: Path) -> None:
    taken = dns_sockets_at("127.0.0.1", 0)
    with pytest.raises(UnavailableError, match="DNS on 127"):
        dns_sockets_at("127.0.0.1", taken.port)
    footing = await footing_of(NetworkSettings(dns=DnsSettings(host="127.0.0.1", port=taken.port)), tmp_path, tuple)
    assert footing is not None and footing.sockets is None
    footing.close()
    taken.close()


async def test_a_file_that_is_as_it_should_be_is_not_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / OUR_FILE).write_text(configuration(RANGES, [], owner="/data"))
    settings = PodNetworkSettings(directory=tmp_path)
    for ranges in (RANGES, ()):
        footing = await footing_of(NetworkSettings(pods=settings), tmp_path, lambda ranges=ranges: ranges)
        assert footing is not None and footing.file is None and footing.sockets is None
        footing.close()


async def test_who_has_no_names_and_no_pods_network_pays_nothing(tmp_path: Path) -> None:
    assert await footing_of(NetworkSettings(services="auto"), tmp_path, tuple) is None


def test_a_lock_is_taken_once_and_given_back(tmp_path: Path) -> None:
    footing = Footing(claim=Claim(tmp_path))
    footing.close()
    footing.close()
