"""Every transport keeps the links' contract on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from skerry.clocks import SystemClock
from skerry.errors import UnansweredError, UnavailableError
from skerry.objects.enrolment import HUB_SERVER_NAME
from skerry.ports import Link
from skerry.transport import quic, quic_server, websocket
from skerry.transport.dialled import dial
from skerry.transport.door import Shutters
from skerry.transport.identity import SESSION_PATH, client_context
from skerry.transport.quic_tls import Tickets
from skerry.transport.websocket import Route
from tests.contracts.link_contract import WAIT_S, ApartLinkContract, Ends, LinkContract, MakeEnds
from tests.system.certificates import RESET_KEY, Site

pytestmark = pytest.mark.system

LOOK_S = 0.04


class Meeting:
    """Hands the cloud's end to the test, and keeps it until the test is over."""

    def __init__(self) -> None:
        self._came: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()

    async def handle(self, link: Link) -> None:
        self._came.set_result(link)
        await self._over.wait()

    async def met(self, edge: Link) -> Link:
        await edge.send(b"hello")
        async with asyncio.timeout(WAIT_S):
            cloud = await self._came
            assert await cloud.receive() == b"hello"
        return cloud

    def over(self, edge: Link) -> None:
        edge.abort()
        self._over.set()


class TestWebSocket(LinkContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeEnds:
        site = Site(tmp_path)

        @asynccontextmanager
        async def ends() -> AsyncGenerator[Ends]:
            meeting = Meeting()
            routes = {SESSION_PATH: Route(handle=meeting.handle, named=True)}
            async with websocket.listen("127.0.0.1", 0, site.server_context(), routes) as (host, port):
                context = client_context(site.identity, trust_clock=True)
                edge = await dial(f"{host}:{port}", context)
                try:
                    yield Ends(
                        edge=edge,
                        cloud=await meeting.met(edge),
                        edge_key=site.key_pin(),
                        edge_issuer=site.authority.key_id,
                        look_s=LOOK_S,
                    )
                finally:
                    meeting.over(edge)

        return ends


class TestQuic(ApartLinkContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeEnds:
        site = Site(tmp_path)

        @asynccontextmanager
        async def ends() -> AsyncGenerator[Ends]:
            meeting = Meeting()
            credentials = quic_server.HubCredentials(
                server_files={HUB_SERVER_NAME: site.path / "server.pem"},
                roots_pem=site.authority.pem,
                reset_key=RESET_KEY,
                clock=SystemClock(),
            )
            handlers = {SESSION_PATH: meeting.handle}
            async with quic_server.listen("127.0.0.1", 0, credentials, handlers, idle_s=60) as (host, port):
                judgement = quic.Judgement(wall_ms=SystemClock().wall_ms(), floor_ms=0)
                keys = quic.gateway_keys(site.identity)
                edge = await quic.dial(f"{host}:{port}", keys, Tickets(), judgement)
                try:
                    yield Ends(
                        edge=edge,
                        cloud=await meeting.met(edge),
                        edge_key=site.key_pin(),
                        edge_issuer=site.authority.key_id,
                        look_s=LOOK_S,
                    )
                finally:
                    meeting.over(edge)

        return ends


async def test_doors_close_before_what_is_inside_is_ended(tmp_path: Path) -> None:
    site = Site(tmp_path)
    shutters, meeting, quic_meeting = Shutters(), Meeting(), Meeting()
    routes = {SESSION_PATH: Route(handle=meeting.handle, named=True)}
    credentials = quic_server.HubCredentials(
        server_files={HUB_SERVER_NAME: site.path / "server.pem"},
        roots_pem=site.authority.pem,
        reset_key=RESET_KEY,
        clock=SystemClock(),
    )
    keys = quic.gateway_keys(site.identity)
    judgement = quic.Judgement(wall_ms=SystemClock().wall_ms(), floor_ms=0)
    context = client_context(site.identity, trust_clock=True)
    async with (
        websocket.listen("127.0.0.1", 0, site.server_context(), routes, shutters=shutters) as (host, port),
        quic_server.listen(
            host, 0, credentials, {SESSION_PATH: quic_meeting.handle}, idle_s=60, shutters=shutters
        ) as (_, udp),
    ):
        edge = await dial(f"{host}:{port}", context)
        other = await quic.dial(f"{host}:{udp}", keys, Tickets(), judgement)
        pairs = ((edge, await meeting.met(edge)), (other, await quic_meeting.met(other)))
        shutters.close()
        shutters.close()
        with pytest.raises(UnansweredError):
            await dial(f"{host}:{port}", context)
        with pytest.raises(UnavailableError):
            await quic.dial(f"{host}:{udp}", keys, Tickets(), judgement, open_s_max=0.5)
        for ours, clouds in pairs:
            await clouds.send(b"the cloud is stopping")
            async with asyncio.timeout(WAIT_S):
                assert await ours.receive() == b"the cloud is stopping"
        meeting.over(edge)
        quic_meeting.over(other)
