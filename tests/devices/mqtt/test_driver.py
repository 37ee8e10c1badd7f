"""The MQTT driver against mosquitto: nothing lost, nothing taken twice, commands verified."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from devices.mqtt import client as client_module
from devices.mqtt.client import PahoConnection
from devices.mqtt.config import Broker as Address
from devices.mqtt.driver import MqttDriver
from devices.mqtt.port import Delivery, Hooks
from devices.port import DeviceConfig, PropertyConfig, Reading
from skerry.clocks import SystemClock
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.devices.raw_slave import until

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")

pytestmark = [pytest.mark.system, pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")]

CONNACK_BAD_VERSION = b"\x20\x02\x00\x01"

KEY = Key("devices.devices.kubeedge.io", "default", "sensor")


@dataclass
class Broker:
    """mosquitto on a free port."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.directory / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                          f"persistence true\npersistence_location {self.directory}/\nuser root\n")  # fmt: skip
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """SIGTERM: it saves sessions and queues."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Broker(tmp_path, port)
    made.start()
    yield made
    made.stop()


class Device:
    """The other end: publishes and hears commands."""

    def __init__(self, broker: Broker) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _client, _data, message: self.heard.append(
            (message.topic, bytes(message.payload))
        )
        self.client.max_queued_messages_set(0)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async("127.0.0.1", broker.port)
        self.client.loop_start()

    def say(self, topic: str, payload: object, *, retain: bool = False) -> None:
        text = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        self.client.publish(topic, text, qos=1, retain=retain)


@pytest.fixture
async def device(broker: Broker) -> AsyncGenerator[Device]:
    made = Device(broker)
    await until(made.client.is_connected)
    yield made
    made.client.disconnect()
    await asyncio.to_thread(made.client.loop_stop)


def prop(name: str, visitor: JsonObject, type: str = "FLOAT") -> PropertyConfig:
    return PropertyConfig(
        name=name, type=type, writable=True, unit="", minimum=None, maximum=None, collect_ms=1000, visitor=visitor
    )


SEQUENCED: JsonObject = {"topic": "s/t", "path": "$.t", "sequencePath": "$.n", "timestampPath": "$.at"}


def config(broker: Broker, *props: PropertyConfig, **more: JsonObject | int | str) -> DeviceConfig:
    return DeviceConfig(
        device=KEY,
        protocol="mqtt",
        protocol_config={"host": "127.0.0.1", "port": broker.port, **more},
        properties=props,
    )


@asynccontextmanager
async def driving(made: DeviceConfig, *, away_s_max: float = 30) -> AsyncGenerator[tuple[MqttDriver, list[Reading]]]:
    driver = MqttDriver(clock=SystemClock(), client_id="eu-1", away_s_max=away_s_max)
    taken: list[Reading] = []

    async def take() -> None:
        async for reading in driver.readings():
            taken.append(reading)  # noqa: PERF401 - the list is watched while it grows

    assert await driver.configure([made]) == []
    tasks = [asyncio.create_task(driver.run()), asyncio.create_task(take())]
    try:
        yield driver, taken
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def online(driver: MqttDriver) -> bool:
    """Connected, and the broker has taken the subscriptions: what is said from now on is heard."""
    connections = [session.connection for session in driver._sessions.values()]
    heard = all(isinstance(each, PahoConnection) and each._granted >= each._topics for each in connections)
    return heard and driver.health()[0].online


async def test_readings_come_with_their_own_time_and_number(broker: Broker, device: Device) -> None:
    async with driving(config(broker, prop("t", SEQUENCED))) as (driver, taken):
        await until(lambda: online(driver))
        device.say("s/t", {"t": 21.5, "n": 7, "at": 1_750_000_000})
        device.say("s/t", {"t": "warm", "n": 8, "at": 1_750_000_001})
        await until(lambda: len(taken) == 2)
    assert (taken[0].value, taken[0].source_seq, taken[0].source_ms) == (21.5, 7, 1_750_000_000_000)
    assert taken[1].value is None and "not a number" in taken[1].reason


async def test_what_was_not_stored_comes_again_and_in_order_after_a_restart_of_the_agent(
    broker: Broker, device: Device
) -> None:
    made = config(broker, prop("t", SEQUENCED))
    async with driving(made) as (driver, taken):
        await until(lambda: online(driver))
        for number in range(10):
            device.say("s/t", {"t": 1, "n": number, "at": 1_750_000_000})
        await until(lambda: len(taken) == 10)
        driver.stored([reading.receipt for reading in taken[:4]])
        await until(lambda: not driver._receipts.keys() & {reading.receipt for reading in taken[:4]})
    for number in range(10, 40):
        device.say("s/t", {"t": 1, "n": number, "at": 1_750_000_000})
    async with driving(made) as (driver, taken):
        await until(lambda: len(taken) >= 20)
        while not taken or taken[-1].source_seq != 39:
            done = len(taken)
            driver.stored([reading.receipt for reading in taken])
            await until(lambda: len(taken) > done or taken[-1].source_seq == 39)  # noqa: B023
    numbers = [reading.source_seq for reading in taken]
    # Those that were stored and whose acknowledgement was on its way when the agent ended may come as well.
    again = 10 - (numbers[0] or 0)
    assert 6 <= again <= 10
    assert numbers == list(range(10 - again, 40))
    assert [reading.redelivered for reading in taken[:again]] == [True] * again and not taken[-1].redelivered


async def test_a_broken_connection_gives_no_reading_twice(broker: Broker, device: Device) -> None:
    async with driving(config(broker, prop("t", {"topic": "s/t"}))) as (driver, taken):
        await until(lambda: online(driver))
        for number in range(5):
            device.say("s/t", str(number))
        await until(lambda: len(taken) == 5)
        broker.stop()
        await until(lambda: not online(driver))
        driver.stored([reading.receipt for reading in taken[:3]])  # durable, but nobody can be told
        broker.start()
        await until(lambda: online(driver), deadline_s=60)
        await until(device.client.is_connected, deadline_s=60)
        driver.stored([reading.receipt for reading in taken[3:]])
        device.say("s/t", "5")
        await until(lambda: len(taken) == 6)
        driver.stored([taken[5].receipt])
        await until(lambda: not driver._receipts)
    assert [reading.value for reading in taken] == [0, 1, 2, 3, 4, 5]
    async with driving(config(broker, prop("t", {"topic": "s/t"}))) as (driver, taken):
        await until(lambda: online(driver))
        device.say("s/t", "6")
        await until(lambda: bool(taken))
        assert taken[0].value == 6, "everything before was acknowledged"


async def test_a_command_is_verified_by_what_the_device_tells(broker: Broker, device: Device) -> None:
    fan: JsonObject = {
        "topic": "fan",
        "path": "$.on",
        "commandTopic": "fan/set",
        "commandTemplate": '{"on": ${value}}',
    }
    silent: JsonObject = {"commandTopic": "lamp/set"}
    made = config(broker, prop("fan", fan, "BOOLEAN"), prop("lamp", silent, "BOOLEAN"), verifyTimeoutMs=300)
    device.client.subscribe([("fan/set", 1), ("lamp/set", 1)])
    async with driving(made) as (driver, _):
        await until(lambda: online(driver))
        writing = asyncio.create_task(driver.write(KEY, "fan", True))
        await until(lambda: device.heard == [("fan/set", b'{"on": true}')])
        device.say("fan", {"on": False})
        device.say("fan", {"on": True})
        assert (await writing).state == "verified"
        assert (await driver.write(KEY, "lamp", True)).state == "applied"
        deaf = await driver.write(KEY, "fan", False)
        assert (deaf.state, deaf.reason) == ("applied", "sent; the device did not tell this value within 0.3 s")
        broker.stop()
        await until(lambda: not online(driver))
        assert (await driver.write(KEY, "fan", True)).state == "failed"


async def test_a_command_waits_for_no_other_packet(broker: Broker, device: Device) -> None:
    async with driving(config(broker, prop("t", SEQUENCED))) as (driver, _):
        await until(lambda: online(driver))
        (session,) = driver._sessions.values()
        assert isinstance(session.connection, PahoConnection)
        sock = session.connection._client.socket()
        assert isinstance(sock, socket.socket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "Nagle's rule, and the broker's late answers"


async def test_availability_and_silence_make_values_stale(broker: Broker, device: Device) -> None:
    made = config(broker, prop("t", {"topic": "s/t"}), availability={"topic": "s/state"}, expireAfterMs=600)
    device.say("s/state", "offline", retain=True)
    async with driving(made) as (driver, taken):
        await until(lambda: bool(taken))
        assert (taken[0].quality, taken[0].reason) == ("bad", "the device is said to be offline")
        device.say("s/state", "online", retain=True)
        device.say("s/t", "3")
        await until(lambda: online(driver) and taken[-1].value == 3)
        await until(lambda: taken[-1].value is None)
        assert taken[-1].reason == "no message for 0.6 s"


async def test_a_retained_value_without_a_time_is_not_passed_off_as_fresh(broker: Broker, device: Device) -> None:
    device.say("s/t", "3", retain=True)
    device.say("s/u", {"t": 4, "n": 1, "at": 1_750_000_000}, retain=True)
    await until(lambda: device.client._out_messages == {})
    dated = prop("u", {**SEQUENCED, "topic": "s/u"})
    async with driving(config(broker, prop("t", {"topic": "s/t"}), dated)) as (_, taken):
        await until(lambda: len(taken) == 2)
    by_name = {reading.prop: reading for reading in taken}
    assert (by_name["t"].quality, by_name["t"].value) == ("uncertain", 3)
    assert (by_name["u"].quality, by_name["u"].source_ms) == ("good", 1_750_000_000_000)


async def test_a_broker_that_is_not_there_is_said_by_name() -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with driving(config(Broker(Path(), port), prop("t", {"topic": "s/t"}))) as (driver, _):
        await until(lambda: "cannot connect" in driver.health()[0].reason)
        assert driver.health()[0].reason == f"cannot connect to broker 127.0.0.1:{port}: Connection refused"


async def test_values_are_old_when_their_broker_stays_away(broker: Broker, device: Device) -> None:
    async with driving(config(broker, prop("t", {"topic": "s/t"})), away_s_max=0.3) as (driver, taken):
        await until(lambda: online(driver))
        device.say("s/t", 21.5)
        await until(lambda: len(taken) == 1)
        broker.stop()
        await until(lambda: len(taken) == 2)
        assert taken[1].value is None
        assert "lost" in taken[1].reason or "cannot connect" in taken[1].reason


@asynccontextmanager
async def older(broker: Broker, *, hangs_up: bool) -> AsyncGenerator[int]:
    """A way to the broker on which only MQTT 3.1.1 is spoken: it hangs up on any other, or says so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(4096)
        there: asyncio.StreamWriter | None = None
        try:
            if first[2:8] == b"\x00\x04MQTT" and first[8] == 5:
                writer.write(b"" if hangs_up else CONNACK_BAD_VERSION)
                return
            back, there = await asyncio.open_connection("127.0.0.1", broker.port)
            there.write(first)
            await asyncio.gather(_pump(reader, there), _pump(back, writer))
        finally:
            for end in (writer, there):
                if end is not None:
                    end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def level(driver: MqttDriver) -> int:
    (session,) = driver._sessions.values()
    return session.connection.version if session.connection else 0


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_an_older_broker_is_spoken_to_in_its_own_version(
    broker: Broker, device: Device, hangs_up: bool
) -> None:
    async with older(broker, hangs_up=hangs_up) as port:
        made = config(Broker(broker.directory, port), prop("t", {"topic": "s/t", **asked(3000)}))
        async with driving(made) as (driver, taken):
            await until(lambda: online(driver), deadline_s=60)
            assert level(driver) == 4
            device.say("s/t", "3", retain=True)  # whether it is subscribed to by now, or not yet
            await until(lambda: len(taken) == 1)
            told = await driver.write(KEY, "t", 4.0)
            assert told.state == "refused" and "correlationPath" in told.reason


