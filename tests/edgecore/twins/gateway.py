"""A keeper over a memory store and a virtual device, for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from devices.port import Reading
from devices.virtual.driver import VirtualDriver
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_EPOCH, EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.keeper import Keeper
from edgecore.twins.settings import KeeperSettings
from skerry.clocks import ManualClock, SeededIds, SystemClock
from skerry.frozen import replace
from skerry.objects.blocks import TELEMETRY_BLOCK, decode_block
from skerry.objects.device_desired import stamp_desired
from skerry.objects.json import JsonObject, clone, encode_object, maps_at
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.twins import (
    Telemetry,
    TwinDesired,
    TwinReported,
    TwinState,
    decode_twin_desired,
    decode_twin_reported,
)

DEVICE = Key("devices.devices.kubeedge.io", "default", "boiler")
MODEL = Key("devicemodels.devices.kubeedge.io", "default", "boiler-model")

FAST = KeeperSettings(
    group_s=0.005,
    store_retry_s=0.01,
    health_s=0.01,
    retry_s_min=0.01,
    retry_s_max=0.05,
    first_reading_s=0.05,
    tell_s=0.0,
)


def model() -> JsonObject:
    return {
        "metadata": {"name": "boiler-model", "namespace": "default", "uid": "m1"},
        "spec": {
            "properties": [
                {"name": "setpoint", "type": "FLOAT", "accessMode": "ReadWrite", "minimum": "0", "maximum": "90"},
                {"name": "level", "type": "INT", "accessMode": "ReadOnly"},
            ]
        },
    }


def device(setpoint: JsonObject | None = None, level: JsonObject | None = None, uid: str = "u1") -> JsonObject:
    """A boiler; the arguments are the two visitors' configData."""
    return {
        "metadata": {"name": "boiler", "namespace": "default", "uid": uid, "generation": 1},
        "spec": {
            "deviceModelRef": {"name": "boiler-model"},
            "protocol": {"protocolName": "virtual", "configData": {}},
            "properties": [
                {"name": "setpoint", "collectCycle": 20, "visitors": {"configData": setpoint or {"initial": 20}}},
                {"name": "level", "collectCycle": 20, "visitors": {"configData": level or {}}},
            ],
        },
    }


@dataclass(kw_only=True)
class Gateway:
    """An agent's twins, and the cloud's hand on its store."""

    memory: MemoryEdgeStore = field(default_factory=lambda: MemoryEdgeStore(clock=SystemClock(), incarnation="one"))
    clock: SystemClock = field(default_factory=SystemClock)
    settings: KeeperSettings = FAST
    synced: bool = True
    in_step: bool = True
    revision: int = 0

    def __post_init__(self) -> None:
        self.failing = FailingEdgeStore(self.memory)
        self.object: JsonObject | None = None
        self.start_over()

    def start_over(self) -> None:
        """A new life of the agent, over what the store holds."""
        self.store = AsyncEdgeStore(self.failing)
        self.driver = VirtualDriver(clock=self.clock)
        self.keeper = Keeper(
            self.store,
            {"virtual": lambda: self.driver},
            clock=self.clock,
            ids=SeededIds(1),
            settings=self.settings,
            clock_is_synced=lambda: self.synced,
            in_step=lambda: self.in_step,
        )

    @asynccontextmanager
    async def alive(self) -> AsyncGenerator[Gateway]:
        task = asyncio.create_task(self.keeper.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.store.close()

    async def put(self, key: Key, obj: JsonObject) -> None:
        """The cloud's Objects frame."""
        self.revision += 1
        held = Held(key=key, stamp=Stamp("u", Revision(self.revision)), body=encode_object(obj))
        await self.store.apply(EdgeBatch(puts=(held,)))

    async def put_device(self, obj: JsonObject) -> None:
        await self.put(MODEL, model())
        self.object = stamp_desired(self.object, obj, now_ms=self.clock.wall_ms(), origin="ann")
        await self.put(DEVICE, self.object)

    async def want_in_cloud(self, value: str, **metadata: str) -> None:
        assert self.object is not None
        obj = clone(self.object)
        entry = maps_at(obj, "spec", "properties")[0]
        entry["desired"] = {"value": value, "metadata": {**metadata}}
        await self.put_device(obj)

    async def meet_restored_cloud(self, epoch: str = "e2") -> None:
        """As the link does, when everything told so far had its receipt: what is held counts for nothing."""
        self.memory.prune_outbox(through=self.memory.outbox_head())
        void = [replace(held, stamp=Stamp(held.stamp.uid, Revision(0))) for held in self._held()]
        await self.store.apply(EdgeBatch(puts=tuple(void), meta=((META_EPOCH, epoch),)))

    def _held(self) -> list[Held]:
        return [held for key in (MODEL, DEVICE) if (held := self.memory.get(key)) is not None]

    def twin(self, prop: str = "setpoint") -> TwinState:
        found = [twin.state for twin in self.keeper.twins(DEVICE) if twin.prop == prop]
        return found[0] if found else TwinState(uid="")

    def ack(self) -> str:
        answer = self.twin().ack
        return answer.state if answer else ""

    def ack_reason(self) -> str:
        answer = self.twin().ack
        return answer.reason if answer else ""

    def quality(self) -> str:
        held = self.twin().reported
        return held.quality if held else ""

    def telemetry(self, prop: str) -> list[Telemetry]:
        blocks = [
            decode_block(report.body)
            for report in self.memory.outbox(after=0, limit=100_000)
            if report.kind == TELEMETRY_BLOCK
        ]
        return [each.telemetry() for block in blocks for each in block if each.series == f"default/boiler/{prop}"]

    def told(self, prop: str = "setpoint") -> TwinReported:
        bodies = [
            decode_twin_reported(report.body)
            for report in self.memory.outbox(after=0, limit=100_000)
            if report.kind == "twin_reported" and report.key == f"default/boiler/{prop}"
        ]
        assert len(bodies) == 1, "state reports are coalesced"
        return bodies[0]

    def wanted_up(self) -> list[TwinDesired]:
        return [
            decode_twin_desired(report.body)
            for report in self.memory.outbox(after=0, limit=100_000)
            if report.kind == "twin_desired"
        ]

    async def until(self, true: Callable[[], bool], deadline_s: float = 5.0) -> None:
        """Wait for a level."""
        async with asyncio.timeout(deadline_s):
            while not true():
                await asyncio.sleep(0.002)


def reading(clock: SystemClock | ManualClock, value: int | None, **more: int | bool) -> Reading:
    """One of `level`."""
    made = Reading(
        device=DEVICE,
        prop="level",
        value=value,
        quality="bad" if value is None else "good",
        reason="silent" if value is None else "",
        source_ms=clock.wall_ms(),
        monotonic_s=clock.monotonic_s(),
    )
    return replace(made, **more)
