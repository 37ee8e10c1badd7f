"""What a Sink tells a broker, and what it makes of one that does not answer."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from paho.mqtt.client import Client

from cloudcore.sinks import mqtt
from cloudcore.sinks.mqtt import MqttReceiver
from cloudcore.sinks.port import RefusedRowsError, SlowError
from cloudcore.sinks.rows import Row
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from tests.cloudcore.sinks.test_forms import HOLE, ROW

SPEC: JsonObject = {"url": "mqtt://127.0.0.1:1", "topic": "plant/{property}"}


@dataclass
class Message:
    acknowledged: bool

    def wait_for_publish(self, timeout: float) -> None:
        assert timeout > 0

    def is_published(self) -> bool:
        return self.acknowledged


@dataclass
class Broker:
    """A connection to one."""

    connected: bool = True
    acknowledges: bool = True
    hangs_up: bool = False
    """When it is sent something."""
    told: list[tuple[str, bytes, int]] = field(default_factory=list[tuple[str, bytes, int]])
    threads: set[str] = field(default_factory=set[str])
    ended: int = 0

    def is_connected(self) -> bool:
        return self.connected

    def publish(self, topic: str, body: bytes, qos: int) -> Message:
        self.threads.add(threading.current_thread().name)
        self.told.append((topic, body, qos))
        self.connected = not self.hangs_up
        return Message(self.acknowledges and self.connected)

    def disconnect(self) -> None:
        self.ended += 1

    def loop_stop(self) -> None:
        """Nothing runs."""

    def reinitialise(self) -> None:
        """Nothing is open."""


def receiver(broker: Broker) -> MqttReceiver:
    class Connected(MqttReceiver):
        def _connected(self) -> Client:
            return cast(Client, broker)

    return Connected(SPEC, {}, client_id="c", epoch="e1")


async def test_each_row_is_a_message_of_qos_1_and_says_in_which_life_its_number_is() -> None:
    broker = Broker()
    made = receiver(broker)
    assert await made.send([ROW, HOLE]) == 0
    (first, second) = broker.told
    assert first[0] == second[0] == "plant/flow" and first[2] == second[2] == 1
    assert json.loads(first[1]) == ROW.shown("e1") and json.loads(second[1])["gap"]["id"] == 1
    assert all(name.startswith("sink-mqtt") for name in broker.threads), "no thread that others wait for"
    await made.close()
    assert broker.ended == 1


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (replace(ROW, prop="é" * 40_000), "its topic is longer than 65535 bytes"),
        (replace(ROW, value="v" * 90_000), "it is longer than 90000 bytes"),
    ],
)
async def test_a_row_that_no_message_can_tell_is_refused_before_any_is_told(
    row: Row, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "BODY_BYTES_MAX", 90_000)
    broker = Broker()
    with pytest.raises(RefusedRowsError, match=why):
        await receiver(broker).send([ROW, row])
    assert not broker.told


@pytest.mark.parametrize(
    ("broker", "error"),
    [
        (Broker(connected=False), UnavailableError),
        (Broker(hangs_up=True), UnavailableError),
        (Broker(acknowledges=False), SlowError),
    ],
)
async def test_who_does_not_acknowledge_is_slow_and_who_is_gone_is_away(broker: Broker, error: type[Any]) -> None:
    with pytest.raises(UnavailableError) as caught:
        await receiver(broker).send([ROW])
    assert type(caught.value) is error
    assert broker.ended == 1
