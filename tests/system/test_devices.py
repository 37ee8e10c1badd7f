"""Twins with real parts: a PLC on libmodbus read by mbpoll, a sensor on mosquitto, and an agent that is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from edgecore.store.database import FILE_NAME
from skerry.objects.blocks import decode_block
from skerry.objects.json import JsonObject, ensure_map, maps_at, str_at
from skerry.objects.twins import (
    Telemetry,
    TwinReported,
    TwinState,
    decode_state,
    decode_twin_reported,
)

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
MBPOLL = shutil.which("mbpoll")
RESOURCES = {"Device": "devices.devices.kubeedge.io", "DeviceModel": "devicemodels.devices.kubeedge.io"}


def until(true: Callable[[], object], *, deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "not reached in time"
        time.sleep(0.05)


@dataclass
class Agent:
    """The process, and what its store holds."""

    directory: Path
    process: subprocess.Popen[str] | None = None
    broker_port: int = 0
    """Of the broker on which KubeEdge's apps talk to it; 0: none."""
    dmi_socket: str = ""
    """On which KubeEdge's mappers register; "": they can't."""

    def start(self, objects: list[JsonObject]) -> None:
        manifest = self.directory / "manifest.json"
        if not manifest.exists():
            manifest.write_text(json.dumps([[RESOURCES[str_at(obj, "kind")], obj] for obj in objects]))
        with (self.directory / "agent.log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.system.device_agent",
                    str(self.directory),
                    str(manifest),
                    str(self.broker_port),
                    *([self.dmi_socket] if self.dmi_socket else []),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def change(self, objects: list[JsonObject]) -> None:
        """The cloud says that it is these now."""
        manifest = self.directory / "manifest.json"
        manifest.write_text(json.dumps([[RESOURCES[str_at(obj, "kind")], obj] for obj in objects]))
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def rows(self, sql: str, *given: str) -> list[tuple[bytes]]:
        path = self.directory / FILE_NAME
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            return reader.execute(sql, given).fetchall()

    def telemetry(self, prop: str) -> list[Telemetry]:
        rows = self.rows("SELECT body FROM outbox WHERE kind = 'telemetry_block' ORDER BY seq")
        return [each.telemetry() for (body,) in rows for each in decode_block(body) if each.prop == prop]

    def told(self, prop: str) -> TwinReported | None:
        rows = self.rows("SELECT body FROM outbox WHERE kind = 'twin_reported' ORDER BY seq DESC")
        return next((told for (body,) in rows if (told := decode_twin_reported(body)).prop == prop), None)

    def twin(self, prop: str) -> TwinState | None:
        found = self.rows("SELECT body FROM twins WHERE prop = ?", prop)
        return decode_state(found[0][0]) if found else None


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.kill()


def example(name: str, port: int, **desired: str) -> list[JsonObject]:
    """The objects of an example, aimed at this port."""
    objects: list[JsonObject] = list(yaml.safe_load_all((ROOT / "examples" / name / "device.yaml").read_text()))
    for obj in objects:
        metadata = ensure_map(obj, "metadata")
        metadata["uid"] = str_at(obj, "metadata", "name")
        if obj["kind"] == "Device":
            data = ensure_map(obj, "spec", "protocol", "configData")
            (ensure_map(data, "tcp") if "tcp" in data else data)["port"] = port
            for prop in maps_at(obj, "spec", "properties"):
                prop.pop("desired", None)
                if str_at(prop, "name") in desired:
                    prop["desired"] = {"value": desired[str_at(prop, "name")]}
    return objects


@dataclass
class Plc:
    process: subprocess.Popen[str]
    port: int

    def register(self, at: int) -> int:
        """Read by a program that we did not write."""
        assert MBPOLL is not None
        asked = [
            MBPOLL,
            "-m",
            "tcp",
            "-p",
            str(self.port),
            "-a",
            "1",
            "-0",
            "-r",
            str(at),
            "-t",
            "4",
            "-1",
            "127.0.0.1",
        ]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        found = re.search(rf"\[{at}\]:\s+(-?\d+)", said)
        assert found, said
        return int(found[1])


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[Plc]:
    if MBPOLL is None:
        pytest.skip("mbpoll is not installed")
    built = subprocess.run([ROOT / "examples/04-plc/build.sh", tmp_path / "plc"], capture_output=True, text=True)
    if built.returncode == 3:
        pytest.skip(built.stderr.strip())
    assert built.returncode == 0, built.stderr
    process = subprocess.Popen([built.stdout.strip(), "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    yield Plc(process, port)
    process.terminate()
    process.wait(10)
    process.stdout.close()


def test_a_setpoint_arrives_in_the_register_of_an_independent_plc(agent: Agent, plc: Plc) -> None:
    agent.start(example("04-plc", plc.port, setpoint="21.5"))
    until(
        lambda: (twin := agent.twin("setpoint")) is not None and twin.ack is not None and twin.ack.state == "verified"
    )
    assert plc.register(2) == 215
    until(lambda: (told := agent.told("temperature")) is not None and told.reported is not None)
    told = agent.told("temperature")
    assert told is not None and told.reported is not None and told.reported.value is not None
    assert 10 < float(told.reported.value) < 30 and told.reported.quality == "good"
    writes = plc.register(10)
    agent.kill()
    agent.start([])
    first = agent.told("temperature")
    until(lambda: agent.told("temperature") != first)
    assert plc.register(10) == writes, "a value that was carried out is not written again at start"


def test_a_value_beyond_the_models_range_is_refused_and_never_reaches_the_plc(agent: Agent, plc: Plc) -> None:
    agent.start(example("04-plc", plc.port, setpoint="95"))
    until(
        lambda: (twin := agent.twin("setpoint")) is not None and twin.ack is not None and twin.ack.state == "refused"
    )
    twin = agent.twin("setpoint")
    assert twin is not None and twin.ack is not None and twin.ack.reason == "95.0 is above the maximum of 90"
    assert (plc.register(2), plc.register(10)) == (200, 0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(10)


def test_an_agent_killed_again_and_again_loses_no_reading_and_keeps_none_twice(agent: Agent, broker: int) -> None:
    total = 600
    agent.start(example("05-sensor", broker))
    until(lambda: "mqtt_connected" in (agent.directory / "agent.log").read_text())
    sensor = subprocess.Popen(
        [sys.executable, ROOT / "examples/05-sensor/sensor.py", "--port", str(broker), "--topic", "site/us-1/mast",
         "--period", "0.01", "--count", str(total)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    for killed_at in (40, 150, 300, 450):
        until(lambda: len(agent.telemetry("wind")) >= killed_at)  # noqa: B023
        assert agent.process is not None
        agent.process.send_signal(signal.SIGKILL)
        agent.kill()
        agent.start([])
    out, _ = sensor.communicate(timeout=30)
    assert out == f"{total}\n".encode()
    until(lambda: len(agent.telemetry("wind")) >= total)
    for prop in ("temperature", "humidity", "wind"):
        rows = agent.telemetry(prop)
        # (The last row says that the mast said good-bye. A broker may send what is new to a client that comes back
        # before it sends again what that had not acknowledged: the order is the broker's.)
        told = [row.source_seq for row in rows if row.value is not None and row.source_seq is not None]
        assert sorted(told) == list(range(1, total + 1)), prop
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1)), prop
