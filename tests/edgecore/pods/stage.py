"""One agent's pods over memory parts, for the tests of `edgecore.pods`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgecore.pods.env import ApiPlace, Tokens, no_tokens
from edgecore.pods.leases import AlwaysLent, Lent
from edgecore.pods.manager import PodManager
from edgecore.pods.parts import PodParts
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_EPOCH, EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SeededIds
from skerry.objects.conditions import find_condition
from skerry.objects.json import Json, JsonObject, decode_object, dig, map_at, maps_at, str_at
from tests.edgecore.pods.pods_of import NODE, body_of, key_of, stamp_of


class Gateway:
    """One agent's pods over memory parts."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = ManualClock()
        self.disk = FailingEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.store = AsyncEdgeStore(self.disk)
        self.runtime = FakeRuntime(self.clock)
        self.directory = tmp_path
        self.in_step = True
        self.refuse: Callable[[JsonObject], str] = lambda _: ""
        self.tokens: Tokens = no_tokens
        self.apis: tuple[ApiPlace, ...] = ()
        self.lent: Lent = AlwaysLent()

    def parts(self) -> PodParts:
        return PodParts(
            store=self.store,
            runtime=self.runtime,
            clock=self.clock,
            ids=SeededIds(1),
            node=NODE,
            directory=self.directory,
            refusal=self.refuse,
            tokens=self.tokens,
            apis=self.apis,
            lent=self.lent,
            authority=lambda _host: "own\n",
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[PodManager]:
        manager = PodManager(self.parts(), lambda: self.in_step)
        task = asyncio.create_task(manager.run())
        try:
            yield manager
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def put(self, obj: JsonObject, resource: str = "pods") -> None:
        await self.store.apply(
            EdgeBatch(puts=(Held(key=key_of(obj, resource), stamp=stamp_of(obj), body=body_of(obj)),))
        )

    async def meet_restored_cloud(self, epoch: str = "e2") -> None:
        """As the link does, when everything told so far had its receipt."""
        await self.store.prune_outbox(through=self.store.outbox_head())
        await self.store.apply(EdgeBatch(meta=((META_EPOCH, epoch),)))

    async def delete(self, obj: JsonObject) -> None:
        await self.store.apply(EdgeBatch(deletes=(key_of(obj),)))

    def reports(self, kind: str = "pod_status") -> list[JsonObject]:
        return [decode_object(item.body) for item in self.store.outbox(after=0, limit=1000) if item.kind == kind]

    def status(self) -> JsonObject:
        told = self.reports()
        status = told[-1]["status"] if told else {}
        return status if isinstance(status, dict) else {}

    def waiting(self) -> Json:
        return dig(next(iter(maps_at(self.status(), "containerStatuses")), {}), "state", "waiting")

    def reasons(self) -> list[str]:
        """Of all events but those that come before each start."""
        told = [str_at(event, "reason") for event in self.reports("event")]
        return [reason for reason in told if reason not in ("Pulled", "Created")]

    def told(self) -> list[str]:
        """What events say, the reason first."""
        return [f"{str_at(event, 'reason')}: {str_at(event, 'message')}" for event in self.reports("event")]


async def eventually(level: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not level():
            await asyncio.sleep(0.005)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.store.close()


def init_states(gate: Gateway) -> dict[str, str]:
    told = maps_at(gate.status(), "initContainerStatuses")
    return {str_at(each, "name"): next(iter(map_at(each, "state")), "") for each in told}


def going(obj: JsonObject, *, grace_s: int) -> JsonObject:
    metadata = map_at(obj, "metadata")
    deleted: JsonObject = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace_s}
    return {**obj, "metadata": metadata | deleted}


def ready(gate: Gateway) -> str:
    return str_at(find_condition(maps_at(gate.status(), "conditions"), "Ready") or {}, "status")
