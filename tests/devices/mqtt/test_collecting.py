"""Listening on a broker for a while: mosquitto's, and one of long ago."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import paho.mqtt.publish as publishing
import pytest

from devices.mqtt.client import PACKET_BYTES_MAX, collect
from devices.mqtt.collected import DOCUMENT_BYTES_MAX
from devices.mqtt.config import Broker as Address
from skerry.errors import UnavailableError
from tests.devices.mqtt import test_driver

pytestmark = test_driver.pytestmark

broker = test_driver.broker
"""The fixture."""


def heard(port: int, *, seconds: float = 2.0) -> tuple[dict[str, bytes], tuple[str, ...]]:
    return collect(Address(host="127.0.0.1", port=port), ["a/+"], client_id="discover", seconds=seconds)


def until_it_listens(port: int) -> None:
    for _ in range(200):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.05)
    pytest.fail("the broker does not listen")


def test_large_messages_are_left_out_and_the_largest_not_even_sent(broker: test_driver.Broker) -> None:
    until_it_listens(broker.port)
    said = {"a/small": b"{}", "a/large": bytes(DOCUMENT_BYTES_MAX + 1), "a/huge": bytes(PACKET_BYTES_MAX + 1)}
    publishing.multiple(
        [{"topic": topic, "payload": text, "qos": 1, "retain": True} for topic, text in said.items()],
        port=broker.port,
    )
    assert heard(broker.port) == ({"a/small": b"{}"}, ("a/large: its 65537 bytes are more than 64 KiB",))


@pytest.fixture(params=[test_driver.CONNACK_BAD_VERSION, b""], ids=["says so", "hangs up"])
def old_broker(request: pytest.FixtureRequest) -> Iterator[int]:
    """Speaks MQTT 3.1.1 alone: takes a subscription and says one thing."""

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                if b"\x00\x04MQTT\x04" not in peer.recv(1024):
                    peer.sendall(request.param)
                    continue
                peer.sendall(b"\x20\x02\x00\x00")
                asked = peer.recv(1024)
                peer.sendall(b"\x90\x03" + asked[2:4] + b"\x00" + b"\x30\x07\x00\x03a/b{}")
                peer.recv(1024)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_an_old_broker_is_heard_in_its_own_version(old_broker: int) -> None:
    assert heard(old_broker) == ({"a/b": b"{}"}, ())


def test_a_broker_that_is_away_is_said() -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="refused"):
            heard(int(probe.getsockname()[1]))
