"""The gateway's own MQTT broker with clients that are not ours: mosquitto's, paho's and npm's mqtt, and kill -9."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgecore.broker.users import add_user
from tests.system import test_edge_agent, test_mqtt_js
from tests.system.test_edge_agent import Gateway

ROOT: Final = Path(__file__).parents[2]
KILLS: Final = int(os.environ.get("SKERRY_BROKER_KILLS", "4"))
PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")
library = test_mqtt_js.library

pytestmark = pytest.mark.system
needs_mosquitto = pytest.mark.skipif(SUB is None, reason="mosquitto's clients are not installed")


def until(true: Callable[[], object], deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


@dataclass
class Server:
    """The broker as a process."""

    directory: Path
    port: int
    anybody: bool = True
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.system.broker_process", str(self.port), str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *(["anybody"] if self.anybody else [])], cwd=ROOT, stdout=log, stderr=log
            )
        until(self._answers)

    def _answers(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Server(tmp_path, port)
    yield made
    made.kill()


@dataclass
class Client:
    """paho's, with what it heard."""

    client: paho.Client
    heard: list[paho.MQTTMessage] = field(default_factory=list[paho.MQTTMessage])
    resumed: list[bool] = field(default_factory=list[bool])
    ended: list[int] = field(default_factory=list[int])

    def payloads(self) -> list[bytes]:
        return [bytes(message.payload) for message in self.heard]

    def say(self, topic: str, payload: bytes, *, qos: int = 1, **more: Any) -> None:
        self.client.publish(topic, payload, qos=qos, **more).wait_for_publish(30)


@contextmanager
def connected(
    port: int,
    name: str,
    *,
    five: bool = True,
    expiry_s: int = 0,
    will: Any = None,
    account: tuple[str, str] | None = None,
    **said: int,
) -> Generator[Client]:
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        clean_session=None if five else not expiry_s,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
    )
    made = Client(client)
    client.on_connect = lambda _c, _d, flags, code, _p: made.resumed.append(flags.session_present)
    client.on_message = lambda _c, _d, message: made.heard.append(message)
    client.on_disconnect = lambda _c, _d, _f, code, _p: made.ended.append(code.value)
    client.reconnect_delay_set(1, 1)
    client.max_queued_messages_set(0)
    if will is not None:
        client.will_set(*will)
    if account is not None:
        client.username_pw_set(*account)
    more: dict[str, Any] = {}
    if five:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry_s
        for key, value in said.items():
            setattr(properties, key, value)
        more = {"clean_start": not expiry_s, "properties": properties}
    client.connect("127.0.0.1", port, **more)
    client.loop_start()
    until(lambda: made.resumed)
    try:
        yield made
    finally:
        client.disconnect()
        client.loop_stop()


