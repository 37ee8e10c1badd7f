"""A device that announces itself on mosquitto becomes one of the agent's, by what `edgecore discover` writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from skerry.objects.json import JsonObject
from tests.system import test_devices
from tests.system.test_devices import ROOT, Agent, until
from tests.system.test_event_bus import PUB, SUB, say

pytestmark = [pytest.mark.system, pytest.mark.skipif(SUB is None, reason="mosquitto's clients are not installed")]

agent, broker = test_devices.agent, test_devices.broker

DOCUMENT = {
    "dev": {"ids": "0x01", "name": "Hall fan"},
    "o": {"name": "fan2mqtt"},
    "avty_t": "hall/fan/here",
    "cmps": {
        "rpm": {"p": "sensor", "unit_of_meas": "rpm", "stat_t": "hall/fan", "val_tpl": "{{ value_json.rpm }}"},
        "on": {"p": "switch", "stat_t": "hall/fan", "val_tpl": "{{ value_json.on }}", "cmd_t": "hall/fan/set"},
    },
}


def retain(port: int, topic: str, payload: object) -> None:
    assert PUB is not None
    text = payload if isinstance(payload, str) else json.dumps(payload)
    command = [PUB, "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-r", "-t", topic, "-m", text]
    subprocess.run(command, check=True, timeout=30)


def discovered(port: int) -> tuple[list[JsonObject], str]:
    run = subprocess.run(
        [sys.executable, "-m", "edgecore.main", "discover", "--node", "eu-1", "--seconds", "1",
         "--mqtt-broker", f"mqtt://127.0.0.1:{port}"],
        capture_output=True, text=True, timeout=60, cwd=ROOT, env=dict(os.environ),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout)), run.stderr


def test_a_device_that_announces_itself_is_applied_and_served(agent: Agent, broker: int) -> None:
    until(lambda: _listens(broker))
    retain(broker, "homeassistant/device/0x01/config", DOCUMENT)
    retain(broker, "homeassistant/event/0x02/config", {"name": "Bell"})
    objects, left_out = discovered(broker)
    assert [obj["kind"] for obj in objects] == ["DeviceModel", "Device"]
    assert left_out == "left out: Bell, Bell: no property of ours is like its platform, event\n"
    for obj in objects:
        metadata: Any = obj["metadata"]
        metadata["uid"] = "u"
    agent.start(objects)
    until(lambda: "mqtt_connected" in (agent.directory / "agent.log").read_text())
    retain(broker, "hall/fan/here", "online")
    until(lambda: say(broker, "hall/fan", {"rpm": 900, "on": "OFF"}) or agent.telemetry("rpm"))
    assert agent.telemetry("rpm")[0].value == "900.0"
    until(lambda: agent.telemetry("on"))
    assert agent.telemetry("on")[0].value == "false"


def _listens(port: int) -> bool:
    return (
        subprocess.run([PUB or "", "-h", "127.0.0.1", "-p", str(port), "-t", "x", "-n"], timeout=30).returncode == 0
    )


def test_a_broker_that_is_not_there_is_said_by_name() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "edgecore.main", "discover", "--node", "eu-1", "--mqtt-broker", "mqtt://127.0.0.1:9"],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith("edgecore discover: broker 127.0.0.1:9: ") and "Traceback" not in run.stderr
