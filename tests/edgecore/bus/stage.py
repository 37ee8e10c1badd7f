"""An event bus over a real keeper of twins, a memory store and a broker that keeps what was published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from devices.external import ExternalDriver
from devices.mqtt.port import Delivery, Hooks, Outgoing
from devices.virtual.driver import VirtualDriver
from edgecore.bus.shell import BusParts, EventBus
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.keeper import Keeper
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.device_desired import stamp_desired
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.twins import TwinState, decode_state
from tests.edgecore.twins.gateway import FAST

DEVICES, MODELS = "devices.devices.kubeedge.io", "devicemodels.devices.kubeedge.io"
LAMP = Key(DEVICES, "default", "lamp")
BOILER = Key(DEVICES, "default", "boiler")
UPDATE = "$hw/events/device/default/lamp/twin/update"


def model() -> JsonObject:
    return {
        "metadata": {"name": "m", "namespace": "default", "uid": "m"},
        "spec": {
            "properties": [
                {"name": "level", "type": "INT", "accessMode": "ReadWrite", "minimum": "0", "maximum": "90"},
                {"name": "name", "type": "STRING", "accessMode": "ReadOnly"},
            ]
        },
    }


def device(name: str, protocol: str, **visitor: Any) -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"description": f"the {name}"}},
        "spec": {
            "deviceModelRef": {"name": "m"},
            "protocol": {"protocolName": protocol, "configData": {"macAddress": "aa:bb"}}
            if protocol != "virtual"
            else {"protocolName": protocol},
            "properties": [
                {"name": "level", "collectCycle": 20, "visitors": {"configData": visitor}},
                {"name": "name", "collectCycle": 20},
            ],
        },
    }


@dataclass
class FakeBroker:
    """Implements `Connection`, and is the network behind it."""

    version: int = 5
    hooks: Hooks | None = None
    topics: set[str] = field(default_factory=set[str])
    said: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    acknowledged: list[int] = field(default_factory=list[int])
    takes: bool = True
    mid: int = 0
    resumed: bool = False
    """Whether it has a session from before."""

    def open(self, hooks: Hooks) -> FakeBroker:
        self.hooks = hooks
        return self

    def start(self) -> None:
        assert self.hooks is not None
        self.hooks.connected(self.resumed)

    async def stop(self) -> None:
        pass

    def subscribe(self, topics: set[str]) -> None:
        self.topics = topics

    def acknowledge(self, delivery: Delivery) -> bool:
        if self.takes:
            self.acknowledged.append(delivery.mid)
        return self.takes

    async def settled(self, *, timeout_s: float) -> bool:
        return self.takes

    async def publish(self, message: Outgoing, *, timeout_s: float) -> bool:
        self.said.append((message.topic, json.loads(message.payload)))
        return True

    def hear(self, topic: str, payload: object, *, again: int = 0, retained: bool = False, qos: int = 1) -> int:
        """An app publishes; the packet id."""
        assert self.hooks is not None
        if not again:
            self.mid += 1
        self.hooks.delivered(
            Delivery(
                life=1,
                mid=again or self.mid,
                topic=topic,
                payload=payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
                qos=qos,
                retained=retained,
                redelivered=bool(again),
            )
        )
        return again or self.mid

    def on(self, suffix: str) -> list[Any]:
        """What was said on topics that end so."""
        return [payload for topic, payload in self.said if topic.endswith(suffix)]


class Stage:
    def __init__(self) -> None:
        self.clock = SystemClock()
        self.memory = MemoryEdgeStore(clock=self.clock, incarnation="one")
        self.store = AsyncEdgeStore(self.memory)
        self.external = ExternalDriver(clock=self.clock, verify_s=0.2)
        self.keeper = Keeper(
            self.store,
            {"virtual": lambda: VirtualDriver(clock=self.clock), "external": lambda: self.external},
            clock=self.clock,
            ids=SeededIds(1),
            settings=FAST,
            clock_is_synced=lambda: True,
        )
        self.broker = FakeBroker()
        self.bus = EventBus(
            BusParts(
                node="eu-1",
                store=self.store,
                twins=self.keeper,
                external=self.external,
                open=self.broker.open,
                clock=self.clock,
                ids=SeededIds(2),
            )
        )
        self.committed: dict[tuple[Key, str], TwinState] = {}
        """As listeners are told: what the keeper holds is newer by a commit that is under way."""
        self.store.listen(self._committed)
        self.revision = 0
        self.objects: dict[Key, JsonObject] = {}

    def _committed(self, batch: EdgeBatch) -> None:
        self.committed |= {(row.device, row.prop): decode_state(row.body) for row in batch.twins if row.is_twin}

    async def put(self, key: Key, obj: JsonObject) -> None:
        """The cloud's Objects frame."""
        self.revision += 1
        if key.resource == DEVICES:
            obj = stamp_desired(self.objects.get(key), obj, now_ms=self.clock.wall_ms(), origin="ann")
            self.objects[key] = obj
        held = Held(key=key, stamp=Stamp("u", Revision(self.revision)), body=encode_object(obj))
        await self.store.apply(EdgeBatch(puts=(held,)))

    async def want_in_cloud(self, key: Key, protocol: str, value: str) -> None:
        obj = device(key.name, protocol)
        obj["spec"]["properties"][0]["desired"] = {"value": value}  # type: ignore[index, call-overload]
        await self.put(key, obj)

    def twin(self, key: Key = LAMP, prop: str = "level") -> TwinState:
        found = [twin.state for twin in self.keeper.twins(key) if twin.prop == prop]
        return found[0] if found else TwinState(uid="")

    def reported(self, key: Key = LAMP, prop: str = "level") -> tuple[str | None, str]:
        held = self.twin(key, prop).reported
        return (held.value, held.quality) if held else (None, "")

    async def until(self, true: Callable[[], object], deadline_s: float = 60.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not true():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def playing() -> AsyncGenerator[Stage]:
    """A gateway with a lamp that an app speaks to over bluetooth, and a virtual boiler of its own."""
    stage = Stage()
    await stage.put(Key(MODELS, "default", "m"), model())
    await stage.put(LAMP, device("lamp", "bluetooth"))
    await stage.put(BOILER, device("boiler", "virtual", initial=20))
    tasks = [asyncio.create_task(stage.keeper.run()), asyncio.create_task(stage.bus.run())]
    await stage.until(lambda: stage.external.serves(LAMP) and stage.broker.topics)
    # The bus shows what is committed, and hears of it together with the stage.
    await stage.until(lambda: (held := stage.committed.get((BOILER, "level"))) is not None and held.reported)
    assert stage.reported(BOILER) == ("20", "good")
    try:
        yield stage
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stage.store.close()
