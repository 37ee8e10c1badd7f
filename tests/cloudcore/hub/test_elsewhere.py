"""What is asked of the replica at which a gateway is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from cloudcore.hub.elsewhere import NodesHere
from cloudcore.runtime.replicas import LENT_PATH, PREFIX, Replica
from cloudcore.store.memory import MemoryState
from edgecore.link.streams import StreamSource
from skerry.errors import NotFoundError, SkerryError, UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.logs import LogRequest
from skerry.objects.traffic import Usage
from skerry.ports import Pipe
from skerry.transport.hosting import Talker
from skerry.transport.inside import pipe_pair
from tests.cloudcore.hub.fleet import Fleet, SharedMemoryStore, a_fleet, eventually
from tests.cloudcore.hub.fleet import Replica as Leads

QUERY = LogRequest(namespace="ns", pod="web", uid="u", container="c")


class Wire:
    """Carries questions to one hub, as its API's endpoint would."""

    def __init__(self) -> None:
        self.fleet: Fleet | None = None
        self.asked: list[str] = []
        self.answer = b""

    @asynccontextmanager
    async def open(self, replica: Replica, path: str, params: bytes) -> AsyncGenerator[Pipe]:
        self.asked.append(f"{replica.name} {replica.address} {path}")
        assert self.fleet is not None
        node, _, kind = path.removeprefix(f"{PREFIX}/").split("/")
        near, far = pipe_pair()
        carrying = asyncio.create_task(carried(self.fleet.hub.here, node, kind, far, params))
        try:
            yield near
        finally:
            await near.close()
            await carrying

    async def ask(self, replica: Replica, path: str) -> bytes:
        self.asked.append(f"{replica.name} {replica.address} {path}")
        assert self.fleet is not None
        if path == LENT_PATH and not self.answer:
            return self.fleet.hub.here.lent()
        return self.answer or self.fleet.hub.here.counted(path.removeprefix(f"{PREFIX}/").split("/")[0])


async def carried(here: NodesHere, node: str, kind: str, near: Pipe, params: bytes) -> None:
    """As the API's endpoint does."""
    try:
        await here.carry(node, kind, near, params)
    except SkerryError as error:
        await near.close(error)
    else:
        await near.close()


async def lines(params: JsonObject) -> AsyncIterator[bytes]:
    assert params["pod"] == "web"
    yield b"one\n"
    yield b"two\n"


async def refused(params: JsonObject) -> AsyncIterator[bytes]:
    raise NotFoundError("container c has not started")
    yield b""


async def read(fleet: Fleet, node: str = "eu-1") -> bytes:
    return b"".join([piece async for piece in fleet.hub.logs.read(node, QUERY)])


@asynccontextmanager
async def two(
    source: StreamSource, address: str = "10.0.0.1:6443", talkers: Mapping[str, Talker] | None = None
) -> AsyncGenerator[tuple[Fleet, Fleet, Wire]]:
    """North has the gateway; south is asked."""
    store, wire = SharedMemoryStore(MemoryState(epoch="e1")), Wire()
    async with (
        a_fleet(store, leadership=Leads("north", leading=False), address=address) as north,
        a_fleet(store, leadership=Leads("south"), replicas=wire) as south,
        north.gateway(sources={"logs": source}, talkers=talkers) as gateway,
    ):
        wire.fleet = north
        await gateway.tell_node()
        await eventually(lambda: gateway.link.connected and south.hub.leases.lives("north"))
        yield north, south, wire


async def test_logs_of_a_gateway_at_another_hub_are_read_through_its_replica_which_asks_nobody() -> None:
    async with two(lines) as (north, south, wire):
        assert await read(north) == b"one\ntwo\n"
        assert wire.asked == [], "it is here"
        assert await read(south) == b"one\ntwo\n"
        assert wire.asked == [f"north 10.0.0.1:6443 {PREFIX}/eu-1/streams/logs"]
        with pytest.raises(UnavailableError, match="not connected"):
            await read(south, "nowhere")
        with pytest.raises(UnavailableError, match="not connected to this replica any more"):
            await south.hub.here.carry("eu-1", "logs", pipe_pair()[0], b"{}")
        assert len(wire.asked) == 1


