"""Manifests in the shapes that KubeEdge publishes mean on a gateway what their writers want: the examples do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from devices.external import ExternalDriver
from devices.manifests import device_config
from devices.modbus.driver import ModbusDriver
from devices.port import DeviceConfig, Driver
from devices.pushes import decode_push
from devices.virtual.driver import VirtualDriver
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.keeper import Keeper
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.json import JsonObject, encode_object, maps_at
from skerry.objects.meta import Key, Revision, Stamp
from tests.edgecore.twins.gateway import DEVICE, FAST, MODEL, device, model

EXAMPLES = Path(__file__).parents[3] / "examples" / "08-kubeedge-devices"
FILES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def read(name: str) -> tuple[JsonObject, JsonObject]:
    """The model and the device."""
    of_model, instance = yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text())
    return cast(JsonObject, of_model), cast(JsonObject, instance)


def configured(name: str) -> DeviceConfig:
    of_model, instance = read(name)
    named: Any = instance["metadata"]
    key = Key("devices.devices.kubeedge.io", "default", named["name"])
    return device_config(key, instance, {("default", cast(Any, of_model)["metadata"]["name"]): of_model})


@pytest.mark.parametrize("name", ["modbus-rtu", "modbus-tcp"])
async def test_what_kubeedge_writes_of_modbus_is_served_here(name: str) -> None:
    config = configured(name)
    assert config.protocol == "modbus"
    driver: Driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1))
    assert list(await driver.configure([config])) == []
    await driver.close()


def test_cycles_are_read_in_the_unit_that_was_meant() -> None:
    humidity, fan = configured("modbus-tcp").properties
    assert (humidity.collect_ms, humidity.twin.silence_ms_max, fan.collect_ms) == (10_000, 10_000, 500)


def test_the_model_gives_what_the_instance_leaves_out() -> None:
    config = configured("custom-protocol")
    assert config.protocol_config == {
        "protocolID": 1, "baudRate": 9600, "deviceID": 2, "serialPort": "/dev/ttyS1", "exact": True,
    }  # fmt: skip
    assert config.properties[0].visitor == {"dataType": "int"}
    assert [prop.type for prop in config.properties] == ["INT", "FLOAT", "STRING", "BYTES", "DOUBLE", "BOOLEAN"]


@asynccontextmanager
async def gateway(name: str) -> AsyncGenerator[Keeper]:
    clock = SystemClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    external = ExternalDriver(clock=clock)
    keeper = Keeper(store, {"external": lambda: external}, clock=clock, ids=SeededIds(1), settings=FAST)
    running = asyncio.create_task(keeper.run())
    for resource, obj in zip(("devicemodels", "devices"), read(name), strict=True):
        metadata: Any = obj["metadata"]
        key = Key(f"{resource}.devices.kubeedge.io", "default", metadata["name"])
        metadata["uid"] = "u"
        held = Held(key=key, stamp=Stamp("u", Revision(1)), body=encode_object(obj))
        await store.apply(EdgeBatch(puts=(held,)))
    try:
        yield keeper
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.close()


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("modbus")])
async def test_a_protocol_that_nobody_here_speaks_is_accepted_and_waits_for_its_mapper(name: str) -> None:
    async with gateway(name) as keeper, asyncio.timeout(10):
        while not any(each.state == "waiting" for each in keeper.devices()):
            await asyncio.sleep(0.005)
        (summary,) = keeper.devices()
        protocol = configured(name).named
        assert (summary.protocol, summary.reason) == (protocol, f"waits for a mapper of protocol {protocol}")


async def test_what_a_gateway_does_not_push_is_said_and_the_rest_is_staged_with_its_reading() -> None:
    clock = SystemClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    batches: list[EdgeBatch] = []
    store.listen(batches.append)
    failing = ["pushes to http://h:1 fail: no answer within 10 s"]
    keeper = Keeper(
        store,
        {"virtual": lambda: VirtualDriver(clock=clock)},
        clock=clock,
        ids=SeededIds(1),
        settings=FAST,
        pushes=lambda _: failing[0],
    )
    running = asyncio.create_task(keeper.run())
    obj = device({"initial": 20, "push": {"http": {"format": "kubeedge"}}})
    prop = maps_at(obj, "spec", "properties")[0]
    prop["reportToCloud"] = False
    prop["pushMethod"] = {"http": {"hostName": "h", "port": 1, "requestPath": "/x"}, "dbMethod": {"redis": {}}}
    for key, each in ((MODEL, model()), (DEVICE, obj)):
        held = Held(key=key, stamp=Stamp("u", Revision(1)), body=encode_object(each))
        await store.apply(EdgeBatch(puts=(held,)))
    try:
        async with asyncio.timeout(10):
            while not store.push_queues() or not any(each.reason for each in keeper.devices()):
                await asyncio.sleep(0.005)
        (summary,) = keeper.devices()
        assert summary.reason == (
            f"{failing[0]}; spec.properties[setpoint].pushMethod.dbMethod.redis: not done by this gateway; "
            "a mapper may"
        )
        (queue,) = store.push_queues()
        assert (queue.queue, queue.waiting) == (f"default/{DEVICE.name} setpoint http http://h:1", 1)
        (waiting,) = store.pushes(queue.queue, limit=9)
        told = decode_push(waiting.queue, waiting.body)
        assert (told.device, told.prop, told.value) == (DEVICE.name, "setpoint", "20.0")
        (batch,) = [each for each in batches if each.pushes]
        assert any(row.prop == "setpoint" for row in batch.twins) and not batch.readings, "in one transaction"
        failing[0] = ""
        async with asyncio.timeout(10):
            while keeper.devices()[0].reason.startswith("pushes"):
                await asyncio.sleep(0.005)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.close()


def test_the_page_on_v1alpha2_ends_with_a_device_that_is_served() -> None:
    page = (EXAMPLES.parents[1] / "docs/howto/devices-of-v1alpha2.md").read_text()
    _, after = yaml.safe_load_all(page[page.index("```yaml") + 7 : page.rindex("```")])
    of_model, _ = read("modbus-tcp")
    key = Key("devices.devices.kubeedge.io", "default", "dryer-1")
    config = device_config(key, after, {("default", "dryer"): of_model})
    assert config.protocol == "modbus" and config.properties[0].collect_ms == 5000
