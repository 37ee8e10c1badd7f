"""KubeEdge's event bus with mosquitto, and apps that are mosquitto's own clients and paho's."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from skerry.objects.json import JsonObject
from tests.system import test_devices
from tests.system.test_devices import Agent, until

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")

pytestmark = [pytest.mark.system, pytest.mark.skipif(SUB is None, reason="mosquitto's clients are not installed")]

LAMP = "$hw/events/device/default/lamp"
MANIFEST: list[JsonObject] = [
    {
        "kind": "DeviceModel",
        "metadata": {"name": "lamp", "namespace": "default", "uid": "m"},
        "spec": {"properties": [{"name": "level", "type": "INT", "accessMode": "ReadWrite", "maximum": "1000"}]},
    },
    {
        "kind": "Device",
        "metadata": {"name": "lamp", "namespace": "default", "uid": "d"},
        "spec": {
            "nodeName": "eu-1",
            "deviceModelRef": {"name": "lamp"},
            "protocol": {"protocolName": "bluetooth", "configData": {"macAddress": "A4:C1:38:1A:49:90"}},
            "properties": [{"name": "level", "visitors": {"protocolName": "bluetooth", "configData": {"uuid": "x"}}}],
        },
    },
]


@contextmanager
def hearing(port: int, *topics: str) -> Generator[list[tuple[str, Any]]]:
    """mosquitto_sub's lines, as (topic, payload)."""
    assert SUB is not None
    wanted = [each for topic in topics for each in ("-t", topic)]
    process = subprocess.Popen(
        [SUB, "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-v", *wanted], stdout=subprocess.PIPE, text=True
    )
    heard: list[tuple[str, Any]] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            heard.append((topic, json.loads(payload) if payload[:1] == "{" else payload))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield heard
    finally:
        process.terminate()
        process.wait(10)
        thread.join(10)
        assert process.stdout is not None
        process.stdout.close()


def say(port: int, topic: str, payload: object) -> None:
    assert PUB is not None
    text = payload if isinstance(payload, str) else json.dumps(payload)
    subprocess.run(
        [PUB, "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", topic, "-m", text], check=True, timeout=30
    )


agent, broker = test_devices.agent, test_devices.broker


@pytest.fixture
def talking(agent: Agent, broker: int) -> Agent:
    agent.broker_port = broker
    agent.start(MANIFEST)
    until(lambda: "bus_connected" in (agent.directory / "agent.log").read_text())
    return agent


def test_an_app_of_kubeedges_reads_and_is_told_what_is_wanted(talking: Agent) -> None:
    port = talking.broker_port
    with hearing(port, f"{LAMP}/twin/+/+", "$hw/events/node/eu-1/membership/get/result") as heard:
        until(lambda: say(port, f"{LAMP}/twin/get", {"event_id": "g"}) or dict(heard).get(f"{LAMP}/twin/get/result"))
        say(port, "$hw/events/node/eu-1/membership/get", {"event_id": "m"})
        until(lambda: "$hw/events/node/eu-1/membership/get/result" in dict(heard))
        devices = dict(heard)["$hw/events/node/eu-1/membership/get/result"]["devices"]
        assert [each["id"] for each in devices] == ["default/lamp"]

        say(port, f"{LAMP}/twin/update", {"event_id": "a", "twin": {"level": {"actual": {"value": "21"}}}})
        until(lambda: f"{LAMP}/twin/update/document" in dict(heard))
        assert dict(heard)[f"{LAMP}/twin/update/result"]["twin"]["level"]["actual"]["value"] == "21"
        until(lambda: (told := talking.told("level")) is not None and told.reported is not None)

        say(port, f"{LAMP}/twin/update", {"event_id": "w", "twin": {"level": {"expected": {"value": "25"}}}})
        until(lambda: f"{LAMP}/twin/update/delta" in dict(heard))
        assert dict(heard)[f"{LAMP}/twin/update/delta"]["delta"] == {"level": "25"}
        say(port, f"{LAMP}/twin/update", {"event_id": "b", "twin": {"level": {"actual": {"value": "25"}}}})
        until(lambda: (twin := talking.twin("level")) is not None and twin.ack and twin.ack.state == "verified")

        say(port, f"{LAMP}/twin/update", "messagetoDevice_Twin_update")
        until(lambda: dict(heard)[f"{LAMP}/twin/update/result"].get("code") == 400)


def test_what_an_app_was_not_answered_for_is_not_lost_with_the_agent(talking: Agent) -> None:
    total = 300
    sent = threading.Event()
    app = paho.Client(CallbackAPIVersion.VERSION2)
    app.max_queued_messages_set(0)
    app.max_inflight_messages_set(total)
    app.connect("127.0.0.1", talking.broker_port)
    app.loop_start()

    def run() -> None:
        for number in range(1, total + 1):
            update = {"twin": {"level": {"actual": {"value": str(number)}}}}
            app.publish(f"{LAMP}/twin/update", json.dumps(update), qos=1).wait_for_publish(30)
            sent.wait(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    for killed_at in (30, 100, 200):
        until(lambda: len(talking.telemetry("level")) >= killed_at)  # noqa: B023
        talking.kill()
        talking.start([])
    thread.join(60)
    until(
        lambda: {row.value for row in talking.telemetry("level")} >= {str(number) for number in range(1, total + 1)}
    )
    app.disconnect()
    app.loop_stop()


def test_home_assistant_finds_a_device_sets_it_and_sees_it_go(talking: Agent) -> None:
    port = talking.broker_port
    document, root = "homeassistant/device/skerry_default_lamp/config", "skerry/eu-1/default/lamp"
    with hearing(port, "homeassistant/#", "skerry/#", f"{LAMP}/twin/+/+") as heard:
        until(lambda: document in dict(heard) and dict(heard).get("skerry/eu-1/presence") == "online")
        entity = dict(heard)[document]["components"]["level"]
        assert (entity["platform"], entity["command_topic"]) == ("number", f"{root}/level/set")
        until(lambda: dict(heard).get(f"{root}/availability") == "offline")
        say(port, f"{LAMP}/twin/update", {"twin": {"level": {"actual": {"value": "21"}}}})
        until(lambda: dict(heard).get(f"{root}/state") == {"level": 21})
        until(lambda: dict(heard).get(f"{root}/availability") == "online")
        say(port, entity["command_topic"], "25")
        until(lambda: (twin := talking.twin("level")) is not None and twin.desired and twin.desired.value == "25")
        told = len([topic for topic, _ in heard if topic == document])
        say(port, "homeassistant/status", "online")
        until(lambda: len([topic for topic, _ in heard if topic == document]) > told)
        talking.kill()
        until(lambda: dict(heard).get("skerry/eu-1/presence") == "offline")
