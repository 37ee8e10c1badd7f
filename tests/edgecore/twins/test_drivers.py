"""Drivers of installed packages serve Devices of their protocol."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from devices.mqtt.config import Broker
from devices.mqtt.port import Hooks
from devices.port import DeviceConfig
from edgecore.twins.drivers import driver_factories
from edgecore.twins.keeper import Keeper
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.devices.mqtt.test_driver_alone import FakeConnection
from tests.edgecore.twins.gateway import FAST, Gateway, device

CODE = """
from devices.virtual.driver import VirtualDriver
def driver(services):
    return VirtualDriver(clock=services.clock)
"""


async def test_a_device_that_names_no_broker_is_on_the_gateways() -> None:
    connected: list[Broker] = []

    def connect(broker: Broker, client_id: str, hooks: Hooks) -> FakeConnection:
        del client_id
        connected.append(broker)
        return FakeConnection(hooks)

    own = Broker(host="127.0.0.1", port=1884, username="edgecore")
    drivers = driver_factories(clock=SystemClock(), ids=SeededIds(1), node="eu-1", broker=own, brokers=connect)
    driver = drivers["mqtt"]()
    key = Key("devices.devices.kubeedge.io", "default", "lamp")
    running = asyncio.create_task(driver.run())
    try:
        bare = DeviceConfig(device=key, protocol="mqtt", protocol_config={}, properties=())
        assert not await driver.configure([bare])
        async with asyncio.timeout(20):
            while not connected:
                await asyncio.sleep(0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert connected == [own]


async def test_no_file_but_those_for_devices_is_sent_to_a_broker_that_a_device_names(tmp_path: Path) -> None:
    given = tmp_path / "devices"
    drivers = driver_factories(clock=SystemClock(), ids=SeededIds(1), node="eu-1", credentials=given)
    driver = drivers["mqtt"]()
    key = Key("devices.devices.kubeedge.io", "default", "lamp")

    def named(path: Path) -> DeviceConfig:
        said: JsonObject = {"host": "broker", "username": "ann", "passwordFile": str(path)}
        return DeviceConfig(device=key, protocol="mqtt", protocol_config=said, properties=())

    for path in (Path("/etc/shadow"), given / ".." / "token"):
        ((refused, reason),) = await driver.configure([named(path)])
        assert refused == key and reason.startswith(
            f"spec.protocol.configData.passwordFile: {path} is not in {given}"
        )
    assert not await driver.configure([named(given / "broker")])


@pytest.mark.parametrize("protocol", ["mqtt", "http", "modbus"])
async def test_no_certificate_but_those_for_devices_is_shown_to_anybody(protocol: str, tmp_path: Path) -> None:
    given, key = tmp_path / "devices", Key("devices.devices.kubeedge.io", "default", "lamp")
    driver = driver_factories(clock=SystemClock(), ids=SeededIds(1), node="eu-1", credentials=given)[protocol]()

    def named(directory: Path) -> DeviceConfig:
        files: JsonObject = {"certFile": str(directory / "node.crt"), "keyFile": str(directory / "node.key")}
        at: dict[str, JsonObject] = {
            "mqtt": {"host": "broker", "tls": files},
            "http": {"url": "https://plc", "tls": files},
            "modbus": {"ip": "plc", "slaveID": 1, "tls": files},
        }
        return DeviceConfig(device=key, protocol=protocol, protocol_config=at[protocol], properties=())

    ((refused, reason),) = await driver.configure([named(tmp_path)])
    assert refused == key and reason.startswith(
        f"spec.protocol.configData.tls.certFile: {tmp_path}/node.crt is not in {given}"
    )
    assert not await driver.configure([named(given)])


async def test_a_device_of_a_protocol_that_a_package_speaks_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gadget_package.py").write_text(CODE)
    info = tmp_path / "gadget-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gadget\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[skerry.drivers]\ngadget = gadget_package:driver\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    gateway = Gateway()
    drivers = driver_factories(clock=gateway.clock, ids=SeededIds(1), node="eu-1")
    gateway.keeper = Keeper(gateway.store, drivers, clock=gateway.clock, ids=SeededIds(1), settings=FAST)
    obj = device(level={"initial": 7})
    spec = obj["spec"]
    assert isinstance(spec, dict)
    spec["protocol"] = {"protocolName": "Gadget", "configData": {}}
    try:
        async with gateway.alive():
            await gateway.put_device(obj)
            await gateway.until(lambda: gateway.quality() == "good", deadline_s=10)
            await gateway.want_in_cloud("42")
            await gateway.until(lambda: gateway.ack() == "verified", deadline_s=10)
    finally:
        sys.modules.pop("gadget_package", None)
