"""Mappers over a memory store, a keeper and a mapper that lives in the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from devices.dmi import messages
from devices.external import ExternalDriver
from edgecore.dmi.mappers import Mappers, MappersParts, Sockets
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.keeper import Keeper
from skerry.clocks import SeededIds, SystemClock
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.device_desired import stamp_desired
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.twins import TwinState
from tests.edgecore.twins.gateway import FAST

LAMP = Key("devices.devices.kubeedge.io", "default", "lamp")
MODEL = Key("devicemodels.devices.kubeedge.io", "default", "lamps")


def model() -> JsonObject:
    return {
        "metadata": {"name": "lamps", "namespace": "default", "uid": "m"},
        "spec": {
            "protocolConfigData": {"baud": 9600},
            "properties": [
                {"name": "level", "type": "INT", "accessMode": "ReadWrite"},
                {"name": "film", "type": "STREAM", "accessMode": "ReadOnly"},
            ],
        },
    }


def lamp(name: str = "lamp", protocol: str = "zigbee", wanted: str = "", **config: Any) -> JsonObject:
    desired: JsonObject = {"desired": {"value": wanted}} if wanted else {}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {
            "deviceModelRef": {"name": "lamps"},
            "protocol": {"protocolName": protocol, "configData": {**config}},
            "properties": [{"name": "level", "collectCycle": 20, **desired}, {"name": "film"}],
        },
    }


class Mapper:
    """Hears calls; does what it is told, unless it is away or refuses."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.heard: list[tuple[str, Any]] = []
        self.pings = 0
        self.closed = False
        self.away = ""
        self.breaks: Exception | None = None
        self.refuses: dict[str, str] = {}

    async def call(self, name: str, request: object, *, timeout_s: float) -> object:
        await asyncio.sleep(0)
        if self.breaks:
            raise self.breaks
        if self.away:
            raise UnavailableError(self.away)
        if isinstance(request, messages.Named) and not request.name:
            self.pings += 1
            raise InvalidError("device name is nil")
        if name in self.refuses:
            raise InvalidError(self.refuses[name])
        self.heard.append((name, request))
        return messages.Nothing()

    def close(self) -> None:
        self.closed = True

    def told(self, name: str) -> list[Any]:
        return [request for heard, request in self.heard if heard == name]

    def wanted(self) -> str:
        """The level that it was told last."""
        devices: list[Any] = [each.device for _, each in self.heard if isinstance(each, messages.DeviceRequest)]
        return devices[-1].spec.properties[0].desired.value if devices else ""


class Stage:
    def __init__(self) -> None:
        self.clock = SystemClock()
        self.memory = MemoryEdgeStore(clock=self.clock, incarnation="one")
        self.failing = FailingEdgeStore(self.memory)
        self.revision = 0
        self.dialled: list[Mapper] = []
        self.begin()

    def begin(self) -> None:
        """A new life of the agent."""
        self.store = AsyncEdgeStore(self.failing)
        self.external = ExternalDriver(clock=self.clock, verify_s=0.5)
        drivers = {"external": lambda: self.external}
        self.keeper = Keeper(self.store, drivers, clock=self.clock, ids=SeededIds(1), settings=FAST)
        self.mappers = Mappers(
            MappersParts(
                store=self.store,
                external=self.external,
                clock=self.clock,
                sockets=Sockets(dial=self._dial, serve=self._serve),
                look_s=0.02,
            )
        )

    def _dial(self, path: str) -> Mapper:
        self.dialled.append(Mapper(path))
        return self.dialled[-1]

    async def _serve(self, _mappers: Mappers) -> None:
        await asyncio.Event().wait()

    @asynccontextmanager
    async def alive(self) -> AsyncGenerator[Stage]:
        tasks = [asyncio.create_task(self.keeper.run()), asyncio.create_task(self.mappers.run())]
        await asyncio.sleep(0)
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.store.close()

    async def put(self, key: Key, obj: JsonObject) -> None:
        self.revision += 1
        obj = stamp_desired(None, obj, now_ms=self.clock.wall_ms(), origin="ann")
        held = Held(key=key, stamp=Stamp("u", Revision(self.revision)), body=encode_object(obj))
        await self.store.apply(EdgeBatch(puts=(held,)))

    async def put_lamp(self, **more: Any) -> None:
        await self.put(MODEL, model())
        obj = lamp(**more)
        await self.put(Key(LAMP.resource, "default", more.get("name", "lamp")), obj)
        await self.until(lambda: self.external.serves(Key(LAMP.resource, "default", more.get("name", "lamp"))))

    async def register(self, *, with_data: bool = True, **more: Any) -> messages.MapperRegisterResponse:
        info: dict[str, Any] = {"name": "mine", "protocol": "zigbee", "address": b"/run/mine.sock", **more}
        return await self.mappers.register(
            messages.MapperRegisterRequest(with_data=with_data, mapper=messages.MapperInfo(**info))
        )

    async def report(self, value: str, prop: str = "level", device: str = "lamp", **metadata: str) -> None:
        twin = messages.Twin(property_name=prop, reported=messages.TwinProperty(value=value, metadata={**metadata}))
        await self.mappers.report(
            messages.ReportDeviceStatusRequest(
                device_name=device, device_namespace="default", reported_device=messages.DeviceStatus(twins=(twin,))
            )
        )

    def twin(self) -> TwinState:
        found = [twin.state for twin in self.keeper.twins(LAMP) if twin.prop == "level"]
        return found[0] if found else TwinState(uid="")

    def ack(self) -> str:
        answer = self.twin().ack
        return answer.state if answer else ""

    def state(self, name: str = "lamp") -> tuple[str, str]:
        return next((each.state, each.reason) for each in self.keeper.devices() if each.device.name == name)

    async def until(self, true: Callable[[], object], deadline_s: float = 10.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not true():
                await asyncio.sleep(0.002)
