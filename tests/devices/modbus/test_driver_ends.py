"""The Modbus driver ends when it is told to, also where a library swallows what tells it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from devices.bus import Request, Wire
from devices.modbus.driver import ModbusDriver
from devices.modbus.endpoints import Endpoint
from devices.modbus.settings import WireSettings
from devices.port import DeviceConfig, PropertyConfig, TwinConfig
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.meta import Key

LEVEL = PropertyConfig(
    name="level",
    type="INT",
    writable=False,
    unit="",
    minimum=None,
    maximum=None,
    collect_ms=10,
    visitor={"address": "hr:0"},
    twin=TwinConfig(),
)
PLC = DeviceConfig(
    device=Key("devices.devices.kubeedge.io", "default", "plc"),
    protocol="modbus",
    protocol_config={"tcp": {"ip": "127.0.0.1", "port": 502}},
    properties=(LEVEL,),
)


@dataclass
class DeafWire:
    """Answers where it should be cancelled, as Python 3.11's `wait_for` does when both come together."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    async def transact(self, request: Request) -> tuple[int, ...]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return (0,) * request.count
        raise AssertionError("nobody sets it")

    async def ready(self) -> None:
        pass

    async def identify(self, unit: int) -> dict[int, bytes]:
        return {}

    async def reset(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("how", ["stopped", "device_gone"])
async def test_a_line_whose_cancellation_came_with_an_answer_ends(how: str) -> None:
    wire = DeafWire()
    driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1), wires=lambda _endpoint, _settings: wire)
    assert await driver.configure([PLC]) == []
    task = asyncio.create_task(driver.run())
    async with asyncio.timeout(5):
        await wire.asked.wait()
        if how == "device_gone":
            await driver.configure([])
            while not wire.closed:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert wire.closed


async def test_without_the_library_devices_are_refused_and_told_what_to_install() -> None:
    def missing(_endpoint: Endpoint, _settings: WireSettings) -> Wire:
        raise ModuleNotFoundError("No module named 'pymodbus'", name="pymodbus")

    driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1), wires=missing)
    ((_, reason),) = await driver.configure([PLC])
    assert reason == "Modbus needs pymodbus, which is not installed: pip install 'skerry[edge]'"
    assert (await driver.write(PLC.device, "level", 1)).state == "failed"
    assert driver.stats() == {}
