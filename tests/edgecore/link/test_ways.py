"""Ways to the cloud: which are allowed, which was good, and one that this machine has not."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from edgecore.link.dial import Dialer, WayMissingError, ways_of
from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_WAY
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SeededIds, SystemClock
from skerry.errors import IdentityRefusedError, UnavailableError
from skerry.ports import Link
from skerry.sync.dial import WAYS, Way
from skerry.transport.memory import MemoryLink, pair
from skerry.wire.codec import encode
from tests.skerry.sync.conversation import welcome


@pytest.mark.parametrize(
    ("transport", "proxied", "ways"),
    [
        ("auto", True, ("quic", "websocket", "proxy")),
        ("auto", False, ("quic", "websocket")),
        ("websocket", True, ("websocket", "proxy")),
        ("websocket", False, ("websocket",)),
        ("quic", True, ("quic",)),
    ],
)
def test_the_setting_says_which_ways_there_are(transport: str, proxied: bool, ways: tuple[Way, ...]) -> None:
    assert ways_of(transport, proxied=proxied) == ways


def a_store() -> AsyncEdgeStore:
    return AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))


class Roads:
    """Dialers of every way; those that are open lead to a cloud that welcomes whoever says hello."""

    def __init__(self, *, good: frozenset[Way], missing: frozenset[Way] = frozenset()) -> None:
        self.good = good
        self.missing = missing
        self.tried: list[Way] = []
        self.clouds: list[Link] = []

    def link(self, store: AsyncEdgeStore, ways: tuple[Way, ...] = WAYS) -> EdgeLink:
        settings = LinkSettings(node="eu-1", agent_version="v0", boot_id="b", addresses=("cloud:1",), ways=ways)
        dialers: dict[Way, Dialer] = {way: self._dialer(way) for way in WAYS}
        parts = LinkParts(
            store=store, dialer=dialers["websocket"], dialers=dialers, clock=SystemClock(), ids=SeededIds(1)
        )
        return EdgeLink(settings, parts)

    def _dialer(self, way: Way) -> Dialer:
        async def dial(address: str) -> Link:
            self.tried.append(way)
            if way in self.missing:
                raise WayMissingError("no such library")
            if way not in self.good:
                raise UnavailableError(f"{way}: nothing passes")
            edge, cloud = pair(edge_name="system:node:eu-1")
            self.clouds.append(cloud)
            await cloud.send(encode(welcome(in_step=False)))
            return edge

        return dial


async def until(link: EdgeLink) -> None:
    async with asyncio.timeout(10):
        while not link.connected:
            await asyncio.sleep(0.005)


async def test_what_was_welcomed_is_remembered_over_a_restart() -> None:
    store = a_store()
    first = Roads(good=frozenset({"proxy"}))
    link = first.link(store)
    running = asyncio.create_task(link.run())
    await until(link)
    assert first.tried == ["quic", "websocket", "proxy"]
    assert link.status.transport == "proxy"
    async with asyncio.timeout(10):
        while store.meta(META_WAY) != "proxy":
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    again = Roads(good=frozenset({"proxy"}))
    link = again.link(store)
    running = asyncio.create_task(link.run())
    await until(link)
    assert again.tried == ["proxy"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_why_each_way_fails_is_said_once_and_not_in_every_round(caplog: pytest.LogCaptureFixture) -> None:
    roads = Roads(good=frozenset())
    link = roads.link(a_store())
    running = asyncio.create_task(link.run())
    async with asyncio.timeout(60):
        while len(roads.tried) < 7:  # two rounds and the beginning of a third
            await asyncio.sleep(0.005)
            await link.heal()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    said = [each.getMessage() for each in caplog.records if "link down" in each.getMessage()]
    assert said == [f"link down cloud=cloud:1 way={way} reason={way}: nothing passes" for way in WAYS]


async def test_a_way_that_is_missing_is_said_once_and_done_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    roads = Roads(good=frozenset({"websocket"}), missing=frozenset({"quic"}))
    link = roads.link(a_store())
    running = asyncio.create_task(link.run())
    await until(link)
    assert roads.tried == ["quic", "websocket"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    said = [record.getMessage() for record in caplog.records if "does without" in record.getMessage()]
    assert said == ["this gateway does without a way to the cloud way=quic why=no such library"]


async def test_a_refusal_of_the_certificate_after_the_link_was_open_is_told() -> None:
    doubts: list[bool] = []

    class Refused(MemoryLink):
        """Opened, and then told what the peer thinks of the certificate, as QUIC tells it."""

        async def receive(self) -> bytes:
            raise IdentityRefusedError("the certificate expired")

    async def dial(address: str) -> Link:
        edge = Refused(peer_name="cloud")
        edge.peer = MemoryLink(peer_name="edge")
        edge.peer.peer = edge
        return edge

    settings = LinkSettings(node="eu-1", agent_version="v0", boot_id="b", addresses=("cloud:1",))
    parts = LinkParts(
        store=a_store(), dialer=dial, clock=SystemClock(), ids=SeededIds(1), doubted=lambda: doubts.append(True)
    )
    running = asyncio.create_task(EdgeLink(settings, parts).run())
    async with asyncio.timeout(10):
        while not doubts:
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_an_agent_that_does_not_dial_quic_has_not_loaded_it() -> None:
    code = "import sys, edgecore.agent, edgecore.link.session; print([n for n in sys.modules if 'aioquic' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
