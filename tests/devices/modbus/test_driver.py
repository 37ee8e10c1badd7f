"""The Modbus driver on real sockets, against the raw slave."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devices.bus import LineSettings
from devices.modbus.driver import ModbusDriver
from devices.port import DeviceConfig, PropertyConfig, Reading, TwinConfig
from devices.schedule import BreakerSettings
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key
from tests.devices.evil_slave import EvilSlave, on_a_pty
from tests.devices.raw_slave import Slave, running, until

pytestmark = pytest.mark.system


def prop(name: str, visitor: JsonObject, *, type: str = "INT", collect_ms: int = 20, **more: float) -> PropertyConfig:
    return PropertyConfig(
        name=name,
        type=type,
        writable=True,
        unit="",
        minimum=more.get("minimum"),
        maximum=more.get("maximum"),
        collect_ms=collect_ms,
        visitor=visitor,
        twin=TwinConfig(tolerance=more.get("tolerance", 0.0)),
    )


def device(
    slave: Slave, *props: PropertyConfig, name: str = "plc", unit: int = 1, timeout_ms: int = 300
) -> DeviceConfig:
    return DeviceConfig(
        device=Key("devices.devices.kubeedge.io", "default", name),
        protocol="modbus",
        protocol_config={"tcp": {"ip": "127.0.0.1", "port": slave.port}, "slaveID": unit, "timeoutMs": timeout_ms},
        properties=props,
    )


@asynccontextmanager
async def driving(
    configs: Sequence[DeviceConfig], settings: LineSettings | None = None
) -> AsyncGenerator[tuple[ModbusDriver, list[Reading]]]:
    driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1), settings=settings)
    taken: list[Reading] = []

    async def take() -> None:
        async for reading in driver.readings():
            taken.append(reading)  # noqa: PERF401 - the list is watched while it grows

    assert await driver.configure(configs) == []
    tasks = [asyncio.create_task(driver.run()), asyncio.create_task(take())]
    try:
        yield driver, taken
    finally:
        await driver.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_properties_are_read_in_one_block_and_written_with_verification() -> None:
    async with running(Slave()) as slave:
        props = (
            prop("temperature", {"address": "hr:0", "dataType": "float32", "order": "CDAB"}, type="FLOAT"),
            prop("setpoint", {"register": "HoldingRegister", "offset": 2, "scale": 0.1}, type="FLOAT", maximum=90)
            if False
            else prop("setpoint", {"address": "hr:2", "dataType": "int16", "scale": 0.1}, type="FLOAT", maximum=90),
            prop("fan", {"register": "CoilRegister", "offset": 4}, type="BOOLEAN"),
            prop("alarm", {"address": "hr:7.3"}, type="BOOLEAN"),
        )
        plc = device(slave, *props)
        async with driving([plc]) as (driver, taken):
            assert (await driver.write(plc.device, "temperature", 23.4)).state == "verified"
            result = await driver.write(plc.device, "setpoint", 21.5)
            assert result.state == "verified" and result.read_back and result.read_back.value == 21.5
            assert (await driver.write(plc.device, "fan", True)).state == "verified"
            assert (await driver.write(plc.device, "alarm", True)).state == "verified"
            assert (await driver.write(plc.device, "alarm", False)).state == "verified"
            too_hot = await driver.write(plc.device, "setpoint", 95.0)
            assert (too_hot.state, too_hot.reason) == ("refused", "95.0 is above the maximum of 90")
            await until(lambda: any(reading.value == 23.4 for reading in taken))
            assert driver.health()[0].online
    assert slave.registers[1, 2] == 215
    assert slave.registers[1, 7] == 7 & ~8
    reads = {request[7:12] for request in slave.requests if request[7] == 3}
    assert b"\x03\x00\x00\x00\x08" in reads, "the registers are read in one block"


async def test_a_device_without_mask_write_is_read_and_written_instead() -> None:
    async with running(Slave(without_mask_write=True)) as slave:
        plc = device(slave, prop("alarm", {"address": "hr:7.4"}, type="BOOLEAN", collect_ms=60_000))
        async with driving([plc]) as (driver, _):
            assert (await driver.write(plc.device, "alarm", True)).state == "verified"
            assert (await driver.write(plc.device, "alarm", False)).state == "verified"
    assert slave.registers[1, 7] == 7
    assert sum(request[7] == 22 for request in slave.requests) == 1, "asked for once"


async def test_a_device_that_keeps_another_value_is_said_to_refuse() -> None:
    def ignore(request: bytes, frame: bytes) -> bytes | None:
        if request[7] == 6:
            del slave.registers[1, 5]
        return frame

    async with running(Slave(twist=ignore)) as slave:
        plc = device(slave, prop("x", {"address": "hr:5"}))
        async with driving([plc]) as (driver, _):
            result = await driver.write(plc.device, "x", 7)
    assert (result.state, result.reason) == ("refused", "the device holds 5 after 7 was written")


async def test_one_illegal_register_does_not_take_the_others_away() -> None:
    async with running(Slave(illegal=frozenset({5}))) as slave:
        plc = device(slave, *(prop(f"r{at}", {"address": f"hr:{at}"}) for at in range(12)))
        async with driving([plc]) as (driver, taken):
            await until(lambda: {reading.prop for reading in taken} == {f"r{at}" for at in range(12)})
            assert driver.health()[0].online
    for reading in taken:
        if reading.prop == "r5":
            assert (reading.quality, reading.reason) == ("bad", "exception 2: illegal data address")
        else:
            assert reading.value == int(reading.prop[1:])


async def test_a_silent_unit_is_said_to_be_and_costs_the_others_little() -> None:
    settings = LineSettings(breaker=BreakerSettings(silences_max=2, backoff_s_min=0.1, backoff_s_max=0.1))
    timeout_s = 0.2
    async with running(Slave(units=frozenset(range(1, 10)))) as slave:
        plcs = [
            device(
                slave,
                prop("x", {"address": "hr:1"}),
                name=f"plc{unit}",
                unit=unit,
                timeout_ms=round(timeout_s * 1000),
            )
            for unit in range(1, 11)
        ]
        begun = time.monotonic()
        async with driving(plcs, settings) as (driver, taken):

            def told() -> bool:
                by_device = Counter(reading.device.name for reading in taken if reading.value == 1)
                online = {entry.device.name for entry in driver.health() if entry.online}
                others = {f"plc{unit}" for unit in range(1, 10)}
                return online == others and all(by_device[name] >= 100 for name in others)

            await until(told, deadline_s=90)
            health = {entry.device.name: entry for entry in driver.health()}
        took_s = time.monotonic() - begun
    assert "unit 10" in health["plc10"].reason
    # Counted, as a busy machine stretches times: what it may be asked with its breaker open is a share of the time.
    asked = sum(request[6] == 10 for request in slave.requests)
    assert 2 <= asked <= 3 + took_s * settings.breaker.share_max / timeout_s, f"asked {asked} times in {took_s:.1f} s"


async def test_many_reads_with_eight_percent_late_answers_give_no_wrong_value() -> None:
    """Every read asks for another address, so that a value that belongs to another request is seen."""
    total = int(os.environ.get("SKERRY_BUS_READS", "0")) or 400
    settings = LineSettings(breaker=BreakerSettings(silences_max=10**9))
    # Only what is late on purpose is late: a busy machine answers within the time-out.
    async with running(Slave(late_share=0.08, late_s=0.4)) as slave:
        props = [prop(f"r{at}", {"address": f"hr:{at}", "alone": True}, collect_ms=1) for at in range(0, 60000, 120)]
        async with driving([device(slave, *props, timeout_ms=150)], settings) as (_, taken):
            # Requests that reached the slave: a hang-up gives many readings without a value and costs no request.
            await until(lambda: len(slave.requests) >= total, deadline_s=max(100, total / 5))
    wrong = [reading for reading in taken if reading.value is not None and reading.value != int(reading.prop[1:])]
    right = [reading for reading in taken if reading.value is not None]
    assert not wrong
    assert slave.late > 0.05 * total
    assert len(right) > 0.5 * total
    assert all(reading.quality == "bad" and reading.reason for reading in taken if reading.value is None)


def on_line(slave: EvilSlave, *props: PropertyConfig, name: str, **config: Json) -> DeviceConfig:
    return DeviceConfig(
        device=Key("devices.devices.kubeedge.io", "default", name),
        protocol="modbus",
        protocol_config={"serialPort": slave.port, "baudRate": 115200, "timeoutMs": 2000, "drainMs": 100, **config},
        properties=props,
    )


async def test_devices_on_one_port_share_its_worker_by_whatever_name_they_call_it(tmp_path: Path) -> None:
    async with on_a_pty(EvilSlave()) as slave:
        other_name = tmp_path / "usb-adapter"
        other_name.symlink_to(slave.port)
        one = on_line(slave, prop("x", {"address": "hr:7"}), name="one", slaveID=1)
        two = on_line(slave, prop("x", {"address": "hr:8"}), name="two", slaveID=2, serialPort=str(other_name))
        async with driving([one, two]) as (driver, taken):
            await until(
                lambda: {(reading.device.name, reading.value) for reading in taken} >= {("one", 7), ("two", 8)}
            )
            assert (await driver.write(two.device, "x", 99)).state == "verified"
            assert len(driver.stats()) == 1
            # Another pause makes another line of it, which gets the port when the first has let go.
            slower = on_line(slave, prop("x", {"address": "hr:9"}), name="one", slaveID=1, pauseMs=5)
            assert await driver.configure([slower, two]) == []
            await until(lambda: any(reading.value == 9 for reading in taken))
        assert not [reading for reading in taken if reading.value is None]


async def test_a_device_that_wants_a_port_at_another_speed_is_refused() -> None:
    async with on_a_pty(EvilSlave()) as slave:
        one = on_line(slave, prop("x", {"address": "hr:7"}), name="one")
        two = on_line(slave, prop("x", {"address": "hr:8"}), name="two", baudRate=9600)
        driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1))
        ((key, reason),) = await driver.configure([one, two])
        assert key == two.device and "a line has one speed and one framing" in reason and "115200 8N1" in reason
        assert (await driver.write(two.device, "x", 1)).state == "failed"


class KeptNotes:
    """Notes in memory, which outlive a driver."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def read(self, name: str) -> str:
        return self.texts.get(name, "")

    async def write(self, name: str, text: str) -> None:
        self.texts[name] = text