def subscribed(client: Client, topic: str, qos: int = 1, **options: Any) -> None:
    done = threading.Event()
    client.client.on_subscribe = lambda *_: done.set()
    if options:
        client.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options))
    else:
        client.client.subscribe(topic, qos)
    assert done.wait(30)


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquittos_clients_with_passwords_and_rights(server: Server, version: str) -> None:
    server.anybody = False
    add_user(server.directory / "users.json", "ann", b"right", publish=["site/%u/#"], subscribe=["site/#"])
    server.start()
    assert PUB is not None and SUB is not None
    place = ["-V", version, "-p", str(server.port), "-u", "ann"]
    wrong = subprocess.run([PUB, *place, "-P", "wrong", "-t", "a", "-m", "x"], capture_output=True, timeout=30)
    assert wrong.returncode != 0
    said = ["-P", "right", "-q"]

    def say(topic: str, text: str, qos: str) -> None:
        subprocess.run([PUB or "", *place, *said, qos, "-t", topic, "-m", text], capture_output=True, timeout=30)

    heard: list[str] = []
    command = [SUB, *place, *said, "2", "-t", "site/#", "-v"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hearing:
        thread = threading.Thread(target=lambda: heard.extend(hearing.stdout or ()))
        thread.start()
        try:
            until(lambda: say("site/ann/ready", "x", "0") or heard)
            for qos in ("0", "1", "2"):
                for topic in ("site/bob/t", "site/ann/t"):  # the first is another's
                    say(topic, f"of {qos}", qos)
            until(lambda: "site/ann/t of 2\n" in heard)
        finally:
            hearing.terminate()
            thread.join(10)
    assert [line for line in heard if "ready" not in line] == [f"site/ann/t of {qos}\n" for qos in (0, 1, 2)]


def test_what_paho_expects_of_mqtt_5(server: Server) -> None:
    server.start()
    with connected(server.port, "p") as publisher, connected(server.port, "h", ReceiveMaximum=2) as hearer:
        subscribed(hearer, "a/#", 2, noLocal=True, retainAsPublished=True)
        said = Properties(PacketTypes.PUBLISH)
        said.UserProperty = [("hlc", "7"), ("hlc", "8")]
        said.ContentType, said.ResponseTopic, said.CorrelationData = "text/plain", "back", b"\x00\x01"
        said.MessageExpiryInterval = 60
        for number in range(20):
            publisher.say("a/b", b"%d" % number, qos=number % 3, properties=said, retain=number == 19)
        until(lambda: len(hearer.heard) == 20)
        for qos in range(3):
            numbers = [int(message.payload) for message in hearer.heard if message.qos == qos]
            assert numbers == list(range(qos, 20, 3))
        last: Any = hearer.heard[-1].properties
        assert last.UserProperty == [("hlc", "7"), ("hlc", "8")]
        assert last.CorrelationData == b"\x00\x01" and 0 < last.MessageExpiryInterval <= 60
        hearer.client.publish("a/mine", b"no", qos=1).wait_for_publish(30)
        publisher.say("a/end", b"end")
        until(lambda: hearer.payloads()[-1] == b"end")
        assert b"no" not in hearer.payloads()


def test_a_newer_connection_takes_over_and_a_will_is_heard(server: Server) -> None:
    server.start()
    with connected(server.port, "h") as hearer:
        subscribed(hearer, "gone")
        first = paho.Client(CallbackAPIVersion.VERSION2, client_id="same", protocol=MQTTProtocolVersion.MQTTv5)
        ended: list[int] = []

        def leave(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            ended.append(code.value)
            first.disconnect()

        first.on_disconnect = leave
        first.will_set("gone", b"bye", qos=1)
        first.connect("127.0.0.1", server.port)
        first.loop_start()
        until(first.is_connected)
        with connected(server.port, "same"):
            until(lambda: ended)
        first.loop_stop()
        assert ended[0] == 0x8E
        until(lambda: hearer.payloads() == [b"bye"])


@pytest.mark.timeout(300 + 20 * KILLS)
@pytest.mark.parametrize("five", [True, False])
def test_kills_lose_nothing_that_was_acknowledged_and_bring_nothing_of_qos_2_twice(
    server: Server, *, five: bool
) -> None:
    """What mosquitto loses (no autosave within seconds), and amqtt never kept."""
    server.start()
    chance = random.Random(5 if five else 3)
    with connected(server.port, "h", five=five, expiry_s=3600) as hearer:
        subscribed(hearer, "a", 2)
    acknowledged: list[bytes] = []
    stop = threading.Event()

    def publish() -> None:
        with connected(server.port, "p", five=five, expiry_s=3600) as publisher:
            number = 0
            while not stop.is_set():
                payload = b"%d" % number
                info = publisher.client.publish("a", payload, qos=1 + number % 2)
                number += 1
                if info.rc:  # killed just now: it is sent when the broker is there again, and paho does not say when
                    until(publisher.client.is_connected)
                    continue
                info.wait_for_publish(60)
                acknowledged.append(payload)

    thread = threading.Thread(target=publish)
    thread.start()
    for _ in range(KILLS):
        so_far = len(acknowledged)
        until(lambda: len(acknowledged) >= so_far + chance.randrange(20, 60))  # noqa: B023
        server.kill()
        server.start()
    so_far = len(acknowledged)
    until(lambda: len(acknowledged) > so_far)
    stop.set()
    thread.join(90)
    assert not thread.is_alive()
    server.kill()
    server.start()
    with connected(server.port, "h", five=five, expiry_s=3600) as hearer:
        assert hearer.resumed == [True]
        until(lambda: set(hearer.payloads()) >= set(acknowledged))
        of_two = [payload for payload in hearer.payloads() if int(payload) % 2]
        assert len(of_two) == len(set(of_two))
        assert of_two == sorted(of_two, key=int)


JS: Final = """
const mqtt = require('mqtt')
const [port, version] = process.argv.slice(2)
const url = 'mqtt://127.0.0.1:' + port, protocolVersion = Number(version)
const hearer = mqtt.connect(url, {protocolVersion, clientId: 'js-h', clean: false,
  ...(protocolVersion === 5 ? {properties: {sessionExpiryInterval: 100, topicAliasMaximum: 5}} : {})})
const heard = []
hearer.on('message', (topic, payload, packet) => {
  heard.push([topic, payload.toString(), packet.qos, packet.retain])
  if (heard.length === 6) {
    console.log(JSON.stringify(heard))
    hearer.end(); publisher.end()
  }
})
const publisher = mqtt.connect(url, {protocolVersion, clientId: 'js-p',
  ...(protocolVersion === 5 ? {autoUseTopicAlias: true, autoAssignTopicAlias: true} : {})})
publisher.on('connect', () => publisher.publish('js/kept', 'k', {qos: 1, retain: true}, () =>
  hearer.subscribe('js/#', {qos: 2}, () => {
    for (let n = 0; n < 5; n++) publisher.publish('js/t', String(n), {qos: 2})
  })))
"""


@pytest.mark.parametrize("version", [4, 5])
def test_npms_mqtt(server: Server, library: Path, version: int) -> None:
    server.start()
    script = library / "broker.js"
    script.write_text(JS)
    node = shutil.which("node")
    assert node is not None
    command = [node, str(script), str(server.port), str(version)]
    got = subprocess.run(command, cwd=library, capture_output=True, text=True, timeout=60)
    assert got.returncode == 0, got.stderr
    expected = [["js/kept", "k", 1, True], *(["js/t", str(number), 2, False] for number in range(5))]
    assert json.loads(got.stdout) == expected


def raw(port: int, chunks: Sequence[bytes]) -> bytes:
    """What is answered to bytes, until the connection is closed or nothing comes."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as peer:
        got = b""
        try:
            for chunk in chunks:
                peer.sendall(chunk)
            while data := peer.recv(4096):
                got += data
        except OSError:
            pass
        return got


def test_peers_that_are_no_clients_cost_nobody_anything(server: Server) -> None:
    server.start()
    chance = random.Random(7)
    hello = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00"
    with connected(server.port, "h") as hearer:
        subscribed(hearer, "a")
        for _ in range(30):
            raw(server.port, [b"\x00" + chance.randbytes(200)])
            raw(server.port, [hello, b"\xf0\x00", chance.randbytes(200)])
        assert raw(server.port, [hello, b"\x30\xff\xff\xff\x7f"]).endswith(b"\xe0\x02\x95\x00")
        with connected(server.port, "p") as publisher:
            publisher.say("a", b"still here")
        until(lambda: hearer.payloads() == [b"still here"])
    assert server.process is not None and server.process.poll() is None
    assert "Traceback" not in (server.directory / "log").read_text()


gate = test_edge_agent.gate


@needs_mosquitto
def test_an_agent_is_the_broker_of_its_apps(gate: Gateway) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gate.options = ("--mqtt-broker", "embedded", "--mqtt-listen", f"127.0.0.1:{port}")
    users = [sys.executable, "-m", "edgecore.main", "mqtt-user", "--data", str(gate.data)]
    gate.start()
    until(lambda: "bus_connected" in gate.log())
    add = subprocess.run([*users, "--add", "app", "--publish", "$hw/#", "--subscribe", "$hw/#"], cwd=ROOT, timeout=60)
    assert add.returncode == 0
    topic = "$hw/events/node/gate-1/membership/get"
    password = (gate.data / "mqtt" / "app.password").read_text().strip()
    place = ["-p", str(port), "-u", "app", "-P", password]
    command = [SUB or "", *place, "-t", f"{topic}/result", "-C", "1", "-W", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hearing:

        def ask() -> bool:
            subprocess.run([PUB or "", *place, "-q", "1", "-t", topic, "-m", "{}"], timeout=30, check=True)
            return hearing.poll() is not None

        until(ask)
        assert hearing.stdout is not None and "devices" in json.loads(hearing.stdout.read())
    taken = [PUB or "", *place, "-i", "skerry-gate-1-rules", "-t", topic, "-m", "{}"]  # the agent's own client id
    assert subprocess.run(taken, capture_output=True, timeout=30).returncode != 0
    assert (gate.data / "mqtt").stat().st_mode & 0o77 == 0
    assert password not in gate.log()
    assert subprocess.run([*users, "--remove", "app"], cwd=ROOT, timeout=60).returncode == 0
    refused = subprocess.run([PUB or "", *place, "-t", topic, "-m", "{}"], capture_output=True, timeout=30)
    assert refused.returncode != 0
    assert gate.end(signal.SIGTERM) == 0