async def test_the_gateways_own_refusal_comes_through() -> None:
    async with two(refused) as (_, south, _):
        with pytest.raises(NotFoundError, match="has not started"):
            await read(south)


async def test_what_another_replica_counted_is_added_and_nonsense_is_refused() -> None:
    async with two(lines) as (north, south, wire):
        await eventually(lambda: north.hub.traffic.waiting("eu-1").wire)
        book = await south.hub.traffic.book("eu-1", 0)
        assert book.since(0).wire >= north.hub.traffic.waiting("eu-1").wire > 0
        for nonsense in (b"[]", b"{"):
            wire.answer = nonsense
            with pytest.raises(UnavailableError, match="north answers what makes no sense"):
                await south.hub.traffic.book("eu-1", 0)


async def test_what_a_region_was_lent_the_replica_that_leads_is_asked_and_nobody_where_none_knows() -> None:
    async with two(lines) as (north, south, wire):
        assert await _asked_anew(south) is None
        leads = asyncio.Event()
        task = asyncio.create_task(north.hub.lending.while_leading(lambda: 7.0, _waits(leads)))
        await eventually(lambda: north.hub.lending.ago_here_s() is not None)
        assert await north.hub.lending.ago_s() == 7.0
        ago_s = await south.hub.lending.ago_s()
        assert ago_s is not None
        assert ago_s >= 7.0
        asked = len(wire.asked)
        await south.hub.lending.ago_s()
        assert len(wire.asked) == asked, "one answer serves all gateways for a moment"
        leads.set()
        await task
        for nonsense in (b"[]", b"{", b'{"agoSeconds": -1}'):
            wire.answer = nonsense
            assert await _asked_anew(south) is None


async def _asked_anew(fleet: Fleet) -> float | None:
    ask = fleet.hub.lending.elsewhere
    assert ask is not None
    return await ask()


async def _waits(event: asyncio.Event) -> None:
    await event.wait()


async def test_a_replica_that_does_not_say_where_it_is_reached_is_named() -> None:
    async with two(lines, address="") as (_, south, wire):
        with pytest.raises(UnavailableError, match="at replica north, which does not say where it is reached"):
            await read(south)
        assert wire.asked == []


async def test_a_replica_that_is_not_heard_is_not_asked() -> None:
    async with two(lines) as (_, south, wire):
        await south.store.enter("us-1", "i", hub="dead")
        assert (await south.hub.traffic.book("us-1", 0)).since(0) == Usage()
        with pytest.raises(UnavailableError, match="us-1 is not connected"):
            await read(south, "us-1")
        assert wire.asked == []


async def shouted(params: JsonObject, pipe: Pipe) -> None:
    while data := await pipe.read():
        await pipe.write(data.upper())
    await pipe.write(b"!")


async def test_a_conversation_goes_both_ways_here_and_through_another_replica() -> None:
    async with two(lines, talkers={"shout": shouted}) as (north, south, _):
        for hub in (north.hub, south.hub):
            async with asyncio.timeout(30), hub.pipes.open("eu-1", "shout", b"{}") as pipe:
                await pipe.write(b"hello")
                assert await pipe.read() == b"HELLO"
                await pipe.write(b" again")
                assert await pipe.read() == b" AGAIN"
                await pipe.end()
                assert [await pipe.read(), await pipe.read()] == [b"!", b""]


async def test_what_a_conversation_needs_of_memory_is_bounded_by_its_credit() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless(params: JsonObject, pipe: Pipe) -> None:
        started.set()
        try:
            while True:
                await pipe.write(bytes(100_000))
        finally:
            ended.set()

    async with two(lines, talkers={"endless": endless}) as (north, _, _):
        async with asyncio.timeout(30), north.hub.pipes.open("eu-1", "endless", b"{}") as pipe:
            await started.wait()
            assert len(await pipe.read()) > 0
        async with asyncio.timeout(30):
            await ended.wait()