async def test_an_older_broker_that_hangs_up_is_dialled_again_at_once_and_another_one_with_pauses(
    monkeypatch: pytest.MonkeyPatch, broker: Broker, device: Device
) -> None:
    monkeypatch.setattr(client_module, "RECONNECT_S", (3600, 3600))  # whoever waits is not there in time
    async with older(broker, hangs_up=True) as port:
        made = config(Broker(broker.directory, port), prop("t", {"topic": "s/t"}))
        async with driving(made) as (driver, _):
            await until(lambda: online(driver), deadline_s=60)
            assert level(driver) == 4
    dialled: list[int] = []

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.append(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        made = config(Broker(broker.directory, server.sockets[0].getsockname()[1]), prop("t", {"topic": "s/t"}))
        async with driving(made):
            await until(lambda: len(dialled) == 3, deadline_s=60)  # twice with 5, once with 3.1.1
            await asyncio.sleep(0.3)
            assert len(dialled) == 3


async def test_a_version_that_is_asked_for_is_the_only_one(broker: Broker, device: Device) -> None:
    async with driving(config(broker, prop("t", {"topic": "s/t"}), version="3.1.1")) as (driver, _):
        await until(lambda: online(driver))
        assert level(driver) == 4
    async with driving(config(broker, prop("t", {"topic": "s/t"}))) as (driver, _):
        await until(lambda: online(driver))
        assert level(driver) == 5


def asked(timeout_ms: int) -> JsonObject:
    """A visitor of a device that answers."""
    response: JsonObject = {"statusPath": "$.status", "ok": ["done"], "reasonPath": "$.why", "valuePath": "$.now"}
    template = '{"to": ${json}}'
    return {
        "commandTopic": "s/set",
        "commandTemplate": template,
        "response": {**response, "timeoutMs": timeout_ms},
    }


class Answering:
    """A device of MQTT 5 that answers each command with the next of what it was given, as the request says."""

    def __init__(self, broker: Broker, answers: list[JsonObject | None], *, late: bool = False) -> None:
        self.heard: list[bytes] = []
        self._answers = answers
        self._late = late
        self._before: object = None
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = self._asked
        self.client.connect("127.0.0.1", broker.port)
        self.client.subscribe("s/set", 1)
        self.client.loop_start()

    def _asked(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self.heard.append(bytes(message.payload))
        answer = self._answers.pop(0)
        said = Properties(PacketTypes.PUBLISH)
        asked: Any = message.properties
        correlation = asked.CorrelationData
        setattr(said, "CorrelationData", (self._before or b"none") if self._late else correlation)  # noqa: B010
        self._before = correlation
        if answer is not None:
            client.publish(asked.ResponseTopic, json.dumps(answer), qos=1, properties=said)

    async def stop(self) -> None:
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)


@pytest.mark.usefixtures("device")
async def test_a_device_answers_a_write_with_what_became_of_it(broker: Broker) -> None:
    plc = Answering(
        broker,
        [{"status": "done", "now": 4}, {"status": "no", "why": "locked by hand"}, {"status": "done", "now": 5}, None],
    )
    made = config(broker, prop("t", asked(1000)))
    async with driving(made) as (driver, _):
        await until(lambda: online(driver))
        done = await driver.write(KEY, "t", 4.0)
        assert (done.state, done.read_back and done.read_back.value) == ("verified", 4.0)
        no = await driver.write(KEY, "t", 4.5, once=True)
        assert (no.state, no.reason) == ("refused", "locked by hand")
        other = await driver.write(KEY, "t", 4.5)
        assert (other.state, other.reason) == ("refused", "the device answered that it has 5.0")
        deaf = await driver.write(KEY, "t", 4.5)
        assert (deaf.state, deaf.reason) == ("failed", "sent; the device did not answer within 1 s")
    assert plc.heard == [b'{"to": 4.0}', b'{"to": 4.5}', b'{"to": 4.5}', b'{"to": 4.5}']
    await plc.stop()


@pytest.mark.usefixtures("device")
async def test_a_late_answer_is_not_taken_for_that_to_another_request(broker: Broker) -> None:
    plc = Answering(broker, [{"status": "done", "now": 4}, {"status": "done", "now": 5}], late=True)
    made = config(broker, prop("t", asked(400)))
    async with driving(made) as (driver, _):
        await until(lambda: online(driver))
        assert [(await driver.write(KEY, "t", value)).state for value in (4.0, 5.0)] == ["failed", "failed"]
    await plc.stop()


async def test_a_device_is_asked_for_its_value(broker: Broker, device: Device) -> None:
    asked: JsonObject = {"topic": "s/t", "readTopic": "s/t/get", "readTemplate": '{"p": "${property}"}'}
    device.client.subscribe("s/t/get", 1)
    async with driving(config(broker, prop("t", asked), verifyTimeoutMs=500)) as (driver, taken):
        await until(lambda: online(driver))
        reading = asyncio.create_task(driver.read(KEY, "t"))
        await until(lambda: device.heard == [("s/t/get", b'{"p": "t"}')])
        device.say("s/t", "8.5")
        assert (await reading).value == 8.5 and (await reading).receipt == taken[0].receipt
        silent = await driver.read(KEY, "t")
        assert (silent.value, silent.reason) == (None, "asked; the device did not tell within 0.5 s")


async def test_a_command_that_nobody_hears_has_failed(broker: Broker) -> None:
    async with driving(config(broker, prop("t", {"commandTopic": "s/nobody"}))) as (driver, _):
        await until(lambda: online(driver))
        done = await driver.write(KEY, "t", 4.0)
    assert (done.state, done.reason) == ("failed", "nobody has subscribed to s/nobody")


SAID = (b"up", b"down", b"up")


async def test_a_gateway_says_that_it_is_there_and_its_last_will_that_it_is_not(
    broker: Broker, device: Device
) -> None:
    device.client.subscribe("gw/state", 1)
    presence: JsonObject = {"topic": "gw/state", "online": "up", "offline": "down"}
    async with driving(config(broker, prop("t", {"topic": "s/t"}), presence=presence)) as (driver, _):
        await until(lambda: device.heard[-1:] == [("gw/state", b"up")])
        (session,) = driver._sessions.values()
        assert isinstance(session.connection, PahoConnection)
        sock = session.connection._client.socket()
        assert isinstance(sock, socket.socket)
        sock.shutdown(socket.SHUT_RDWR)
        # What was not acknowledged when the connection broke is said again beside the new one.
        await until(lambda: [payload for payload, _ in groupby(device.heard)] == [("gw/state", s) for s in SAID])
    await until(lambda: device.heard[-1] == ("gw/state", b"down"))


async def test_a_reconnect_brings_no_retained_value_once_more(broker: Broker, device: Device) -> None:
    async with driving(config(broker, prop("t", {"topic": "s/t", "commandTopic": "s/x"}))) as (driver, taken):
        await until(lambda: online(driver))
        device.say("s/t", "3", retain=True)
        await until(lambda: len(taken) == 1)
        driver.stored([taken[0].receipt])
        assert (await driver.write(KEY, "t", 4.0)).state == "failed", (
            "the broker has answered: it has what went before"
        )
        (session,) = driver._sessions.values()
        assert isinstance(session.connection, PahoConnection) and "s/t" in session.connection._granted
        sock = session.connection._client.socket()
        assert isinstance(sock, socket.socket)
        sock.shutdown(socket.SHUT_RDWR)
        await until(lambda: not online(driver))
        await until(lambda: online(driver), deadline_s=60)
        device.say("s/t", "4")
        await until(lambda: len(taken) == 2)
    assert [(reading.value, reading.quality) for reading in taken] == [(3.0, "good"), (4.0, "good")]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_broker_says_that_it_has_taken_what_was_acknowledged(
    broker: Broker, device: Device, version: Literal["5", "3.1.1"]
) -> None:
    heard: list[Delivery] = []
    connections: list[bool] = []
    hooks = Hooks(
        connected=connections.append,
        disconnected=lambda _: None,
        delivered=heard.append,
        refused=lambda _topic, _reason: None,
    )
    connection = PahoConnection(Address(host="127.0.0.1", port=broker.port, version=version), "gw-settled", hooks)
    assert not await connection.settled(timeout_s=0.1), "nothing is connected"
    connection.start()
    try:
        connection.subscribe({"s/t"})
        await until(lambda: "s/t" in connection._granted)
        device.say("s/t", "1")
        await until(lambda: len(heard) == 1)
        assert connection.acknowledge(heard[0])
        assert await connection.settled(timeout_s=30)
    finally:
        await connection.stop()
    assert not await connection.settled(timeout_s=0.1), "it hung up"
