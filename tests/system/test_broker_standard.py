"""What MQTT 5 asks of a broker, seen by paho: sessions, wills, retained messages, identifiers, aliases, bounds."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.system import test_broker
from tests.system.test_broker import Server, connected, subscribed, until

server = test_broker.server

pytestmark = pytest.mark.system


def said(packet: int, **values: Any) -> Properties:
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@contextmanager
def plain(port: int, name: str, *, clean: bool = True, expiry_s: int = 0, will: Any = None) -> Generator[Any]:
    """A client that is left to its test, with whether its session was there."""
    client: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)
    resumed: list[bool] = []
    client.on_connect = lambda *told: resumed.append(told[2].session_present)
    if will is not None:
        client.will_set("will/t", b"gone", qos=1, properties=will)
    properties = said(PacketTypes.CONNECT, SessionExpiryInterval=expiry_s)
    client.connect("127.0.0.1", port, clean_start=clean, properties=properties)
    client.loop_start()
    until(lambda: resumed)
    client.resumed = resumed[0]
    yield client
    client.loop_stop()


def test_sessions_last_as_long_as_they_were_asked_to(server: Server) -> None:
    server.start()
    with connected(server.port, "p") as publisher:
        with connected(server.port, "e", expiry_s=1) as client:
            subscribed(client, "e/t")
        publisher.say("e/t", b"1")
        time.sleep(3.5)
        with plain(server.port, "e", clean=False, expiry_s=60) as again:
            assert not again.resumed  # its time was over
            again.disconnect()
        with plain(server.port, "e", clean=False, expiry_s=60) as again:
            assert again.resumed
            again.disconnect(properties=said(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
            until(lambda: not again.is_connected())
        with plain(server.port, "e", clean=False, expiry_s=60) as again:
            assert not again.resumed  # it was ended with its connection
            again.disconnect()
        with plain(server.port, "e", clean=True) as again:
            assert not again.resumed
            again.disconnect()
        with connected(server.port, "m", expiry_s=60) as client:
            subscribed(client, "m")
        for lasts_s in (1, 100):
            publisher.say("m", b"%d" % lasts_s, properties=said(PacketTypes.PUBLISH, MessageExpiryInterval=lasts_s))
        time.sleep(1.5)
        with connected(server.port, "m", expiry_s=60) as client:
            until(lambda: client.heard)
            assert client.payloads() == [b"100"]
            left: Any = client.heard[0].properties
            assert left.MessageExpiryInterval < 100


def test_wills_wait_as_long_as_they_are_told_to_and_come_with_their_properties(server: Server) -> None:
    server.start()
    with connected(server.port, "h") as hearer:
        subscribed(hearer, "will/t")
        will = said(PacketTypes.WILLMESSAGE, WillDelayInterval=2, UserProperty=("a", "b"), ContentType="text/plain")
        with plain(server.port, "w", expiry_s=60, will=will) as client:
            began_s = time.monotonic()
            client.socket().shutdown(2)
        until(lambda: hearer.heard)
        told: Any = hearer.heard[0].properties
        assert time.monotonic() - began_s >= 1.9
        assert (told.UserProperty, told.ContentType) == ([("a", "b")], "text/plain")
        assert not hasattr(told, "WillDelayInterval")
        with plain(server.port, "v", will=said(PacketTypes.WILLMESSAGE)) as client:
            client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
            until(lambda: len(hearer.heard) == 2)
        with plain(server.port, "u", will=said(PacketTypes.WILLMESSAGE)) as client:
            client.disconnect()
        time.sleep(0.3)
        assert len(hearer.heard) == 2


def test_subscribers_say_what_they_want_of_retained_messages_and_of_themselves(server: Server) -> None:
    server.start()
    with connected(server.port, "p") as publisher, connected(server.port, "r") as hearer:
        publisher.say("r/t", b"kept", retain=True)
        for handling, as_published, flag in ((2, False, False), (2, True, True)):
            subscribed(hearer, "r/t", 1, retainHandling=handling, retainAsPublished=as_published)
            publisher.say("r/t", b"live", retain=True)
            until(lambda: hearer.heard)
            assert [(bytes(each.payload), each.retain) for each in hearer.heard] == [(b"live", flag)]
            hearer.heard.clear()
        subscribed(hearer, "r/t", 1, retainHandling=1)  # it is not new
        subscribed(hearer, "r/t", 1, retainHandling=0, noLocal=True)
        until(lambda: hearer.heard)
        hearer.say("r/t", b"mine")
        publisher.say("r/t", b"end")
        until(lambda: hearer.payloads()[-1] == b"end")
        assert hearer.payloads() == [b"live", b"end"]


def test_identifiers_aliases_groups_and_bounds_are_kept_to(server: Server) -> None:
    server.start()
    with connected(server.port, "p") as publisher, connected(server.port, "i", MaximumPacketSize=100) as hearer:
        done: list[int] = []
        hearer.client.on_subscribe = lambda *_: done.append(1)
        for number, topic in ((3, "i/#"), (268_435_455, "i/+")):
            options, properties = SubscribeOptions(qos=1), said(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=number)
            hearer.client.subscribe(topic, options=options, properties=properties)
        until(lambda: len(done) == 2)
        publisher.say("i/x", b"x" * 200)  # more than this client takes
        alias = said(PacketTypes.PUBLISH, TopicAlias=5)
        publisher.say("i/x", b"1", properties=alias)
        publisher.say("", b"2", properties=alias)
        until(lambda: len(hearer.heard) == 2)
        first: Any = hearer.heard[0].properties
        assert [each.topic for each in hearer.heard] == ["i/x"] * 2 and hearer.payloads() == [b"1", b"2"]
        assert sorted(first.SubscriptionIdentifier) == [3, 268_435_455] and not hasattr(first, "TopicAlias")
        publisher.client.publish("i/x", b"3", qos=1, properties=said(PacketTypes.PUBLISH, TopicAlias=33))
        until(lambda: publisher.ended)
        assert publisher.ended[0] == 0x94  # Topic Alias invalid
    with connected(server.port, "p") as publisher:
        with connected(server.port, "1") as one, connected(server.port, "2") as two:
            for member in (one, two):
                subscribed(member, "$share/g/s/#")
            for number in range(20):
                publisher.say("s/x", b"%d" % number)
            until(lambda: len(one.heard) + len(two.heard) == 20)
            assert len(one.heard) == len(two.heard) == 10
        codes: list[int] = []
        publisher.client.on_publish = lambda *told: codes.append(told[3].value)
        publisher.say("s/x", b"nobody")
        until(lambda: codes)
        assert codes == [0x10]  # No matching subscribers
