"""A device written with npm's `mqtt` (MQTT 5) that answers commands: far from our own client library."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.port import PropertyConfig
from skerry.objects.json import JsonObject
from tests.devices.mqtt import test_driver
from tests.devices.mqtt.test_driver import KEY, Broker, config, driving, online
from tests.devices.raw_slave import until

broker = test_driver.broker

pytestmark = test_driver.pytestmark

DEVICE = """
const mqtt = require('mqtt')
const client = mqtt.connect(process.argv[2], {protocolVersion: 5, reconnectPeriod: 200,
  will: {topic: 'plc/here', payload: 'offline', qos: 1, retain: true}})
let held = 20
client.on('connect', () => client.subscribe('plc/set', {qos: 1}, () => {
  client.publish('plc/here', 'online', {qos: 1, retain: true})
  console.log('ready')
}))
client.on('message', (topic, payload, packet) => {
  const wanted = JSON.parse(payload).to, asked = packet.properties
  const refused = wanted > 50
  if (!refused) held = wanted
  const answer = refused ? {status: 'no', why: 'too hot'} : {status: 'done', now: held}
  client.publish(asked.responseTopic, JSON.stringify(answer),
    {qos: 1, properties: {correlationData: asked.correlationData}})
})
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    directory = tmp_path_factory.mktemp("mqtt-js")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), "mqtt@5"]
    got = subprocess.run(command, capture_output=True, text=True, timeout=110)
    if got.returncode:
        pytest.skip(f"npm has no mqtt here: {got.stderr[-200:]}")
    return directory


@pytest.fixture
def plc(library: Path, broker: Broker) -> Iterator[subprocess.Popen[str]]:
    script = library / "device.js"
    script.write_text(DEVICE)
    node = shutil.which("node")
    assert node is not None
    process = subprocess.Popen(
        [node, str(script), f"mqtt://127.0.0.1:{broker.port}"], cwd=library, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


async def test_a_device_of_mqtt_js_answers_and_its_last_will_is_heard(
    broker: Broker, plc: subprocess.Popen[str]
) -> None:
    visitor: JsonObject = {
        "commandTopic": "plc/set",
        "commandTemplate": '{"to": ${json}}',
        "response": {
            "statusPath": "$.status",
            "ok": ["done"],
            "reasonPath": "$.why",
            "valuePath": "$.now",
            "timeoutMs": 10000,
        },
    }
    setpoint = PropertyConfig(
        name="t", type="FLOAT", writable=True, unit="", minimum=None, maximum=None, collect_ms=1000, visitor=visitor
    )
    made = config(broker, setpoint, availability={"topic": "plc/here"})
    async with driving(made) as (driver, _):
        await until(lambda: online(driver), deadline_s=20)
        done = await driver.write(KEY, "t", 21.5)
        assert (done.state, done.read_back and done.read_back.value) == ("verified", 21.5)
        hot = await driver.write(KEY, "t", 80.0)
        assert (hot.state, hot.reason) == ("refused", "too hot")
        both = await asyncio.gather(driver.write(KEY, "t", 30.0), driver.write(KEY, "t", 60.0))
        assert [each.state for each in both] == ["verified", "refused"]
        plc.kill()
        await until(lambda: driver.health()[0].reason == "the device is said to be offline", deadline_s=20)
