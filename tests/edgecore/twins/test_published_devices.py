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
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.keeper import Keeper
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from tests.edgecore.twins.gateway import FAST

EXAMPLES = Path(__file__).parents[3] / "examples" / "kubeedge-devices"
FILES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def read(name: str) -> tuple[JsonObject, JsonObject]:
    """The model and the device."""
    model, device = yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text())
    return cast(JsonObject, model), cast(JsonObject, device)


def configured(name: str) -> DeviceConfig:
    model, device = read(name)
    named: Any = device["metadata"]
    key = Key("devices.devices.kubeedge.io", "default", named["name"])
    return device_config(key, device, {("default", cast(Any, model)["metadata"]["name"]): model})


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
        (device,) = keeper.devices()
        protocol = configured(name).named
        assert (device.protocol, device.reason) == (protocol, f"waits for a mapper of protocol {protocol}")
