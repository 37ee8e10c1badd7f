"""Bytes of packets. The oracle for properties is paho's own code; whole packets are laid out by hand, as in the
standard, and met by independent clients in `tests/system/test_broker.py`."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from skerry.mqtt.codec import GREETING_BYTES_MAX, Decoder, encode, forwarded
from skerry.mqtt.fields import Fields, varint
from skerry.mqtt.packets import (
    NONE,
    V3,
    V5,
    Ack,
    Connack,
    Connect,
    Farewell,
    Granted,
    Kind,
    Packet,
    PacketError,
    Ping,
    Properties,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
    Wanted,
    Will,
)
from skerry.mqtt.properties import read_properties, write_properties

HELLO_5 = bytes.fromhex("100d 0004 4d515454 05 02 003c 00 0000".replace(" ", ""))
HELLO_3 = bytes.fromhex("100c 0004 4d515454 04 02 003c 0000".replace(" ", ""))


def decoded(data: bytes, *, version: int = V5, step: int = 1 << 20) -> list[Packet]:
    decoder = Decoder(packet_bytes_max=1 << 20)
    decoder.feed(HELLO_5 if version == V5 else HELLO_3)
    assert isinstance(decoder.next(), Connect)
    found: list[Packet] = []
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        while (packet := decoder.next()) is not None:
            found.append(packet)
    return found


def framed(first: int, body: bytes) -> bytes:
    return bytes((first,)) + varint(len(body)) + body


def refused(data: bytes, *, version: int = V5) -> Reason:
    with pytest.raises(PacketError) as caught:
        decoded(data, version=version)
    return caught.value.reason


def test_a_connect_of_mqtt_5_says_all_that_it_may() -> None:
    body = (
        b"\x00\x04MQTT\x05\xee\x00\x0a"  # user, password, will retained of QoS 1, clean start
        b"\x05\x11\x00\x00\x00\x0a"
        b"\x00\x02me"
        b"\x05\x18\x00\x00\x00\x03"
        b"\x00\x01w\x00\x03bye"
        b"\x00\x03ann\x00\x02pw"
    )
    decoder = Decoder(packet_bytes_max=1 << 20)
    decoder.feed(framed(0x10, body))
    assert decoder.next() == Connect(
        client="me",
        clean=True,
        keepalive_s=10,
        username="ann",
        password=b"pw",
        will=Will(topic="w", payload=b"bye", qos=1, retain=True, properties=Properties(will_delay_s=3)),
        properties=Properties(session_expiry_s=10),
    )
    assert decoder.version == V5 and decoder.next() is None


def test_a_connect_of_mqtt_3_1_1_has_no_properties() -> None:
    decoder = Decoder(packet_bytes_max=1 << 20)
    decoder.feed(framed(0x10, b"\x00\x04MQTT\x04\x00\x00\x3c\x00\x01c"))
    assert decoder.next() == Connect(version=V3, client="c", clean=False, keepalive_s=60)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc0\x00", Reason.PROTOCOL_ERROR),  # a ping first
        (framed(0x10, b"\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c"), Reason.UNSUPPORTED_VERSION),
        (framed(0x10, b"\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x01c"), Reason.UNSUPPORTED_VERSION),
        (framed(0x10, b"\x00\x04MQTT\x04\x03\x00\x3c\x00\x01c"), Reason.MALFORMED),  # the reserved flag
        (framed(0x10, b"\x00\x04MQTT\x04\x1e\x00\x3c\x00\x01c\x00\x01t\x00\x00"), Reason.MALFORMED),  # will QoS 3
        (framed(0x10, b"\x00\x04MQTT\x04\x0a\x00\x3c\x00\x01c"), Reason.MALFORMED),  # will QoS without a will
        (framed(0x10, b"\x00\x04MQTT\x04\x42\x00\x3c\x00\x01c\x00\x01p"), Reason.MALFORMED),  # password, no user
        (framed(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01cx"), Reason.MALFORMED),  # more than it says
        (framed(0x10, b"\x00\x04MQTT\x05\x02\x00\x3c\x02\x24\x01\x00\x01c"), Reason.MALFORMED),  # not a client's
        (framed(0x10, b"\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x01c"), Reason.PROTOCOL_ERROR),
        (b"\x10\xff\xff\xff\xff\x01", Reason.MALFORMED),
        (b"\x10" + varint(GREETING_BYTES_MAX + 1), Reason.TOO_LARGE),  # before it is there
    ],
)
def test_a_greeting_that_is_none_is_refused(data: bytes, reason: Reason) -> None:
    decoder = Decoder(packet_bytes_max=1 << 20)
    decoder.feed(data)
    with pytest.raises(PacketError) as caught:
        decoder.next()
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HELLO_5, Reason.PROTOCOL_ERROR),
        (framed(0x36, b"\x00\x01a\x00\x01\x00"), Reason.MALFORMED),  # QoS 3
        (framed(0x38, b"\x00\x01a\x00"), Reason.MALFORMED),  # again, of QoS 0
        (framed(0x32, b"\x00\x01a\x00\x00\x00"), Reason.PROTOCOL_ERROR),  # packet id 0
        (framed(0x30, b"\x00\x00\x00"), Reason.BAD_TOPIC),
        (framed(0x30, b"\x00\x03a/#\x00"), Reason.BAD_TOPIC),
        (framed(0x30, b"\x00\x01\xff\x00"), Reason.MALFORMED),
        (framed(0x30, b"\x00\x01\x00\x00"), Reason.MALFORMED),  # U+0000
        (framed(0x30, b"\x00\x03\xed\xa0\x80\x00"), Reason.MALFORMED),  # half of a pair
        (framed(0x30, b"\x00\x01a\x03\x23\x00\x00"), Reason.BAD_ALIAS),
        (framed(0x30, b"\x00\x01a\x02\x0b\x01"), Reason.PROTOCOL_ERROR),  # identifiers are the broker's to send
        (framed(0x30, b"\x00\x01a\x04\x01\x00\x01\x00"), Reason.PROTOCOL_ERROR),  # twice
        (framed(0x30, b"\x00\x01a\x02\x01\x02"), Reason.PROTOCOL_ERROR),
        (framed(0x30, b"\x00\x01a\x04\x08\x00\x01+"), Reason.BAD_TOPIC),  # the response topic
        (framed(0x30, b"\x00\x01a\x09\x01"), Reason.MALFORMED),  # properties that end early
        (framed(0x60, b"\x00\x01"), Reason.MALFORMED),  # flags of PUBREL
        (framed(0x82, b"\x00\x01\x00"), Reason.PROTOCOL_ERROR),  # to nothing
        (framed(0x82, b"\x00\x01\x00\x00\x01a\x03"), Reason.MALFORMED),
        (framed(0x82, b"\x00\x01\x00\x00\x01a\x31"), Reason.MALFORMED),
        (framed(0x82, b"\x00\x01\x02\x0b\x00\x00\x01a\x00"), Reason.PROTOCOL_ERROR),
        (framed(0x82, b"\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00"), Reason.PROTOCOL_ERROR),
        (framed(0x82, b"\x00\x01\x00" + b"\x00\x01a\x00" * 257), Reason.QUOTA),
        (framed(0xA2, b"\x00\x01\x00"), Reason.PROTOCOL_ERROR),
        (framed(0xC0, b"x"), Reason.MALFORMED),
        (framed(0x20, b"\x00\x00\x00"), Reason.MALFORMED),  # CONNACK is the broker's
        (framed(0x00, b""), Reason.MALFORMED),
        (framed(0x30, b"\x00\x01a" + varint(65 * 7) + b"\x26\x00\x01k\x00\x01v" * 65), Reason.QUOTA),
        (b"\x30" + varint(1 << 21), Reason.TOO_LARGE),
    ],
)
def test_what_mqtt_does_not_allow_is_refused(data: bytes, reason: Reason) -> None:
    assert refused(data) == reason


def test_what_only_mqtt_5_knows_is_refused_from_an_older_client() -> None:
    assert refused(framed(0x82, b"\x00\x01\x00\x01a\x04"), version=V3) == Reason.MALFORMED
    assert refused(framed(0xF0, b""), version=V3) == Reason.MALFORMED
    assert refused(framed(0x40, b"\x00\x01\x10"), version=V3) == Reason.MALFORMED


def test_subscriptions_carry_their_options() -> None:
    (packet,) = decoded(framed(0x82, b"\x00\x07\x03\x0b\xc1\x02\x00\x03a/+\x2d\x00\x01b\x00"))
    assert packet == Subscribe(
        packet_id=7,
        wanted=(Wanted(filter="a/+", qos=1, no_local=True, as_published=True, retain_handling=2), Wanted(filter="b")),
        properties=Properties(subscription_ids=(321,)),
    )
    assert decoded(framed(0x82, b"\x00\x07\x00\x01b\x02"), version=V3) == [
        Subscribe(packet_id=7, wanted=(Wanted(filter="b", qos=2),))
    ]
    assert decoded(framed(0xA2, b"\x00\x08\x00\x00\x01b\x00\x01c")) == [Unsubscribe(packet_id=8, filters=("b", "c"))]


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize("version", [V3, V5])
def test_packets_are_read_however_they_arrive(step: int, version: int) -> None:
    said = [
        Publish(topic="a/b", payload=b"x" * 200, qos=2, packet_id=9, retain=True, again=True),
        Publish(topic="a", payload=b""),
        Ack(kind=Kind.PUBREL, packet_id=3),
        Ping(),
        Farewell(),
    ]
    assert decoded(b"".join(encode(each, version) for each in said), version=version, step=step) == said


PAIRS = st.tuples(st.text("abcäß✓", max_size=9), st.text("xyz", max_size=9))
MESSAGE = st.builds(
    Properties,
    payload_format=st.sampled_from([None, 0, 1]),
    message_expiry_s=st.none() | st.integers(0, 2**32 - 1),
    content_type=st.none() | st.text("abc/", max_size=20),
    response_topic=st.none() | st.text("abc/", min_size=1, max_size=20),
    correlation=st.none() | st.binary(max_size=30),
    topic_alias=st.none() | st.integers(1, 65535),
    user=st.lists(PAIRS, max_size=5).map(tuple),
)
PAHO = {
    "payload_format": "PayloadFormatIndicator",
    "message_expiry_s": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation": "CorrelationData",
    "topic_alias": "TopicAlias",
}


@given(MESSAGE)
@settings(max_examples=100, deadline=None)
def test_properties_are_those_that_paho_writes_and_reads(said: Properties) -> None:
    theirs = PahoProperties(PacketTypes.PUBLISH)
    for ours, name in PAHO.items():
        if getattr(said, ours) is not None:
            setattr(theirs, name, getattr(said, ours))
    if said.user:
        theirs.UserProperty = list(said.user)
    assert read_properties(Fields(theirs.pack()), Kind.PUBLISH) == said
    back = PahoProperties(PacketTypes.PUBLISH)
    back.unpack(write_properties(said))
    assert back.json() == theirs.json()


@given(
    st.builds(
        Publish,
        topic=st.text("ab/", min_size=1, max_size=30),
        payload=st.binary(max_size=300),
        qos=st.just(1),
        packet_id=st.integers(1, 65535),
        retain=st.booleans(),
        properties=MESSAGE,
    ),
    st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_a_message_is_read_as_it_was_written(packet: Publish, step: int) -> None:
    assert decoded(encode(packet, V5), step=step) == [packet]


def test_what_the_broker_says_to_an_older_client_is_in_its_words() -> None:
    assert encode(Connack(resumed=True), V3) == b"\x20\x02\x01\x00"
    refusals = {Reason.UNSUPPORTED_VERSION: 1, Reason.BAD_CLIENT: 2, Reason.QUOTA: 3, Reason.BAD_CREDENTIALS: 4}
    refusals |= {Reason.NOT_AUTHORIZED: 5, Reason.BAD_METHOD: 5}
    for reason, code in refusals.items():
        assert encode(Connack(reason=reason), V3) == bytes((0x20, 2, 0, code))
    suback = Granted(kind=Kind.SUBACK, packet_id=2, reasons=(1, Reason.NOT_AUTHORIZED))
    assert encode(suback, V3) == b"\x90\x04\x00\x02\x01\x80"
    assert encode(suback, V5) == b"\x90\x05\x00\x02\x00\x01\x87"
    unsuback = Granted(kind=Kind.UNSUBACK, packet_id=2, reasons=(0, 0x11))
    assert encode(unsuback, V3) == b"\xb0\x02\x00\x02"
    assert encode(unsuback, V5) == b"\xb0\x05\x00\x02\x00\x00\x11"
    refusal = Ack(kind=Kind.PUBACK, packet_id=1, reason=0x87)
    assert encode(refusal, V3) == b"\x40\x02\x00\x01"
    assert encode(refusal, V5) == b"\x40\x04\x00\x01\x87\x00"
    assert encode(Farewell(reason=Reason.TAKEN_OVER), V5) == b"\xe0\x02\x8e\x00"
    assert encode(Connack(properties=Properties(receive_max=64)), V5) == b"\x20\x06\x00\x00\x03\x21\x00\x40"


def test_only_what_belongs_to_a_message_travels_on() -> None:
    said = Properties(topic_alias=3, content_type="x", user=(("a", "b"),), message_expiry_s=5)
    assert forwarded(said) == Properties(content_type="x", user=(("a", "b"),), message_expiry_s=5)
    assert forwarded(NONE) is NONE


@given(st.binary(max_size=400), st.integers(1, 60), st.sampled_from([b"", HELLO_3, HELLO_5]))
@settings(max_examples=150, deadline=None)
def test_no_bytes_do_harm(data: bytes, step: int, before: bytes) -> None:
    decoder = Decoder(packet_bytes_max=4096)
    with suppress(PacketError):
        decoder.feed(before)
        for at in range(0, len(data), step):
            decoder.feed(data[at : at + step])
            while decoder.next() is not None:
                assert len(decoder._buffer) <= 4096 + step


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_to_a_packet_does_harm(data: st.DataObject) -> None:
    sound = [
        framed(0x82, b"\x00\x07\x03\x0b\xc1\x02\x00\x03a/+\x2d\x00\x01b\x00"),
        encode(Publish(topic="a/b", payload=b"xyz", qos=1, packet_id=3, properties=Properties(content_type="t")), V5),
        framed(0xE0, b"\x04\x05\x11\x00\x00\x00\x0a"),
        framed(0xA2, b"\x00\x08\x00\x00\x01b\x00\x01c"),
    ]
    packet = bytearray(data.draw(st.sampled_from(sound)))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PacketError):
        decoded(bytes(packet))
