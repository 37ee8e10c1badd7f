"""What the MQTT driver makes of what a connection tells it, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from devices.mqtt import driver as driver_module
from devices.mqtt.config import Broker
from devices.mqtt.driver import MqttDriver
from devices.mqtt.port import Delivery, Hooks, Outgoing
from devices.port import DeviceConfig, PropertyConfig, Reading
from skerry.clocks import SystemClock
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "sensor")


@dataclass
class FakeConnection:
    """Does as it is told, and keeps what was published."""

    hooks: Hooks
    version: int = 5
    topics: set[str] = field(default_factory=set[str])
    published: list[Outgoing] = field(default_factory=list[Outgoing])
    acknowledged: list[int] = field(default_factory=list[int])
    heard: bool = True

    def start(self) -> None:
        self.hooks.connected(False)

    async def stop(self) -> None:
        pass

    def subscribe(self, topics: set[str]) -> None:
        self.topics = set(topics)

    def acknowledge(self, delivery: Delivery) -> bool:
        self.acknowledged.append(delivery.mid)
        return True

    async def settled(self, *, timeout_s: float) -> bool:
        return True

    async def publish(self, message: Outgoing, *, timeout_s: float) -> bool:
        self.published.append(message)
        return self.heard

    def say(self, topic: str, payload: str, *, mid: int = 1, qos: int = 1, correlation: bytes = b"") -> None:
        self.hooks.delivered(
            Delivery(
                life=1,
                mid=mid,
                topic=topic,
                payload=payload.encode(),
                qos=qos,
                retained=False,
                redelivered=False,
                correlation=correlation,
            )
        )


@dataclass
class Stage:
    driver: MqttDriver
    connection: FakeConnection
    taken: list[Reading]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def driving(visitors: dict[str, JsonObject], **protocol: Json) -> AsyncGenerator[Stage]:
    made: list[FakeConnection] = []

    def connect(_broker: Broker, _client: str, hooks: Hooks) -> FakeConnection:
        made.append(FakeConnection(hooks))
        return made[-1]

    driver = MqttDriver(clock=SystemClock(), client_id="eu-1", connect=connect)
    props = tuple(
        PropertyConfig(
            name=name, type="INT", writable=True, unit="", minimum=0, maximum=90, collect_ms=1000, visitor=visitor
        )
        for name, visitor in visitors.items()
    )
    config = DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "b", **protocol}, properties=props)
    assert await driver.configure([config]) == []
    taken: list[Reading] = []

    async def take() -> None:
        async for reading in driver.readings():
            taken.append(reading)  # noqa: PERF401 - the list is watched while it grows

    tasks = [asyncio.create_task(driver.run()), asyncio.create_task(take())]
    await settle()
    yield Stage(driver, made[0], taken)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_message_may_tell_several_properties_and_says_nothing_of_others() -> None:
    shared: JsonObject = {"topic": "z", "missing": "ignore"}
    async with driving({"t": {**shared, "path": "$.t"}, "h": {**shared, "path": "$.h"}}) as stage:
        stage.connection.say("z", '{"t": 3}', mid=1)
        stage.connection.say("z", '{"t": 4, "h": 5}', mid=2)
        stage.connection.say("z", "{}", mid=3)
        await settle()
        assert [(each.prop, each.value) for each in stage.taken] == [("t", 3), ("t", 4), ("h", 5)]
        assert stage.connection.acknowledged == [3], "nothing of it waits for the store"
        stage.driver.stored([each.receipt for each in stage.taken[:2]])
        assert stage.connection.acknowledged == [3, 1]
        stage.driver.stored([stage.taken[2].receipt])
        assert stage.connection.acknowledged == [3, 1, 2]


async def test_a_value_outside_of_the_models_range_is_uncertain() -> None:
    async with driving({"t": {"topic": "z"}}) as stage:
        stage.connection.say("z", "91")
        await settle()
    assert [(each.value, each.quality, each.reason) for each in stage.taken] == [
        (91, "uncertain", "above the maximum of 90")
    ]


async def test_all_of_several_availabilities_have_to_say_that_a_device_is_there() -> None:
    said: list[Json] = [
        {"topic": "bridge", "path": "$.state"},
        {"topic": "dev/here", "online": "1", "offline": "0"},
    ]
    async with driving({"t": {"topic": "z"}}, availability=said) as stage:
        assert stage.connection.topics >= {"z", "bridge", "dev/here"}
        for topic, payload, online in [
            ("bridge", '{"state": "offline"}', False),
            ("dev/here", "1", False),
            ("bridge", "rubbish", False),
            ("bridge", '{"state": "online"}', True),
            ("dev/here", "0", False),
            ("dev/here", "what?", False),
            ("dev/here", "1", True),
        ]:
            stage.connection.say(topic, payload)
            assert stage.driver.health()[0].online is online, (topic, payload)


async def test_a_topic_that_the_broker_withholds_gives_a_reason_and_no_value() -> None:
    async with driving({"t": {"topic": "z"}}) as stage:
        stage.connection.hooks.refused("z", "not authorized")
        await settle()
        assert [(each.value, each.reason) for each in stage.taken] == [(None, "topic z: not authorized")]
        health = stage.driver.health()[0]
        assert (health.online, health.reason) == (False, "not authorized")
        stage.connection.hooks.connected(False)
        assert stage.driver.health()[0].online


async def test_messages_that_nobody_keeps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "UNSTORED_MAX", 3)
    async with driving({"t": {"topic": "z"}}) as stage:
        for number in range(5):
            stage.connection.say("z", str(number), mid=0, qos=0)
        stage.connection.say("z", "7", mid=1)
        await settle()
    assert [each.value for each in stage.taken] == [0, 1, 2, 7]


async def test_an_answer_belongs_to_its_own_request_alone() -> None:
    asked: JsonObject = {"commandTopic": "set", "response": {"timeoutMs": 5000}}
    async with driving({"t": asked, "u": asked}) as stage:
        first = asyncio.create_task(stage.driver.write(KEY, "t", 1))
        second = asyncio.create_task(stage.driver.write(KEY, "u", 2))
        await settle()
        one, two = stage.connection.published
        assert one.response_topic == two.response_topic and one.response_topic in stage.connection.topics
        assert one.correlation != two.correlation and one.expiry_s == 5
        stage.connection.say(one.response_topic, "", correlation=b"somebody else's")
        stage.connection.say(two.response_topic, "", correlation=two.correlation)
        await settle()
        assert second.done() and not first.done()
        stage.connection.say(one.response_topic, "", correlation=one.correlation)
        assert [(await task).state for task in (first, second)] == ["applied", "applied"]


async def test_without_mqtt_5_the_correlation_is_in_the_payloads() -> None:
    asked: JsonObject = {
        "commandTopic": "set",
        "commandTemplate": '{"id": "${correlation}", "to": ${value}, "answer": "${response}"}',
        "response": {"topic": "answers", "correlationPath": "$.id", "statusPath": "$.ok"},
    }
    async with driving({"t": asked}) as stage:
        stage.connection.version = 4
        writing = asyncio.create_task(stage.driver.write(KEY, "t", 7))
        await settle()
        (sent,) = stage.connection.published
        number = sent.payload.decode().split('"')[3]
        assert sent.payload.decode() == f'{{"id": "{number}", "to": 7, "answer": "answers"}}'
        stage.connection.say("answers", '{"id": "other", "ok": true}')
        stage.connection.say("answers", "rubbish")
        stage.connection.say("answers", f'{{"id": "{number}", "ok": false}}')
        told = await writing
    assert (told.state, told.reason) == ("refused", "the device said false")


async def test_a_value_without_a_form_is_refused_and_nothing_is_sent() -> None:
    visitor: JsonObject = {"commandTopic": "set", "binary": {"dataType": "uint8"}}
    async with driving({"t": visitor}) as stage:
        assert (await stage.driver.write(KEY, "t", 300)).reason == "300 does not fit into one byte (raw 300)"
        assert stage.connection.published == []
        assert (await stage.driver.write(KEY, "t", 30)).state == "applied"
    assert [message.payload for message in stage.connection.published] == [b"\x1e"]


async def test_a_command_that_is_no_state_is_sent_once_and_not_kept() -> None:
    visitor: JsonObject = {"commandTopic": "set", "commandRetain": True, "commandExpiryMs": 1500}
    async with driving({"t": visitor}) as stage:
        await stage.driver.write(KEY, "t", 1)
        await stage.driver.write(KEY, "t", 1, once=True)
    kept, once = stage.connection.published
    assert (kept.qos, kept.retain, kept.expiry_s) == (1, True, 2)
    assert (once.qos, once.retain, once.expiry_s) == (0, False, 2)


async def test_what_waited_at_the_broker_is_not_passed_off_as_fresh_until_all_of_it_has_come() -> None:
    dated: JsonObject = {"topic": "d", "path": "$.t", "timestampPath": "$.at"}
    async with driving({"t": {"topic": "z"}, "d": dated}) as stage:
        connection = stage.connection
        connection.hooks.disconnected("lost")
        connection.hooks.connected(True)
        connection.say("z", "1", mid=1)
        stage.driver._sessions[next(iter(stage.driver._sessions))].seen_s = stage.driver._clock.monotonic_s() - 60
        connection.hooks.connected(True)
        await settle()
        (marker,) = connection.published
        assert marker.topic in connection.topics
        connection.say("z", "2", mid=2)
        connection.say("d", '{"t": 3, "at": 1750000000}', mid=3)
        connection.say("z", "4", mid=0, qos=0)
        connection.say(marker.topic, marker.payload.decode(), mid=4)
        connection.say("z", "5", mid=5)
        await settle()
    assert [(each.value, each.quality) for each in stage.taken] == [
        (1, "good"),
        (2, "uncertain"),
        (3, "good"),
        (4, "good"),
        (5, "good"),
    ]
    assert stage.taken[1].reason == "a message without a timestamp: it may have waited at the broker for up to 60 s"
    assert 4 in stage.connection.acknowledged
