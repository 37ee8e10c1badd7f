"""A device whose Secret comes late, and changes."""

from __future__ import annotations

import asyncio
import base64

from devices.http.config import HttpDevice
from devices.http.driver import Asked, http_driver
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.keeper import Keeper
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from tests.edgecore.twins.gateway import DEVICE, FAST, MODEL, device, model


class Page:
    """Answers whoever knows the password."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen
        self.status, self.body = 200, b"21.5"
        self.headers: dict[str, str] = {}

    async def exchange(self, asked: Asked, *, once: bool = False) -> Page:
        self._seen.append(asked.headers.get("Authorization", ""))
        return self

    async def close(self) -> None:
        pass


def held(key: Key, revision: int, obj: JsonObject) -> Held:
    return Held(key=key, stamp=Stamp("u", Revision(revision)), body=encode_object(obj))


def secret(token: str) -> JsonObject:
    return {"type": "skerry.dev/device", "data": {"token": base64.b64encode(token.encode()).decode()}}


async def test_a_device_waits_for_its_secret_and_takes_another() -> None:
    clock = SystemClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    seen: list[str] = []

    def connect(_device: HttpDevice) -> Page:
        return Page(seen)

    keeper = Keeper(
        store,
        {"http": lambda: http_driver(clock=clock, ids=SeededIds(1), connect=connect)},
        clock=clock,
        ids=SeededIds(1),
        settings=FAST,
    )
    obj = device({"url": "setpoint"}, {"url": "level"})
    spec = obj["spec"]
    assert isinstance(spec, dict)
    spec["protocol"] = {"protocolName": "http", "configData": {"url": "http://plc", "secretRef": {"name": "s"}}}
    running = asyncio.create_task(keeper.run())

    async def until_state(state: str, said: str) -> None:
        async with asyncio.timeout(10):
            while not any(each.state == state and said in each.reason for each in keeper.devices()):
                await asyncio.sleep(0.005)

    async def until_seen(header: str) -> None:
        async with asyncio.timeout(10):
            while not seen or seen[-1] != header:
                await asyncio.sleep(0.005)

    try:
        await store.apply(EdgeBatch(puts=(held(MODEL, 1, model()), held(DEVICE, 2, obj))))
        await until_state("invalid", "there is no Secret 's' in default")
        assert seen == []
        key = Key("secrets", "default", "s")
        await store.apply(EdgeBatch(puts=(held(key, 3, secret("one")),)))
        await until_seen("Bearer one")
        await until_state("online", "")
        await store.apply(EdgeBatch(puts=(held(key, 4, secret("two")),)))
        await until_seen("Bearer two")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.close()
