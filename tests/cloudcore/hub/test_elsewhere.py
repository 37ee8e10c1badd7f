"""What is asked of the replica at which a gateway is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cloudcore.runtime.replicas import PREFIX, Replica
from cloudcore.store.memory import MemoryState
from edgecore.link.streams import StreamSource
from skerry.errors import NotFoundError, UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.logs import LogRequest
from skerry.objects.traffic import Usage
from tests.cloudcore.hub.fleet import Fleet, SharedMemoryStore, a_fleet, eventually
from tests.cloudcore.hub.fleet import Replica as Leads

QUERY = LogRequest(namespace="ns", pod="web", uid="u", container="c")


class Wire:
    """Carries questions to one hub, as its API's endpoint would."""

    def __init__(self) -> None:
        self.fleet: Fleet | None = None
        self.asked: list[str] = []
        self.answer = b""

    async def read(self, replica: Replica, path: str, body: bytes) -> AsyncGenerator[bytes]:
        self.asked.append(f"{replica.name} {replica.address} {path}")
        assert self.fleet is not None
        node, _, kind = path.removeprefix(f"{PREFIX}/").split("/")
        async for piece in self.fleet.hub.here.read(node, kind, body):
            yield piece

    async def ask(self, replica: Replica, path: str) -> bytes:
        self.asked.append(f"{replica.name} {replica.address} {path}")
        assert self.fleet is not None
        return self.answer or self.fleet.hub.here.counted(path.removeprefix(f"{PREFIX}/").split("/")[0])


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
async def two(source: StreamSource, address: str = "10.0.0.1:6443") -> AsyncGenerator[tuple[Fleet, Fleet, Wire]]:
    """North has the gateway; south is asked."""
    store, wire = SharedMemoryStore(MemoryState(epoch="e1")), Wire()
    async with (
        a_fleet(store, leadership=Leads("north", leading=False), address=address) as north,
        a_fleet(store, leadership=Leads("south"), replicas=wire) as south,
        north.gateway(sources={"logs": source}) as gateway,
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
            await anext(south.hub.here.read("eu-1", "logs", b"{}"))
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
