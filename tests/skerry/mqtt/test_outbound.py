from __future__ import annotations

import pytest

from skerry.mqtt.limits import Limits
from skerry.mqtt.packets import (
    Ack,
    Farewell,
    Kind,
    Properties,
    Publish,
    Reason,
)
from tests.skerry.mqtt.table import Table, lasting


def test_a_message_of_qos_2_that_comes_twice_is_delivered_once() -> None:
    table = Table()
    publisher, hearer = table.client("p"), table.client("h")
    hearer.subscribe("a", 2)
    publisher.publish("a", qos=2, id=5)
    publisher.publish("a", qos=2, id=5, again=True)
    assert [ack.kind for ack in publisher.got(Ack)] == [Kind.PUBREC, Kind.PUBREC]
    publisher.send(Ack(kind=Kind.PUBREL, packet_id=5))
    publisher.send(Ack(kind=Kind.PUBREL, packet_id=5))
    assert [ack.reason for ack in publisher.got(Ack)] == [0, Reason.ID_NOT_FOUND]
    publisher.publish("a", qos=2, id=5)
    assert len(hearer.messages()) == 2


def test_no_more_is_under_way_than_the_client_asked_for() -> None:
    table = Table()
    hearer = table.client("h", properties=Properties(receive_max=2))
    hearer.subscribe("a", 1)
    publisher = table.client("p")
    for number in range(5):
        publisher.publish("a", b"%d" % number, qos=1, id=number + 1)
    first = hearer.got(Publish)
    assert [packet.payload for packet in first] == [b"0", b"1"]
    hearer.ack(first[0])
    assert hearer.messages() == [("a", b"2")]


@pytest.mark.parametrize("qos", [1, 2])
def test_no_more_is_sent_again_at_once_than_the_client_asks_for_now(qos: int) -> None:
    """What it had asked for before counts no more (4.9)."""
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", qos)
    publisher = table.client("p")
    for number in range(20):
        publisher.publish("a", b"%d" % number, qos=qos, id=number + 1)
    sent = {packet.payload: packet.packet_id for packet in hearer.got(Publish)}
    assert len(sent) == 20
    hearer.vanish()
    publisher.publish("a", b"20", qos=qos, id=21)
    table.power_cut()
    back = table.client("h", **lasting(receive_max=2))
    got: list[bytes] = []
    while packets := back.got(Publish):
        assert len(packets) <= 2
        for packet in packets:
            number = int(packet.payload)
            got.append(packet.payload)
            assert packet.again == (number < 20) and sent.get(packet.payload, packet.packet_id) == packet.packet_id
            back.ack(packet, Kind.PUBACK if qos == 1 else Kind.PUBREC)
            if qos == 2:
                back.ack(packet, Kind.PUBCOMP)
    assert got == [b"%d" % number for number in range(21)] and not table.disk.deliveries


def test_what_was_released_before_does_not_count_for_what_may_be_sent_now() -> None:
    table = Table()
    hearer = table.client("h", **lasting(receive_max=2))
    hearer.subscribe("a", 2)
    publisher = table.client("p")
    for number in range(5):
        publisher.publish("a", b"%d" % number, qos=2, id=number + 1)
    for packet in hearer.got(Publish):
        hearer.ack(packet, Kind.PUBREC)
    assert hearer.got(Publish) == []  # released is not done: the window counts it
    hearer.vanish()
    back = table.client("h", **lasting(receive_max=2))
    assert [ack.kind for ack in back.got(Ack)] == [Kind.PUBREL] * 2
    assert [payload for _, payload in back.messages()] == [b"2", b"3"]


