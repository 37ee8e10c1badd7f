"""A gateway's commands over a memory store, with an executor that counts, and a process that can die at any write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edgecore.commands.runner import CommandParts, CommandRunner
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_EPOCH, EdgeBatch, Held, OutboxReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.objects.commands import (
    COMMANDS,
    Action,
    CommandReport,
    DeviceMethod,
    Order,
    Outcome,
    Refusal,
    command_spec,
)
from skerry.objects.json import JsonObject, decode_object, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.times import micro_time_text

T0_MS = 1_790_000_000_000


class DeathError(BaseException):
    """The process is gone."""


def command(
    name: str = "ignite",
    *,
    device: str = "boiler",
    issued_ms: int = T0_MS,
    expires_s: int = 60,
    incarnation: str = "one",
    cancel: bool = False,
    action: JsonObject | None = None,
) -> JsonObject:
    call: JsonObject = {"deviceMethod": {"device": device, "method": name, "parameters": {"power": "3"}}}
    return {
        "metadata": {
            "namespace": "ns",
            "name": name,
            "uid": f"u-{name}",
            "creationTimestamp": "2026-09-21T14:13:20Z",
        },
        "spec": {
            "nodeName": "eu-1",
            "action": action or call,
            "expiresAfterSeconds": expires_s,
            "timeoutSeconds": 30,
            "cancel": cancel,
            "issued": {"time": micro_time_text(issued_ms), "epoch": "e1", "incarnation": incarnation},
        },
    }


class DyingStore(MemoryEdgeStore):
    """Its process dies at the write of that number: just before it is durable, or just after."""

    def __init__(self, *, incarnation: str, clock: ManualClock) -> None:
        super().__init__(incarnation=incarnation, clock=clock)
        self.writes = 0
        self.dies_before = self.dies_after = 0
        self.dead = False

    def apply(self, batch: EdgeBatch) -> int:
        if self.dead:
            raise DeathError
        ours = bool(batch.commands)
        self.writes += ours
        if ours and self.writes == self.dies_before:
            self.dead = True
            raise DeathError
        head = super().apply(batch)
        if ours and self.writes == self.dies_after:
            self.dead = True
            raise DeathError
        return head


@dataclass(slots=True)
class Counting:
    """An executor. What it did is what the device saw: it survives every death."""

    done: list[str] = field(default_factory=list[str])
    refused: Refusal | None = None
    outcome: Outcome = field(
        default_factory=lambda: Outcome(phase="Succeeded", reason="", message="", result={"power": "3"})
    )
    hold: asyncio.Event | None = None
    """Work waits for it (or for being asked to stop)."""
    dies: Callable[[], bool] = lambda: False
    """Asked after the device saw it."""

    def refusal(self, order: Order) -> Refusal | None:
        return self.refused

    async def execute(self, order: Order, halt: asyncio.Event) -> Outcome:
        self.done.append(order.name)
        if self.dies():
            raise DeathError
        if self.hold is not None:
            waits = {asyncio.ensure_future(self.hold.wait()), asyncio.ensure_future(halt.wait())}
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if halt.is_set():
                return Outcome(phase="Cancelled", reason="Cancelled", message="stopped", result={})
        return self.outcome


@dataclass(kw_only=True)
class Gateway:
    """The store and the device outlive the agent."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(wall_ms=T0_MS))
    executor: Counting = field(default_factory=Counting)
    cloud_ms: int | None = T0_MS + 1000
    boot: str = "b1"
    revision: int = 0
    connected: bool = True
    """What is reported has its receipt at once."""
    received: dict[str, CommandReport] = field(default_factory=dict[str, CommandReport])
    """What the cloud was told last, by uid."""

    def __post_init__(self) -> None:
        self.memory = DyingStore(incarnation="one", clock=self.clock)
        self.start_over()

    def start_over(self) -> None:
        """Another life of the agent, over what is durable."""
        self.memory.dead = False
        self.memory.dies_before = self.memory.dies_after = 0
        self.store = AsyncEdgeStore(self.memory)
        executors: dict[type[Action], Counting] = {DeviceMethod: self.executor}
        self.runner = CommandRunner(
            CommandParts(
                store=self.store,
                executors=executors,
                clock=self.clock,
                boot_id=self.boot,
                cloud_ms=lambda: self.cloud_ms,
            )
        )

    def lose_store(self) -> None:
        """The card was replaced."""
        self.memory = DyingStore(incarnation="two", clock=self.clock)
        self.start_over()

    @asynccontextmanager
    async def alive(self) -> AsyncGenerator[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.runner.run()), asyncio.create_task(self._report())]
        try:
            yield tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.store.close()

    async def _report(self) -> None:
        """The link, as long as there is one."""
        written = asyncio.Event()
        self.store.listen(lambda _: written.set())
        while True:
            written.clear()
            if self.connected:
                await self.connect()
            await written.wait()

    async def connect(self) -> None:
        """What waits is told, and receipted."""
        self.connected = True
        waiting = self.memory.outbox(after=0, limit=1000)
        if waiting:
            self.received |= {report.key: _told(report) for report in waiting}
            await self.store.prune_outbox(through=waiting[-1].seq)

    async def put(self, *objects: JsonObject) -> None:
        self.revision += 1
        held = tuple(
            Held(key=_key(obj), stamp=Stamp(_uid(obj), Revision(self.revision)), body=encode_object(obj))
            for obj in objects
        )
        await self.store.apply(EdgeBatch(puts=held))

    async def take_away(self, obj: JsonObject) -> None:
        await self.store.apply(EdgeBatch(deletes=(_key(obj),)))

    async def meet_restored_cloud(self, epoch: str = "e2") -> None:
        """Whatever was told had its receipt from the cloud of before."""
        self.memory.prune_outbox(through=self.memory.outbox_head())
        self.received.clear()
        await self.store.apply(EdgeBatch(meta=((META_EPOCH, epoch),)))

    def told(self, name: str = "ignite") -> CommandReport | None:
        """The newest word to the cloud."""
        bodies = [_told(report) for report in self.memory.outbox(after=0, limit=1000) if report.key == f"u-{name}"]
        assert len(bodies) <= 1, "the newest replaces the others"
        return bodies[0] if bodies else self.received.get(f"u-{name}")

    def phase(self, name: str = "ignite") -> str:
        told = self.told(name)
        return told.phase if told else ""

    async def until(self, holds: Callable[[], bool], deadline_s: float = 10.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not holds():
                await asyncio.sleep(0.001)

    async def quiet(self, turns: int = 200) -> None:
        """Nothing more happens by itself: many turns of the loop and of the store's thread."""
        for _ in range(turns):
            await asyncio.sleep(0)
        await self.store.apply(EdgeBatch())
        for _ in range(turns):
            await asyncio.sleep(0)


def ended(gateway: Gateway, names: Sequence[str]) -> bool:
    return all(gateway.phase(name) not in ("", "Delivered", "Running") for name in names)


def expiry_ms(obj: JsonObject) -> int:
    return command_spec(obj).expires_ms


def _told(report: OutboxReport) -> CommandReport:
    return CommandReport.decode(decode_object(report.body))


def _key(obj: JsonObject) -> Key:
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    return Key(COMMANDS, str(metadata["namespace"]), str(metadata["name"]))


def _uid(obj: JsonObject) -> str:
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["uid"])
