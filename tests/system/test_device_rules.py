"""Rules that a gateway carries out by itself: a Modbus machine in C, mbpoll beside it, mosquitto's clients, and no
cloud. What they did is there when the cloud is, once, over a power cut of the gateway as well."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from skerry.cli.client import Client
from tests.system.real_fleet import DEVICES, RealFleet, real_fleet, until
from tests.system.test_event_bus import hearing
from tests.system.test_rules import MOSQUITTO, SUB, a_broker

MBPOLL = shutil.which("mbpoll")
ROOT = Path(__file__).resolve().parents[2]
RULES = "/apis/skerry.dev/v1/namespaces/default/devicerules"

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not (MOSQUITTO and SUB and MBPOLL), reason="mosquitto, its clients or mbpoll are not installed"
    ),
]

MODEL: dict[str, Any] = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "DeviceModel",
    "metadata": {"name": "boiler"},
    "spec": {
        "protocol": "modbus",
        "properties": [
            {
                "name": "temp",
                "type": "FLOAT",
                "accessMode": "ReadOnly",
                "visitors": {
                    "protocolName": "modbus",
                    "configData": {"address": "hr:20", "dataType": "int16", "scale": 0.1, "twin": {"deadband": 5.0}},
                },
            },
            {
                "name": "pump",
                "type": "BOOLEAN",
                "visitors": {"protocolName": "modbus", "configData": {"address": "co:1"}},
            },
        ],
    },
}


def device(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": "boiler"},
        "spec": {
            "nodeName": "eu-1",
            "deviceModelRef": {"name": "boiler"},
            "protocol": {
                "protocolName": "modbus",
                "configData": {"tcp": {"ip": "127.0.0.1", "port": port}, "slaveID": 1},
            },
            "properties": [{"name": "temp", "collectCycle": 100}, {"name": "pump", "collectCycle": 100}],
        },
    }


def rule() -> dict[str, Any]:
    def pump(value: str) -> dict[str, Any]:
        return {"set": {"device": "boiler", "property": "pump", "value": value}}

    return {
        "apiVersion": "skerry.dev/v1",
        "kind": "DeviceRule",
        "metadata": {"name": "overheat"},
        "spec": {
            "values": [{"name": "temp", "device": "boiler", "property": "temp"}],
            "when": "temp > 80.0",
            "until": "temp < 75.0",
            "actions": [
                {"alarm": {"severity": "Critical", "messageExpression": "'boiler at ' + string(temp)"}},
                pump("true"),
                {"publish": {"topic": "plant/hot", "payloadExpression": "string(temp)"}},
            ],
            "otherwise": [pump("false")],
        },
    }


@contextmanager
def a_machine(directory: Path) -> Generator[int]:
    """A PLC by libmodbus on TCP; its port."""
    built = subprocess.run([ROOT / "examples/04-plc/build.sh", directory], capture_output=True, text=True)
    if built.returncode == 3:
        pytest.skip(built.stderr.strip())
    assert built.returncode == 0, built.stderr
    process = subprocess.Popen([directory / "plc", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rsplit(":", 1)[1])
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def mbpoll(port: int, *words: str) -> str:
    assert MBPOLL is not None
    command = [MBPOLL, "-m", "tcp", "-p", str(port), "-a", "1", "-0", "-1", "-q", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def heat(port: int, tenths: int) -> None:
    mbpoll(port, "-t", "4", "-r", "20", "127.0.0.1", str(tenths))


def pumps(port: int) -> bool:
    return mbpoll(port, "-t", "0", "-r", "1", "127.0.0.1").split()[-1] == "1"


def status(client: Client) -> dict[str, Any]:
    found: Any = client.request("GET", f"{RULES}/overheat").obj
    return found.get("status", {})


def skerry(fleet: RealFleet, *words: str) -> str:
    """On the gateway, without the cloud."""
    command = [
        sys.executable,
        "-m",
        "skerry.cli.main",
        "rule",
        *words,
        "--socket",
        str(fleet.edge.data / "edgecore.sock"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(240)
def test_a_gateway_without_its_cloud_cools_a_boiler_and_tells_of_it_later(tmp_path: Path) -> None:
    with a_machine(tmp_path / "plc") as port, a_broker(tmp_path) as broker, real_fleet(tmp_path) as fleet:
        fleet.edge.environ["SKERRY_MQTT_BROKER"] = f"mqtt://127.0.0.1:{broker}"
        heat(port, 700)
        fleet.create(f"{DEVICES}/devicemodels", MODEL)
        fleet.create(f"{DEVICES}/devices", device(port))
        fleet.create(RULES, rule())
        fleet.edge.start()
        until(lambda: fleet.device_state("boiler") == "online", "the boiler is read")
        until(lambda: status(fleet.api()).get("last", {}).get("result") == "False", "the cloud sees the rule at work")
        fleet.cloud.stop(signal.SIGKILL)
        until(lambda: fleet.edge.link_state() != "connected", "the gateway is alone")

        with hearing(broker, "plant/hot") as heard:
            heat(port, 801)  # a tenth above: far within the deadband of the twin
            until(lambda: pumps(port), "the pump runs")
            until(lambda: heard == [("plant/hot", "80.1")], "it was said on the broker")
            until(lambda: len(status(fleet.edge.api)["recent"][-1]["actions"]) == 3, "it is told on the gateway")
            until(lambda: status(fleet.edge.api)["recent"][-1]["actions"][2]["state"] == "done", "all of it is done")

            fleet.edge.stop(signal.SIGKILL)
            fleet.edge.start()
            until(lambda: status(fleet.edge.api).get("last", {}).get("result") == "True", "it reads again")
            assert status(fleet.edge.api)["active"]
            assert status(fleet.edge.api)["firings"] == 1, "it was in force before, and did not fire again"
            heat(port, 700)
            until(lambda: not pumps(port), "the pump rests")
            assert heard == [("plant/hot", "80.1")], "nothing was said twice"

        why = skerry(fleet, "why", "overheat")
        assert "temp > 80.0 is true" in why
        assert "set boiler/pump = true  done (verified)" in why
        listed = json.loads(skerry(fleet, "list", "-o", "json"))
        assert [item["metadata"]["name"] for item in listed["items"]] == ["overheat"]
        assert "it fires" in skerry(fleet, "test", "overheat", "--given", "temp=85")

        fleet.start_cloud()
        until(lambda: status(fleet.api()).get("alarmCount") == 1, "the cloud has the alarm", deadline_s=60)
        until(lambda: status(fleet.api()).get("endings") == 1, "the cloud knows the rest")
        told = status(fleet.api())
        assert told["alarms"][0]["message"] == "boiler at 80.1"
        assert (told["firings"], told["active"]) == (1, False)
        assert told.get("unknownActions", 0) == 0
        events: Any = fleet.api().request("GET", "/api/v1/namespaces/default/events").obj
        assert [event["message"] for event in events["items"] if event["reason"] == "CriticalAlarm"] == [
            "boiler at 80.1"
        ]
        assert "alarm" in fleet.cloud.skerry("rule", "why", "overheat")