async def test_holes_are_known_again_after_a_restart() -> None:
    notes = KeptNotes()
    async with running(Slave(illegal=frozenset({5}))) as slave:
        plc = device(slave, *(prop(f"r{at}", {"address": f"hr:{at}"}) for at in (0, 1, 7, 9)))
        for life in range(2):
            driver = ModbusDriver(clock=SystemClock(), ids=SeededIds(1), notes=notes)
            assert await driver.configure([plc]) == []
            task = asyncio.create_task(driver.run())
            slave.requests.clear()
            await until(lambda: len(slave.requests) >= 8 and bool(notes.texts), deadline_s=20)
            await driver.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            refused = sum(request[8:12] == b"\x00\x00\x00\x0a" for request in slave.requests)
            assert refused == (1 if life == 0 else 0)


async def test_a_line_that_is_asked_for_too_much_says_so_on_its_devices() -> None:
    async with on_a_pty(EvilSlave()) as slave:
        slow = on_line(
            slave, prop("x", {"address": "hr:0", "dataType": "bytes", "limit": 100}, type="BYTES", collect_ms=100),
            name="slow", baudRate=9600,
        )  # fmt: skip
        async with driving([slow]) as (driver, _):
            await until(lambda: bool(driver.health()))
            (health,) = driver.health()
    assert health.online and "its polls need 234% of the line" in health.reason
    assert "default/slow takes 234%; a collectCycle of 300 ms in place of 100 would do" in health.reason
