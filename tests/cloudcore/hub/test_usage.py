"""What gateways use is asked of them once for all who ask at once, and remembered for some seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cloudcore.hub.streams import NodePipes
from cloudcore.hub.usage import KEPT_S, NodeUsages
from skerry.clocks import ManualClock
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.usage import Count, Sample
from skerry.ports import Pipe
from tests.cloudcore.hub.fleet import a_fleet, eventually


def sample(at_ms: int, cpu_ns: int) -> JsonObject:
    count = Count(at_ms=at_ms, cpu_ns=cpu_ns, memory_bytes=1)
    return Sample(node=count, containers={("u", "c"): count}).shown()


async def test_rates_come_from_the_gateway() -> None:
    async def usage(params: JsonObject) -> AsyncIterator[bytes]:
        yield encode_object({"samples": [sample(0, 0), sample(1000, 7)]})

    async with a_fleet() as fleet, fleet.gateway(sources={"usage": usage}) as gateway:
        await eventually(lambda: gateway.link.connected)
        found = await fleet.hub.usages.used("eu-1")
        assert found.node is not None
        assert (found.node.cpu_ns_s, found.pods["u"]["c"].cpu_ns_s) == (7, 7)
        with pytest.raises(UnavailableError, match="not connected"):
            await fleet.hub.usages.used("nowhere")


class Counting(NodePipes):
    """Answers by itself, and counts who asked."""

    def __init__(self) -> None:
        super().__init__(lambda _: None, self)
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.answer = encode_object({"samples": [sample(0, 0), sample(1000, 7)]})

    @asynccontextmanager
    async def open(self, node: str, kind: str, params: bytes) -> AsyncGenerator[Pipe]:
        raise UnavailableError("nobody is asked this way")
        yield  # one that opens nothing

    async def read(self, node: str, kind: str, params: bytes, body: bytes = b"") -> AsyncGenerator[bytes]:
        self.asked.append(f"{node} {kind}")
        await self.go.wait()
        yield self.answer


async def test_many_who_ask_are_one_question_and_an_answer_is_kept_for_some_seconds() -> None:
    pipes, clock = Counting(), ManualClock()
    usages = NodeUsages(pipes, clock)
    asking = [asyncio.create_task(usages.used("eu-1")) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    pipes.go.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert len({id(answer) for answer in answers[1:]}) == 1
    assert await usages.used("eu-1") is answers[1]
    assert pipes.asked == ["eu-1 usage"]
    clock.advance(KEPT_S)
    await usages.used("eu-1")
    assert pipes.asked == ["eu-1 usage"] * 2


async def test_nonsense_is_no_answer_and_is_not_kept() -> None:
    pipes = Counting()
    pipes.go.set()
    usages = NodeUsages(pipes, ManualClock())
    for nonsense in (b"{", b"x" * 2_000_000):
        pipes.answer = nonsense
        with pytest.raises(UnavailableError):
            await usages.used("eu-1")
    pipes.answer = b"[]"
    assert (await usages.used("eu-1")).node is None
