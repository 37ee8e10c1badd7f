"""What speaks on a gateway's broker becomes a Device of the agent's, by what `skerry device discover` writes.

mosquitto's clients speak, on the embedded broker and on a mosquitto.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml

from skerry.objects.json import JsonObject
from tests.system import test_devices, test_edge_agent
from tests.system.test_devices import ROOT, until
from tests.system.test_edge_agent import Gateway
from tests.system.test_event_bus import PUB, SUB

pytestmark = [pytest.mark.system, pytest.mark.skipif(SUB is None, reason="mosquitto's clients are not installed")]

gate, broker = test_edge_agent.gate, test_devices.broker
RESOURCES = {"Device": "devices.devices.kubeedge.io", "DeviceModel": "devicemodels.devices.kubeedge.io"}
DOCUMENT = {
    "dev": {"ids": "0x01", "name": "Hall fan"},
    "o": {"name": "fan2mqtt"},
    "avty_t": "hall/fan/here",
    "cmps": {
        "rpm": {"p": "sensor", "unit_of_meas": "rpm", "stat_t": "hall/fan", "val_tpl": "{{ value_json.rpm }}"},
        "on": {"p": "switch", "stat_t": "hall/fan", "val_tpl": "{{ value_json.on }}", "cmd_t": "hall/fan/set"},
    },
}
LAMP = "$hw/events/device/default/lamp/twin/update"
LEVEL = {"event_id": "1", "timestamp": 0, "twin": {"level": {"actual": {"value": "21"}, "metadata": {"type": "int"}}}}


class Speaker:
    """Whoever speaks on the broker."""

    def __init__(self, port: int, *account: str) -> None:
        self._place = ["-h", "127.0.0.1", "-p", str(port), *account]

    def say(self, topic: str, payload: object, *more: str) -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        command = [PUB or "", *self._place, "-q", "1", *more, "-t", topic, "-m", text]
        subprocess.run(command, check=True, timeout=30)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def discovered(gate: Gateway, speaker: Speaker, *options: str) -> tuple[str, str]:
    """While a lamp's mapper reports."""
    command = [sys.executable, "-m", "skerry.cli.main", "device", "discover", "--data", str(gate.data)]
    with subprocess.Popen(
        [*command, "--seconds", "3", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as asking:
        while asking.poll() is None:
            speaker.say(LAMP, LEVEL)
            time.sleep(0.1)
        out, err = asking.communicate(timeout=60)
        assert asking.returncode == 0, err
        return out, err


@pytest.fixture(params=["embedded", "mosquitto"])
def speaker(request: pytest.FixtureRequest, gate: Gateway) -> Iterator[Speaker]:
    """On the broker of a gateway that runs."""
    if request.param == "mosquitto":
        port = request.getfixturevalue("broker")
        gate.options = ("--mqtt-broker", f"mqtt://127.0.0.1:{port}")
        gate.start()
        yield Speaker(port)
        return
    port = free_port()
    gate.options = ("--mqtt-broker", "embedded", "--mqtt-listen", f"127.0.0.1:{port}")
    users = [sys.executable, "-m", "edgecore.main", "mqtt-user", "--data", str(gate.data), "--add", "app"]
    assert subprocess.run(users, cwd=ROOT, timeout=60).returncode == 0
    gate.start()
    yield Speaker(port, "-u", "app", "-P", (gate.data / "mqtt" / "app.password").read_text().strip())


def value(gate: Gateway, device: str, prop: str) -> str:
    path = f"/apis/devices.kubeedge.io/v1beta1/namespaces/default/devicestatuses/{device}"
    twins = gate.ask("GET", path)[1].get("status", {}).get("twins", [])
    return next((each.get("reported", {}).get("value", "") for each in twins if each["propertyName"] == prop), "")


def test_what_speaks_on_the_broker_is_shown_applied_and_served(gate: Gateway, speaker: Speaker) -> None:
    until(lambda: "bus_connected" in gate.log())
    speaker.say("homeassistant/device/0x01/config", DOCUMENT, "-r")
    speaker.say("homeassistant/event/0x02/config", {"name": "Bell"}, "-r")
    table, left_out = discovered(gate, speaker)
    assert [line.split()[0] for line in table.splitlines()] == ["NAME", "hall-fan", "lamp"]
    assert left_out == "left out: Bell, Bell: no property of ours is like its platform, event\n"
    text, _ = discovered(gate, speaker, "-o", "yaml")
    objects: list[JsonObject] = list(yaml.safe_load_all(text))
    assert [obj["kind"] for obj in objects] == ["DeviceModel", "Device"] * 2
    assert gate.end(15) == 0
    for obj in objects:
        metadata: Any = obj["metadata"]
        metadata["uid"] = "u"
        gate.change((RESOURCES[str(obj["kind"])], obj))
    gate.start()
    until(lambda: gate.log().count("_connected") >= 2)  # the bus, and the driver of a device that names no broker
    speaker.say("hall/fan/here", "online", "-r")
    until(lambda: speaker.say("hall/fan", {"rpm": 900, "on": "OFF"}) or value(gate, "hall-fan", "rpm") == "900.0")
    assert value(gate, "hall-fan", "on") == "false"
    until(lambda: speaker.say(LAMP, LEVEL) or value(gate, "lamp", "level") == "21")
    again, known = discovered(gate, speaker)
    assert again == "" or ("hall-fan" not in again and "lamp" not in again)
    assert "2 are Devices already." in known


def test_a_gateway_without_a_broker_says_so(gate: Gateway) -> None:
    gate.start()
    command = [sys.executable, "-m", "skerry.cli.main", "device", "discover", "--data", str(gate.data)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert run.returncode == 7 and "has no MQTT broker (edgecore run --mqtt-broker)" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_broker_that_is_not_there_is_said_by_name(gate: Gateway) -> None:
    gate.options = ("--mqtt-broker", f"mqtt://127.0.0.1:{free_port()}")
    gate.start()
    status, told = gate.ask("GET", "/skerry/discovery?seconds=1")
    assert status == 503 and "broker 127.0.0.1:" in told["message"]
