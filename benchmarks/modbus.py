"""What Modbus gives: wrong values where answers are late, a thousand registers of a unit, a dead unit among twenty.

    python -m benchmarks modbus

The slaves are in a process of their own and share no line with the driver. `SKERRY_BUS_READS=1000` makes it shorter.
The bound of a line is the same requests by a bare socket, one after the other.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import socket
import statistics
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from typing import Final

from devices.bus import LineSettings, Request
from devices.modbus.channels import channel_to
from devices.modbus.driver import ModbusDriver
from devices.modbus.endpoints import TcpEndpoint
from devices.modbus.frames import FRAMINGS, FramingName
from devices.modbus.settings import WireSettings
from devices.modbus.wire import StreamWire
from devices.port import DeviceConfig, PropertyConfig, TwinConfig
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import UnavailableError
from skerry.objects.meta import Key

READS: Final = int(os.environ.get("SKERRY_BUS_READS", "0")) or 10_000
LATE: Final = 0.08
TIMEOUT_S: Final = 0.05
ANSWER_S: Final = 0.010
"""How long a device thinks, as small controllers do."""
REGISTERS: Final = 1000
CYCLES_S: Final = 10.0
DEAD_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a slave behaves."""

    framing: FramingName = "tcp"
    answer_s: float = 0.0
    late_share: float = 0.0
    late_s: tuple[float, float] = (0.0, 0.0)
    silent: frozenset[int] = frozenset()


def crc(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def serve(habits: Habits, ports: Queue[int]) -> None:
    """One connection at a time, one request after the other; register `a` holds `a`."""
    chance = random.Random(5)
    listener = socket.create_server(("127.0.0.1", 0))
    ports.put(listener.getsockname()[1])
    head = 6 if habits.framing == "tcp" else 0
    while True:
        line, _ = listener.accept()
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while request := _exactly(line, 12 if head else 8):
                unit, function = request[head], request[head + 1]
                first, count = (int.from_bytes(request[head + at : head + at + 2]) for at in (2, 4))
                if unit in habits.silent:
                    continue
                late = chance.random() < habits.late_share
                time.sleep(chance.uniform(*habits.late_s) if late else habits.answer_s)
                words = b"".join((at & 0xFFFF).to_bytes(2) for at in range(first, first + count))
                body = bytes((unit, function, 2 * count)) + words
                line.sendall(request[:4] + len(body).to_bytes(2) + body if head else body + crc(body))
        except OSError:
            pass
        line.close()


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


@contextmanager
def slave(habits: Habits) -> Generator[int]:
    """A slave at work; its port."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    process = context.Process(target=serve, args=(habits, ports), daemon=True)
    process.start()
    try:
        yield ports.get(timeout=30)
    finally:
        process.kill()
        process.join()


async def late_answers(framing: FramingName) -> tuple[int, int, int, float]:
    """Wrong, right, without a value, seconds."""
    habits = Habits(framing=framing, late_share=LATE, late_s=(TIMEOUT_S * 1.1, TIMEOUT_S * 1.9))
    with slave(habits) as port:
        endpoint = TcpEndpoint(host="127.0.0.1", port=port, framing=framing)
        wire = StreamWire(
            channel_to(endpoint, connect_s=5),
            FRAMINGS[framing](),
            WireSettings(timeout_s=TIMEOUT_S, drain_s=2 * TIMEOUT_S),
            name="bench",
            ids=SystemIds(),
        )
        chance, wrong, right, none = random.Random(3), 0, 0, 0
        begun_s = time.monotonic()
        for _ in range(READS):
            address = chance.randrange(60_000)
            try:
                got = await wire.transact(Request(unit=1, function=3, address=address, count=2))
            except UnavailableError:
                none += 1
                await wire.reset()
                continue
            same = got == (address, address + 1)
            right, wrong = right + same, wrong + (not same)
        await wire.close()
        return wrong, right, none, time.monotonic() - begun_s


def device(port: int, unit: int, registers: int, collect_ms: int) -> DeviceConfig:
    props = tuple(
        PropertyConfig(
            name=f"r{at}", type="INT", writable=False, unit="", minimum=None, maximum=None, collect_ms=collect_ms,
            visitor={"address": f"hr:{at}"}, twin=TwinConfig(),
        )
        for at in range(registers)
    )  # fmt: skip
    key = Key("devices.devices.kubeedge.io", "default", f"unit-{unit}")
    config: dict[str, object] = {"tcp": {"ip": "127.0.0.1", "port": port}, "slaveID": unit}
    return DeviceConfig(device=key, protocol="modbus", protocol_config=config, properties=props)  # pyright: ignore


async def readings(devices: Sequence[DeviceConfig], seconds: float) -> dict[str, int]:
    """How many good readings of each device there were, from a second after the start on."""
    driver = ModbusDriver(clock=SystemClock(), ids=SystemIds(), settings=LineSettings())
    assert not await driver.configure(devices)
    counted: dict[str, int] = {}

    async def take() -> None:
        async for reading in driver.readings():
            if reading.value is not None:
                counted[reading.device.name] = counted.get(reading.device.name, 0) + 1

    tasks = [asyncio.create_task(driver.run()), asyncio.create_task(take())]
    await asyncio.sleep(1.0)
    counted.clear()
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counted


def bare_cycle_s(port: int) -> float:
    """A thousand registers by the fewest requests, over a bare socket: the median of several."""
    spans = [(first, min(125, REGISTERS - first)) for first in range(0, REGISTERS, 125)]
    took: list[float] = []
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(20):
            begun_s = time.perf_counter()
            for number, (first, count) in enumerate(spans):
                head = b"".join(at.to_bytes(2) for at in (number, 0, 6))
                line.sendall(head + bytes((1, 3)) + first.to_bytes(2) + count.to_bytes(2))
                _exactly(line, 9 + 2 * count)
            took.append(time.perf_counter() - begun_s)
    return statistics.median(took)


def main() -> Sequence[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for framing in ("tcp", "rtu"):
        wrong, right, none, took_s = asyncio.run(late_answers(framing))
        what = f"{READS} reads with {LATE:.0%} late answers, {framing}"
        rows.append((what, f"{wrong} wrong, {right} right, {none} without a value, {took_s:.0f} s"))
    with slave(Habits(answer_s=ANSWER_S)) as port:
        bound_s = bare_cycle_s(port)
    with slave(Habits(answer_s=ANSWER_S)) as port:
        counted = asyncio.run(readings([device(port, 1, REGISTERS, 10)], CYCLES_S))
    cycle_s = CYCLES_S * REGISTERS / counted["unit-1"]
    what = f"{REGISTERS} registers of one TCP unit that answers in {ANSWER_S * 1000:.0f} ms, a cycle"
    rows.append((what, f"{cycle_s * 1000:.0f} ms"))
    rows.append(("  of the bound of 8 requests over a bare socket", f"{bound_s / cycle_s:.0%}"))
    rates: list[float] = []
    for silent in (frozenset[int](), frozenset({20})):
        with slave(Habits(answer_s=0.002, silent=silent)) as port:
            counted = asyncio.run(readings([device(port, unit, 1, 100) for unit in range(1, 21)], DEAD_S))
        rates.append(sum(count for name, count in counted.items() if name != "unit-20") / DEAD_S)
    rows.append((f"readings a second of 19 units, all 20 alive, {DEAD_S:.0f} s", f"{rates[0]:.0f}"))
    rows.append(("  with the 20th dead from the start", f"{rates[1]:.0f} ({rates[1] / rates[0] - 1:+.1%})"))
    return rows
