"""Links over real sockets and TLS: who gets in, who does not, and a gateway with a wrong clock."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from weakref import WeakSet

import pytest

from cloudcore.pki.certificates import new_authority
from edgecore.link.dial import websocket_dialer
from skerry.clocks import ManualClock, SystemClock
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.conditions import is_true
from skerry.objects.enrolment import NODE_KEY_ANNOTATION
from skerry.objects.json import JsonObject
from skerry.transport.dialled import dial
from skerry.transport.identity import SESSION_PATH, Identity, client_context
from skerry.transport.websocket import Route, WebSocketLink, limit_tls_read_buffers, listen
from skerry.wire.codec import FRAME_BYTES_MAX
from tests.cloudcore.hub.fleet import Fleet, a_fleet, eventually
from tests.system.certificates import NOW, Site

pytestmark = pytest.mark.system


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def joined(fleet: Fleet, site: Site) -> None:
    """The Node that joining makes."""
    node = fleet.kind("nodes")
    annotations: JsonObject = {NODE_KEY_ANNOTATION: site.key_pin()}
    await fleet.objects.create(node, "", {"metadata": {"name": "eu-1", "annotations": annotations}})


@asynccontextmanager
async def serving(site: Site, fleet: Fleet) -> AsyncGenerator[str]:
    limit_tls_read_buffers()
    routes = {SESSION_PATH: Route(handle=fleet.hub.handle, named=True)}
    async with listen("127.0.0.1", 0, site.server_context(), routes) as (host, port):
        yield f"{host}:{port}"


async def test_a_gateway_joins_its_hub_over_mutual_tls_and_is_kept_in_step(site: Site) -> None:
    async with a_fleet() as fleet, serving(site, fleet) as address:
        await joined(fleet, site)
        dialer = websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0)
        async with fleet.gateway("eu-1", dialer=lambda _: dialer(address)) as gateway:
            await fleet.create("configmaps", "large", data={"text": "x" * 900_000})
            await fleet.pod("web", "eu-1", "large")
            await eventually(lambda: gateway.holds("pods", "web"))
            assert gateway.holds("configmaps", "large")
            await gateway.tell_node()
            await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        await eventually(lambda: not fleet.hub.connected)


async def test_a_link_that_broke_is_freed_without_the_collector(site: Site) -> None:
    """After a storm thousands of old sessions stand beside the new ones until the collector passes by."""
    alive: WeakSet[object] = WeakSet()
    async with a_fleet() as fleet:
        await joined(fleet, site)

        async def handle(link: WebSocketLink) -> None:
            connection = link._connection
            alive.update((link, connection, connection.protocol, connection.transport))
            await fleet.hub.handle(link)

        routes = {SESSION_PATH: Route(handle=handle, named=True)}
        async with listen("127.0.0.1", 0, site.server_context(), routes) as (host, port):
            dialer = websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0)
            gc.disable()
            try:
                async with fleet.gateway("eu-1", dialer=lambda _: dialer(f"{host}:{port}")):
                    await eventually(lambda: fleet.hub.connected)
                    assert len(alive) == 4
                    next(one for one in alive if isinstance(one, WebSocketLink)).abort()
                await eventually(lambda: not alive)
            finally:
                gc.enable()


async def test_a_gateway_without_a_certificate_of_ours_gets_no_session(site: Site) -> None:
    async with a_fleet() as fleet, serving(site, fleet) as address:
        bare = ssl.create_default_context(cafile=str(site.path / "ca.pem"))
        with pytest.raises(UnavailableError, match="401"):
            await dial(address, bare)
        foreign = site.gateway(new_authority(name="foreign", now=NOW), "system:node:eu-1")
        with pytest.raises(UnavailableError):
            await _session(address, foreign)
        expired = site.gateway(site.authority, "system:node:eu-1", now=NOW - timedelta(days=400))
        with pytest.raises(UnavailableError):
            await _session(address, expired)
        assert not fleet.hub.connected


async def test_a_cloud_that_is_not_ours_is_not_talked_to(site: Site, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    async with a_fleet() as fleet, serving(other, fleet) as address:
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            await websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0)(address)


async def test_other_paths_are_not_found(site: Site) -> None:
    async with a_fleet() as fleet, serving(site, fleet) as address:
        with pytest.raises(UnavailableError, match="404"):
            await dial(address, client_context(site.identity, trust_clock=True), path="/other")


async def test_nobody_listening_is_said(site: Site) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: "):
        await websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0)("127.0.0.1:1")


async def test_a_gateway_whose_files_are_gone_says_so(site: Site) -> None:
    broken = replace(site.identity, key_file=site.path / "nothing.key")
    with pytest.raises(UnavailableError, match="certificate can't be used"):
        await websocket_dialer(lambda: broken, SystemClock(), lambda: 0)("127.0.0.1:1")


async def test_a_gateway_in_1970_judges_certificates_by_the_last_time_it_knew(tmp_path: Path) -> None:
    """The server's certificate is from a later time than the gateway's clock has ever seen: as in 1970."""
    site = Site(tmp_path)
    known_ms = round(NOW.timestamp() * 1000)
    async with a_fleet() as fleet, serving(site, fleet) as address:
        in_1970 = ManualClock(wall_ms=60_000)
        link = await websocket_dialer(lambda: site.identity, in_1970, lambda: known_ms)(address)
        await link.close(code=1000, reason="")
        later_ms = known_ms + 100 * 365 * 86_400_000
        with pytest.raises(UnavailableError, match="expired before the last time known"):
            await websocket_dialer(lambda: site.identity, in_1970, lambda: later_ms)(address)


async def test_a_gateway_in_2040_judges_certificates_by_the_last_time_it_knew(tmp_path: Path) -> None:
    """The hub's certificate is made so that this machine's clock finds it ended, as one in 2040 does."""
    then = NOW - timedelta(days=200)
    site = Site(tmp_path, now=then)
    known_ms = round((then + timedelta(days=80)).timestamp() * 1000)
    ahead = ManualClock(wall_ms=round(NOW.timestamp() * 1000))
    ended: list[str] = []

    async def handle(link: WebSocketLink) -> None:
        ended.append(link.peer_name)

    context = site.server_context()
    context.verify_flags |= ssl.VerifyFlags(0x200000)  # this hub's own clock is right, so it takes the gateway
    async with listen("127.0.0.1", 0, context, {"/session": Route(handle=handle, named=True)}) as place:
        address = f"{place[0]}:{place[1]}"
        link = await websocket_dialer(lambda: site.identity, ahead, lambda: known_ms)(address)
        await link.close(code=1000, reason="")
        later_ms = known_ms + 20 * 86_400_000
        with pytest.raises(UnavailableError, match="expired before the last time known"):
            await websocket_dialer(lambda: site.identity, ahead, lambda: later_ms)(address)
        for unknown_ms in (0, round(NOW.timestamp() * 1000) - 86_400_000):
            with pytest.raises(UnavailableError, match="expired"):
                await websocket_dialer(lambda: site.identity, ahead, lambda floor=unknown_ms: floor)(address)


async def test_text_and_giants_end_a_link(site: Site) -> None:
    ended: list[str] = []

    async def handle(link: WebSocketLink) -> None:
        try:
            await link.receive()
        except UnavailableError as error:
            ended.append(str(error))

    async with listen("127.0.0.1", 0, site.server_context(), {"/session": Route(handle=handle, named=True)}) as place:
        address = f"{place[0]}:{place[1]}"
        context = client_context(site.identity, trust_clock=True)
        link = await dial(address, context)
        assert link.peer_name == "skerry-cloud"
        assert link.peer_address == "127.0.0.1"
        with pytest.raises(UnavailableError):
            await link.send(bytes(FRAME_BYTES_MAX + 100))
            await link.receive()
        await eventually(lambda: len(ended) == 1)
        assert "1009" in ended[0] or "too big" in ended[0]


async def _session(address: str, identity: Identity) -> None:
    """In TLS 1.3 a refusal may reach the client only with its first read."""
    link = await dial(address, client_context(identity, trust_clock=True))
    async with asyncio.timeout(5):
        await link.receive()
