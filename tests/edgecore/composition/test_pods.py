"""Pods begin before the rest of the agent is there, and hear of it once it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from edgecore.composition.ground import PodGround
from edgecore.composition.pods import Begun, Later, Whole, agent_clock, compose_pods
from edgecore.pods.node import read_machine
from edgecore.pods.port import SandboxSpec, SandboxState
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import UnavailableError
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import JsonObject
from skerry.ports import Pipe
from tests.edgecore.pods.pods_of import body_of, container, key_of, pod, stamp_of

HEAD = CallHead(method="GET", path="/api")


class SlowRuntime(FakeRuntime):
    """Makes no sandbox before it may."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.may = asyncio.Event()
        self.asked = 0

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxState:
        self.asked += 1
        await self.may.wait()
        return await super().run_sandbox(spec)


class Site:
    """A gateway that knows of two pods."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.runtime = SlowRuntime(self.clock)
        self.directory = directory

    async def fill(self, names: Sequence[str] = ("one", "two")) -> None:
        known = [pod(container("app"), name=name, uid=name) for name in names]
        puts = tuple(Held(key=key_of(each, "pods"), stamp=stamp_of(each), body=body_of(each)) for each in known)
        await self.store.apply(EdgeBatch(puts=puts))

    def compose(self) -> Begun:
        return compose_pods(
            PodGround(
                node="gate-1",
                directory=self.directory,
                machine=lambda: read_machine(self.directory),
                store=self.store,
                runtime=self.runtime,
                clock=self.clock,
                time=agent_clock(self.clock, self.store),
                ids=SeededIds(1),
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Begun]:
        begun = self.compose()
        tasks = [asyncio.create_task(work) for work in begun.workers().values()]
        try:
            yield begun
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    await made.fill()
    yield made
    made.store.close()


async def test_pods_run_where_nothing_else_of_the_agent_is_there(site: Site) -> None:
    site.runtime.may.set()
    async with site.running() as begun, asyncio.timeout(10):
        await begun.pods.begun.wait()
    assert site.runtime.starts == [("app", 0), ("app", 0)]


async def test_they_are_under_way_when_each_waits_for_its_sandbox_and_have_not_begun(site: Site) -> None:
    async with site.running() as begun, asyncio.timeout(10):
        await begun.pods.under_way.wait()
        assert site.runtime.asked == 2
        assert not begun.pods.begun.is_set()
        site.runtime.may.set()
        await begun.pods.begun.wait()


async def test_a_gateway_without_pods_waits_for_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as begun, asyncio.timeout(10):
        await begun.pods.under_way.wait()
        await begun.pods.begun.wait()
    site.store.close()


async def test_until_the_rest_is_there_it_answers_as_an_agent_without_a_link() -> None:
    later = Later()
    assert not later.connected()
    assert not later.in_step()
    assert later.refusal({}) == ""
    with pytest.raises(UnavailableError, match="the agent is starting"):
        await later.ask(HEAD)
    with pytest.raises(UnavailableError, match="the agent is starting"):
        later.pipe("lease", b"")


async def test_once_it_is_there_the_rest_answers_itself() -> None:
    later, said = Later(), CloudAnswer(code=200, body=b"yes")

    async def ask(head: CallHead, body: bytes) -> CloudAnswer:
        assert (head, body) == (HEAD, b"what")
        return said

    later.settle(Whole(connected=lambda: True, in_step=lambda: True, refusal=_short, ask=ask, pipe=_no_pipe))
    assert later.connected()
    assert later.in_step()
    assert later.refusal({}) == "short of memory"
    assert await later.ask(HEAD, b"what") == said


async def test_unknown_containers_go_on_until_the_rest_says_that_the_store_is_in_step(site: Site) -> None:
    site.runtime.may.set()
    async with site.running() as begun, asyncio.timeout(10):
        await begun.pods.begun.wait()
    await site.store.apply(EdgeBatch(deletes=(key_of(pod(name="two", uid="two"), "pods"),), pods=(("two", None),)))
    async with site.running() as begun, asyncio.timeout(10):
        await begun.pods.begun.wait()
        assert {state.pod_uid for state in await site.runtime.list()} == {"one", "two"}
        begun.later.settle(Whole(connected=bool, in_step=lambda: True, refusal=_short, ask=_never, pipe=_no_pipe))
        await site.fill(("one",))
        while {state.pod_uid for state in await site.runtime.list()} != {"one"}:
            await asyncio.sleep(0.005)


def _short(_: JsonObject) -> str:
    return "short of memory"


async def _never(_: CallHead, __: bytes) -> CloudAnswer:
    raise AssertionError("nobody asks")


def _no_pipe(_: str, __: bytes) -> AbstractAsyncContextManager[Pipe]:
    raise AssertionError("nobody opens a stream")