def test_what_is_acknowledged_late_is_not_sent_again() -> None:
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", 2)
    publisher = table.client("p")
    for number in range(4):
        publisher.publish("a", b"%d" % number, qos=2, id=number + 1)
    packets = hearer.got(Publish)
    hearer.vanish()
    back = table.client("h", **lasting(receive_max=1))
    assert [payload for _, payload in back.messages()] == [b"0"]
    back.ack(packets[1], Kind.PUBREC)
    back.ack(packets[2], Kind.PUBREC, Reason.UNSPECIFIED)
    back.ack(packets[0], Kind.PUBREC)
    back.ack(packets[0], Kind.PUBCOMP)
    assert [payload for _, payload in back.messages()] == [b"3"]


def test_a_client_that_sends_more_of_qos_2_than_it_may_is_cut_off() -> None:
    table = Table(Limits(receive=2))
    publisher = table.client("p")
    assert publisher.welcome().properties.receive_max == 2
    for number in (1, 2, 3):
        publisher.publish("a", qos=2, id=number)
    assert publisher.got(Farewell)[0].reason == Reason.RECEIVE_MAX


def test_a_full_queue_drops_the_oldest_and_counts() -> None:
    table = Table(Limits(queue=3))
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", 1)
    hearer.vanish()
    publisher = table.client("p")
    for number in range(5):
        publisher.publish("a", b"%d" % number, qos=1, id=number + 1)
    assert table.broker.dropped() == {"h": 2} and table.broker.figures["publish/messages/dropped"] == 2
    assert [row.message.payload for row in table.disk.kept().deliveries] == [b"2", b"3", b"4"]
    assert [payload for _, payload in table.client("h", **lasting()).messages()] == [b"2", b"3", b"4"]


def test_queues_are_bounded_in_bytes_too_each_and_all() -> None:
    for limits in (Limits(queue_bytes=1200), Limits(total_bytes=1200)):
        table = Table(limits)
        hearer = table.client("h", **lasting())
        hearer.subscribe("a", 1)
        hearer.vanish()
        publisher = table.client("p")
        for number in range(5):
            publisher.publish("a", b"%d" % number, qos=1, id=number + 1)
        assert [payload for _, payload in table.client("h", **lasting()).messages()] == [b"3", b"4"]
    assert table.broker.figures["messages/stored/bytes"] == 2 * 402


def test_a_packet_that_is_too_large_for_a_client_is_kept_from_it_alone() -> None:
    table = Table()
    small = table.client("s", properties=Properties(packet_bytes_max=30, session_expiry_s=9))
    large = table.client("l")
    small.subscribe("a", 1)
    large.subscribe("a", 1)
    publisher = table.client("p")
    publisher.publish("a", b"x" * 40, qos=1)
    publisher.publish("a", b"y", qos=1, id=2)
    assert small.messages() == [("a", b"y")] and len(large.messages()) == 2


def test_a_message_ends_in_the_queue_when_its_time_is_over() -> None:
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", 1)
    hearer.vanish()
    publisher = table.client("p")
    publisher.publish("a", b"short", qos=1, properties=Properties(message_expiry_s=1))
    publisher.publish("a", b"long", qos=1, id=2, properties=Properties(message_expiry_s=100))
    table.now_s += 2
    (packet,) = table.client("h", **lasting()).got(Publish)
    assert packet.payload == b"long" and packet.properties.message_expiry_s == 98
    assert len(table.disk.deliveries) == 1


def test_topic_aliases_stand_for_topics_on_their_connection() -> None:
    table = Table()
    publisher, hearer = table.client("p"), table.client("h")
    hearer.subscribe("#")
    publisher.publish("long/topic", properties=Properties(topic_alias=3))
    publisher.publish("", b"2", properties=Properties(topic_alias=3))
    assert hearer.messages() == [("long/topic", b"x"), ("long/topic", b"2")]
    publisher.publish("", properties=Properties(topic_alias=4))
    assert publisher.got(Farewell)[0].reason == Reason.PROTOCOL_ERROR
    other = table.client("o")
    other.publish("t", properties=Properties(topic_alias=99))
    assert other.got(Farewell)[0].reason == Reason.BAD_ALIAS
