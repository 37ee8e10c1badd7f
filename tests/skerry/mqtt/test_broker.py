from __future__ import annotations

from typing import Any, cast

import pytest

from skerry.mqtt.kept import Message
from skerry.mqtt.limits import Limits
from skerry.mqtt.outbound import Send
from skerry.mqtt.packets import (
    V3,
    V5,
    Ack,
    Connect,
    Farewell,
    Granted,
    Kind,
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
from skerry.mqtt.session import LEVEL_BYTES, PACKET_ID_BYTES, SESSION_BYTES, subscription_bytes
from tests.skerry.mqtt.table import Rules, Table, lasting

# --- who hears what ---------------------------------------------------------------------------------------------


def test_a_message_reaches_whoever_subscribed_with_the_lower_qos() -> None:
    table = Table()
    publisher, hearer = table.client("p"), table.client("h")
    assert hearer.subscribe("a/+", 1) == (1,)
    for qos in (0, 1, 2):
        publisher.publish("a/b", b"%d" % qos, qos=qos, id=qos)
    assert [(packet.payload, packet.qos) for packet in hearer.got(Publish)] == [(b"0", 0), (b"1", 1), (b"2", 1)]


def test_overlapping_subscriptions_bring_one_copy_with_every_identifier() -> None:
    table = Table()
    publisher, hearer = table.client("p"), table.client("h")
    hearer.subscribe("o/#", 0, identifier=7)
    hearer.subscribe("o/x", 2, identifier=9)
    publisher.publish("o/x", qos=2)
    (packet,) = hearer.got(Publish)
    assert packet.qos == 2 and sorted(packet.properties.subscription_ids) == [7, 9]


def test_a_client_does_not_hear_itself_where_it_asked_not_to() -> None:
    table = Table()
    client = table.client("p")
    client.subscribe("mine", no_local=True)
    client.publish("mine", qos=1)
    assert client.messages() == []
    assert client.got(Ack)[0].reason == Reason.NO_SUBSCRIBERS


def test_a_publisher_is_told_whether_anybody_hears() -> None:
    table = Table()
    publisher = table.client("p")
    publisher.publish("a", qos=1)
    table.client("h").subscribe("a")
    publisher.publish("a", qos=1, id=2)
    assert [ack.reason for ack in publisher.got(Ack)] == [Reason.NO_SUBSCRIBERS, Reason.SUCCESS]


def test_a_shared_subscription_gives_each_message_to_one_who_is_there() -> None:
    table = Table()
    publisher, one, two = table.client("p"), table.client("one", **lasting()), table.client("two")
    other = table.client("other")
    for member in (one, two):
        assert member.subscribe("$share/g/s/#", 1) == (1,)
    assert other.subscribe("$share/h/s/#") == (0,)
    for number in range(6):
        publisher.publish("s/t", b"%d" % number, qos=1, id=number + 1)
    first, second = one.got(Publish), two.got(Publish)
    assert len(first) == len(second) == 3 and len(other.messages()) == 6
    one.vanish()
    for packet in second:
        two.ack(packet)
    publisher.publish("s/t", qos=1)
    assert len(two.messages()) == 1


def test_a_shared_subscription_that_is_not_local_is_refused() -> None:
    table = Table()
    client = table.client("c")
    client.send(Subscribe(packet_id=1, wanted=(Wanted(filter="$share/g/a", no_local=True),)))
    assert client.got(Farewell)[0].reason == Reason.PROTOCOL_ERROR and client.closed


def test_what_nobody_may_subscribe_to_is_refused_and_the_rest_is_not() -> None:
    table = Table(rules=Rules(unheard={"secret"}))
    client = table.client("c")
    wanted = tuple(Wanted(filter=filter, qos=1) for filter in ("a/#/b", "secret", "fine", "$share//x"))
    client.send(Subscribe(packet_id=3, wanted=wanted))
    assert client.got(Granted)[0].reasons == (Reason.BAD_FILTER, Reason.NOT_AUTHORIZED, 1, Reason.BAD_FILTER)


def test_after_unsubscribing_nothing_is_heard() -> None:
    table = Table()
    publisher, hearer = table.client("p"), table.client("h", **lasting())
    hearer.subscribe("a/#", 1)
    hearer.subscribe("$share/g/a/#", 1)
    hearer.send(Unsubscribe(packet_id=4, filters=("a/#", "$share/g/a/#", "b")))
    assert hearer.got(Granted)[0].reasons == (0, 0, Reason.NO_SUBSCRIPTION)
    publisher.publish("a/b", qos=1)
    assert hearer.messages() == []
    assert not table.disk.subscriptions


def test_properties_of_a_message_travel_on() -> None:
    table = Table()
    publisher, hearer = table.client("p"), table.client("h")
    hearer.subscribe("a")
    said = Properties(
        payload_format=1,
        content_type="text/plain",
        response_topic="r",
        correlation=b"7",
        user=(("k", "v"), ("k", "w")),
    )
    publisher.publish("a", properties=said)
    assert hearer.got(Publish)[0].properties == said


# --- retained ---------------------------------------------------------------------------------------------------


def test_what_is_retained_comes_to_whoever_subscribes_later() -> None:
    table = Table()
    publisher = table.client("p")
    publisher.publish("a/1", b"old", retain=True)
    publisher.publish("a/1", b"new", retain=True)
    publisher.publish("a/2", b"gone", retain=True)
    publisher.publish("a/2", b"", retain=True)
    hearer = table.client("h")
    hearer.subscribe("a/#", 1)
    (packet,) = hearer.got(Publish)
    assert (packet.topic, packet.payload, packet.retain) == ("a/1", b"new", True)
    publisher.publish("a/1", b"live", retain=True)
    assert not hearer.got(Publish)[0].retain


def test_a_subscriber_says_how_retained_messages_are_handled() -> None:
    table = Table()
    table.client("p").publish("a", b"kept", retain=True)
    client = table.client("c")
    client.subscribe("a", retain_handling=2)
    assert client.messages() == []
    client.subscribe("a", retain_handling=1)
    assert client.messages() == []  # it is not new
    client.subscribe("a", retain_handling=0)
    assert client.messages() == [("a", b"kept")]
    client.subscribe("+", retain_handling=1)
    assert client.messages() == [("a", b"kept")]
    client.subscribe("$share/g/a")
    assert client.messages() == []


def test_the_retain_flag_stays_where_it_was_asked_for() -> None:
    table = Table()
    publisher, hearer = table.client("p"), table.client("h")
    hearer.subscribe("a", as_published=True)
    publisher.publish("a", retain=True)
    publisher.publish("a")
    assert [packet.retain for packet in hearer.got(Publish)] == [True, False]


def test_retained_messages_have_bounds_and_a_refusal_keeps_the_old() -> None:
    table = Table(Limits(retained=1, retained_reserved=0))
    publisher = table.client("p")
    publisher.publish("a", b"1", qos=1, retain=True)
    publisher.publish("b", b"2", qos=1, id=2, retain=True)
    publisher.publish("a", b"3", qos=1, id=3, retain=True)
    assert [ack.reason for ack in publisher.got(Ack)] == [Reason.NO_SUBSCRIBERS, Reason.QUOTA, Reason.NO_SUBSCRIBERS]
    assert {topic: message.payload for topic, message in table.disk.retained.items()} == {"a": b"3"}
    big = Table(Limits(retained_bytes=1000))
    publisher = big.client("p")
    publisher.publish("a", b"x" * 700, qos=1, retain=True)
    assert publisher.got(Ack)[0].reason == Reason.QUOTA


@pytest.mark.parametrize(("version", "qos"), [(V3, 0), (V3, 1), (V3, 2), (V5, 0)])
def test_who_cannot_be_told_that_nothing_is_retained_is_heard_and_no_old_state_stays(version: int, qos: int) -> None:
    """3.1.1 has no word for a refusal: what was acknowledged went to nobody, and the old was what others believed."""
    size = 2 * Message(topic="a", payload=b"x" * 100, qos=1).size + 2 * LEVEL_BYTES
    table = Table(Limits(retained=2, retained_bytes=size, retained_reserved=0))
    hearer = table.client("h")
    hearer.subscribe("#", 2)
    publisher = table.client("p", version=version)
    for number, (topic, payload) in enumerate((("a", b"1"), ("b", b"x" * 100), ("c", b"2"), ("a", b"y" * 200))):
        publisher.publish(topic, payload, qos=qos, id=number + 1, retain=True)
    assert [payload for _, payload in hearer.messages()] == [b"1", b"x" * 100, b"2", b"y" * 200]
    assert set(table.disk.retained) == {"b"} and table.broker.figures["retained messages/unkept"] == 2
    late = table.client("late")
    late.subscribe("#")
    assert late.messages() == [("b", b"x" * 100)]


def test_a_will_that_cannot_be_retained_leaves_no_older_state() -> None:
    table = Table(Limits(retained_bytes=2000, retained_reserved=0))
    table.client("p").publish("gone", b"online", retain=True)
    table.client("c", will=Will(topic="gone", payload=b"x" * 2000, retain=True)).vanish()
    assert table.disk.retained == {}


def test_there_is_room_to_retain_for_who_comes_first() -> None:
    table = Table(Limits(retained=10), Rules(first={"host"}))
    publisher, host = table.client("p"), table.client("h", user="host")
    for number in range(10):
        publisher.publish(f"p/{number}", qos=1, id=number + 1, retain=True)
    assert [ack.reason for ack in publisher.got(Ack)][-2:] == [Reason.NO_SUBSCRIBERS, Reason.QUOTA]
    host.publish("h/1", qos=1, retain=True)
    host.publish("h/2", qos=1, id=2, retain=True)
    assert [ack.reason for ack in host.got(Ack)] == [Reason.NO_SUBSCRIBERS, Reason.QUOTA]


def test_a_retained_message_ends_when_its_time_is_over() -> None:
    table = Table()
    table.client("p").publish("a", b"short", retain=True, properties=Properties(message_expiry_s=10))
    table.after(4)
    hearer = table.client("h")
    hearer.subscribe("a")
    assert hearer.got(Publish)[0].properties.message_expiry_s == 6
    table.after(6)
    later = table.client("l")
    later.subscribe("a")
    assert later.messages() == []
    table.after(30)
    assert table.disk.retained == {}


# --- sessions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V3, V5])
def test_what_waits_for_a_client_comes_when_it_is_back_and_in_order(version: int) -> None:
    table = Table()
    more: dict[str, Any] = lasting() if version == V5 else {"clean": False}
    hearer = table.client("h", version=version, **more)
    assert not hearer.welcome().resumed
    hearer.subscribe("a", 1)
    hearer.vanish()
    publisher = table.client("p")
    for number in range(5):
        publisher.publish("a", b"%d" % number, qos=1, id=number + 1)
    publisher.publish("a", b"of QoS 0")
    back = table.client("h", version=version, **more)
    assert back.welcome().resumed
    assert [payload for _, payload in back.messages()] == [b"0", b"1", b"2", b"3", b"4"]


def test_what_was_not_acknowledged_is_sent_again_with_the_same_id() -> None:
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", 2)
    publisher = table.client("p")
    publisher.publish("a", b"1", qos=1)
    publisher.publish("a", b"2", qos=2, id=2)
    one, two = hearer.got(Publish)
    hearer.ack(two, Kind.PUBREC)
    hearer.vanish()
    back = table.client("h", **lasting())
    (again,) = back.got(Publish)
    assert (again.payload, again.packet_id, again.again) == (b"1", one.packet_id, True)
    released = [ack for ack in back.got(Ack) if ack.kind == Kind.PUBREL]
    assert [ack.packet_id for ack in released] == [two.packet_id]


def test_a_clean_start_forgets_what_was() -> None:
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", 1)
    hearer.vanish()
    table.client("p").publish("a", qos=1)
    fresh = table.client("h", clean=True)
    assert not fresh.welcome().resumed
    table.client("q").publish("a", qos=1)
    assert fresh.messages() == [] and not table.disk.deliveries and not table.disk.subscriptions


def test_a_session_ends_when_its_time_is_over() -> None:
    table = Table()
    table.client("h", **lasting(60)).vanish()
    table.after(59)
    assert table.client("h", **lasting(60)).welcome().resumed
    table.broker.lost(table.last, table.now_s)
    table.after(61)
    assert not table.disk.sessions
    assert not table.client("h", **lasting(60)).welcome().resumed


def test_a_client_may_say_at_its_end_how_long_its_session_is_kept() -> None:
    table = Table()
    client = table.client("h", **lasting(60))
    client.send(Farewell(properties=Properties(session_expiry_s=0)))
    assert client.closed and not table.disk.sessions
    brief = table.client("b")
    brief.send(Farewell(properties=Properties(session_expiry_s=60)))
    assert brief.got(Farewell)[0].reason == Reason.PROTOCOL_ERROR


def test_the_newer_connection_takes_the_session_over() -> None:
    table = Table()
    older = table.client("c", **lasting())
    older.subscribe("a", 1)
    newer = table.client("c", **lasting())
    assert older.closed and older.got(Farewell)[0].reason == Reason.TAKEN_OVER
    assert newer.welcome().resumed
    table.client("p").publish("a", qos=1)
    assert older.messages() == [] and newer.messages() == [("a", b"x")]
    older.vanish()  # its network ends late
    table.client("q").publish("a", b"2", qos=1)
    assert newer.messages() == [("a", b"2")]


def test_a_session_is_its_users_alone() -> None:
    table = Table()
    held = table.client("c", user="ann", **lasting())
    other = table.client("c", user="bob", clean=True)
    assert other.welcome().reason == Reason.BAD_CLIENT and other.closed
    assert not held.closed


def test_a_session_that_is_resumed_for_its_connection_alone_is_kept_no_more() -> None:
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", 1)
    hearer.vanish()
    table.client("p").publish("a", qos=1)
    back = table.client("h", clean=False)
    assert back.messages() == [("a", b"x")] and not table.disk.sessions and not table.disk.deliveries
    back.vanish()
    assert not table.client("h", clean=False).welcome().resumed


def test_a_session_that_becomes_lasting_is_kept_whole() -> None:
    table = Table()
    hearer = table.client("h", **lasting(5))
    hearer.subscribe("a", 1)
    hearer.vanish()
    table.client("p").publish("a", qos=1)
    table.client("h", clean=False).vanish()
    assert not table.disk.sessions


def test_a_client_without_a_name_gets_one() -> None:
    table = Table()
    assert table.client("").welcome().properties.assigned_client == "auto-1"
    assert table.client("", version=V3, clean=False).welcome().reason == Reason.BAD_CLIENT


def test_connections_and_sessions_are_bounded() -> None:
    table = Table(Limits(connections=2, sessions=3, reserved=0))
    table.client("a")
    table.client("b")
    assert table.client("c").welcome().reason == Reason.QUOTA
    table = Table(Limits(connections=9, sessions=1, reserved=0))
    table.client("a", **lasting()).vanish()
    assert table.client("b").welcome().reason == Reason.QUOTA
    assert table.client("a", **lasting()).welcome().resumed


def test_no_user_takes_all_connections_and_sessions() -> None:
    table = Table(Limits(connections_user=2, sessions_user=2))
    many = [table.client(f"m{number}", user="mallory", **lasting()) for number in range(4)]
    assert [client.welcome().reason for client in many] == [0, 0, Reason.QUOTA, Reason.QUOTA]
    assert table.client("a", user="ann").welcome().reason == Reason.SUCCESS
    many[0].vanish()  # it has a connection less, and its session still
    assert table.client("m5", user="mallory").welcome().reason == Reason.QUOTA
    assert table.client("m0", user="mallory", **lasting()).welcome().resumed


def test_there_is_room_for_who_comes_first_and_for_nobody_instead() -> None:
    table = Table(Limits(connections=4, sessions=6, reserved=2), Rules(first={"host"}))
    others = [table.client(f"o{number}", user=f"u{number}") for number in range(3)]
    assert [client.welcome().reason for client in others] == [0, 0, Reason.QUOTA]
    assert table.client("h1", user="host").welcome().reason == Reason.SUCCESS
    away = Table(Limits(sessions=4, reserved=2), Rules(first={"host"}))
    for number in range(3):
        away.client(f"o{number}", user=f"u{number}", **lasting()).vanish()
    assert len(away.disk.sessions) == 2
    assert away.client("h1", user="host", **lasting()).welcome().reason == Reason.SUCCESS


def test_who_comes_first_has_the_client_id_that_it_wants_and_nothing_of_who_had_it() -> None:
    table = Table(rules=Rules(first={"host"}))
    mallory = table.client("wanted", user="mallory", **lasting())
    mallory.subscribe("secret/#", 1)
    host = table.client("wanted", user="host", **lasting())
    assert mallory.closed and mallory.got(Farewell)[0].reason == Reason.TAKEN_OVER
    welcome = host.welcome()
    assert welcome.reason == Reason.SUCCESS and not welcome.resumed
    table.client("p").publish("secret/x", qos=1)
    assert host.messages() == [] and not table.disk.subscriptions
    host.vanish()
    assert table.client("wanted", user="mallory").welcome().reason == Reason.BAD_CLIENT
    table.client("away", user="mallory", **lasting()).vanish()
    assert not table.client("away", user="host", **lasting()).welcome().resumed
    assert table.disk.sessions["away"].user == "host"


def test_client_ids_may_be_somebodys_alone() -> None:
    table = Table(rules=Rules(first={"host"}))
    assert table.client("own-rules", user="mallory").welcome().reason == Reason.BAD_CLIENT
    assert table.client("own-rules", user="host").welcome().reason == Reason.SUCCESS


# --- what a session is itself ---------------------------------------------------------------------------------


def test_what_a_session_holds_itself_is_counted_and_counts_no_more_when_it_goes() -> None:
    table = Table()
    client = table.client("c", will=Will(topic="w", payload=b"x" * 1000), **lasting())
    client.subscribe("a/b", 1)
    client.subscribe("a/b", 0)
    client.publish("t", qos=2, id=7)
    full = int(table.broker.figures["sessions/bytes"])
    assert full > SESSION_BYTES + 1000 + subscription_bytes("a/b") + PACKET_ID_BYTES
    table.power_cut()
    assert table.broker.figures["sessions/bytes"] == full
    back = table.client("c", **lasting())
    back.send(Ack(kind=Kind.PUBREL, packet_id=7))
    back.send(Unsubscribe(packet_id=1, filters=("a/b",)))
    assert table.broker.figures["sessions/bytes"] == SESSION_BYTES
    table.client("c", clean=True).vanish()
    assert table.broker.figures["sessions/bytes"] == 0


def test_subscriptions_wills_and_packet_ids_are_bounded_in_bytes() -> None:
    table = Table(Limits(own_bytes=SESSION_BYTES + 4000))
    client = table.client("c")
    assert client.subscribe("/".join("abcd")) == (0,)
    assert client.subscribe("/".join("x" * 100)) == (Reason.QUOTA,)
    assert client.subscribe("/".join("abcd")) == (0,)  # it is there
    refused = table.client("w", will=Will(topic="w", payload=b"x" * 5000))
    assert refused.welcome().reason == Reason.QUOTA and refused.closed
    old = table.client("old", version=V3, clean=False)
    for number in range(1, 60):
        old.publish("t", qos=2, id=number)
    assert old.closed and table.broker.figures["clients/total"] == 2


def test_one_user_takes_not_all_that_sessions_may_hold() -> None:
    table = Table(Limits(own_bytes_user=10_000, own_bytes_total=25_000, reserved=0), Rules(first={"host"}))
    mallorys = [table.client(f"m{number}", user="mallory") for number in range(6)]
    assert [client.welcome().reason for client in mallorys] == [0] * 5 + [Reason.QUOTA]
    assert mallorys[0].subscribe("more") == (Reason.QUOTA,)
    bobs = [table.client(f"b{number}", user="bob") for number in range(5)]
    assert all(client.welcome().reason == 0 for client in bobs)
    others = [table.client(f"o{number}", user=f"u{number}") for number in range(3)]
    assert [client.welcome().reason for client in others] == [0, 0, Reason.QUOTA]  # there is no more for anybody
    mallorys[0].vanish()
    assert table.client("m9", user="mallory").welcome().reason == 0
    assert table.client("h", user="host").subscribe("a") == (0,)


def test_aliases_are_bounded_in_bytes() -> None:
    table = Table(Limits(alias_bytes=100))
    client = table.client("c")
    for number in (1, 2, 1):
        client.publish("x" * 50, properties=Properties(topic_alias=number))
    assert not client.closed
    client.publish("x", properties=Properties(topic_alias=3))
    assert client.got(Farewell)[0].reason == Reason.QUOTA


# --- rights -----------------------------------------------------------------------------------------------------


def test_what_a_client_may_not_publish_goes_nowhere_and_it_is_told() -> None:
    table = Table(rules=Rules(unpublished={"secret"}))
    hearer, publisher = table.client("h"), table.client("p")
    hearer.subscribe("#", 2)
    hearer.subscribe("$SYS/#", 2)
    publisher.publish("secret")
    publisher.publish("secret", qos=1, retain=True)
    publisher.publish("secret", qos=2, id=2)
    publisher.publish("$SYS/broker/version", qos=1, id=3)
    publisher.publish("$share/g/a", qos=1, id=4)
    assert hearer.messages() == [] and not table.disk.retained
    assert [ack.reason for ack in publisher.got(Ack)] == [Reason.NOT_AUTHORIZED] * 4
    assert table.broker.figures["publish/messages/refused"] == 5


def test_a_will_is_a_message_like_any_other_to_the_guard() -> None:
    table = Table(rules=Rules(unpublished={"secret"}))
    client = table.client("c", will=Will(topic="secret", payload=b""))
    assert client.welcome().reason == Reason.NOT_AUTHORIZED and client.closed


def test_what_may_be_heard_no_more_is_not_heard_live_nor_from_the_queue_nor_again() -> None:
    table = Table()
    hearer = table.client("h", **lasting(receive_max=1))
    hearer.subscribe("s/+", 1)
    hearer.subscribe("$share/g/s/shared", 1)
    hearer.subscribe("fine", 1)
    publisher = table.client("p")
    for number, topic in enumerate(("s/sent", "s/waits", "fine")):
        publisher.publish(topic, qos=1, id=number + 1)
    assert hearer.messages() == [("s/sent", b"x")]
    table.rules.unheard |= {"s/+", "s/sent", "s/waits", "s/shared"}
    table.review()
    publisher.publish("s/live", qos=1)
    publisher.publish("s/shared", qos=1, id=2)
    assert [ack.reason for ack in publisher.got(Ack)[-2:]] == [Reason.NO_SUBSCRIBERS] * 2
    hearer.vanish()
    back = table.client("h", **lasting())
    assert back.messages() == [("fine", b"x")]
    assert {row.message.topic for row in table.disk.deliveries.values()} == {"fine"}


def test_a_subscription_is_heard_again_when_its_right_is_back_also_after_a_new_start() -> None:
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("s/+", 0)
    hearer.subscribe("$share/g/s/+", 0)
    for unheard, count in ({"s/+"}, 0), (set[str](), 2):
        table.rules.unheard = unheard
        table.review()
        table.client("p").publish("s/1")
        assert len(hearer.messages()) == count
    table.rules.unheard = {"s/+"}
    table.power_cut()
    table.review()
    back = table.client("h", **lasting())
    table.client("p").publish("s/2")
    assert back.messages() == [] and len(table.disk.subscriptions) == 2
    assert back.subscribe("s/+") == (Reason.NOT_AUTHORIZED,)
    back.send(Unsubscribe(packet_id=4, filters=("s/+", "$share/g/s/+")))
    assert back.got(Granted)[0].reasons == (0, 0) and not table.disk.subscriptions
    table.rules.unheard = set()
    table.review()
    table.client("p").publish("s/3")
    assert back.messages() == []


def test_who_is_no_user_any_more_is_cut_off_and_its_session_ends_after_a_while() -> None:
    table = Table()
    hearer = table.client("h", user="ann", **lasting())
    hearer.subscribe("a", 1)
    other = table.client("o", user="bob", **lasting())
    table.rules.unknown, table.rules.unheard = {"ann"}, {"a"}
    table.review()
    assert hearer.closed and hearer.got(Farewell)[0].reason == Reason.ADMINISTRATIVE and not other.closed
    table.after(3000)
    table.rules.unknown, table.rules.unheard = set(), set()
    table.review()
    table.after(3000)
    back = table.client("h", user="ann", **lasting())
    assert back.welcome().resumed  # it was made anew in time
    table.client("p").publish("a", qos=1)
    assert back.messages() == [("a", b"x")]
    back.vanish()
    table.rules.unknown = {"ann"}
    table.review()
    table.after(3600)
    assert set(table.disk.sessions) == {"o"} and not table.disk.subscriptions


def test_who_has_a_new_password_logs_in_with_it_and_has_lost_nothing() -> None:
    table = Table()
    hearer, other = table.client("h", user="ann", **lasting()), table.client("o", user="bob")
    hearer.subscribe("a", 1)
    table.rules.passwords["ann"] = b"new"
    table.review()
    assert hearer.closed and not other.closed
    table.client("p").publish("a", qos=1)
    back = table.client("h", user="ann", **lasting())
    table.review()
    assert not back.closed and back.messages() == [("a", b"x")]


# --- wills ------------------------------------------------------------------------------------------------------


def gone(retain: bool = False, delay_s: int | None = None) -> Will:
    return Will(topic="gone", payload=b"bye", qos=1, retain=retain, properties=Properties(will_delay_s=delay_s))


def test_a_will_is_published_for_who_goes_without_a_word() -> None:
    table = Table()
    hearer = table.client("h")
    hearer.subscribe("gone", 1)
    table.client("a", will=gone()).vanish()
    assert hearer.messages() == [("gone", b"bye")]
    table.client("b", will=gone()).send(Farewell())
    assert hearer.messages() == []
    table.client("c", will=gone()).send(Farewell(reason=Reason.WITH_WILL))
    assert hearer.messages() == [("gone", b"bye")]


def test_a_will_waits_as_long_as_it_was_told_to_and_a_return_stops_it() -> None:
    table = Table()
    hearer = table.client("h")
    hearer.subscribe("gone", 1)
    table.client("a", will=gone(delay_s=10), **lasting()).vanish()
    table.after(9)
    assert hearer.messages() == []
    table.client("a", **lasting()).vanish()
    table.after(30)
    assert hearer.messages() == []
    table.client("b", will=gone(delay_s=10), **lasting(5)).vanish()
    table.after(6)  # the session ends before the delay does
    assert hearer.messages() == [("gone", b"bye")]
    table.client("c", will=gone(delay_s=10), **lasting()).vanish()
    table.client("c", clean=True)
    assert hearer.messages() == [("gone", b"bye")]


def test_a_will_of_who_is_taken_over_is_published_unless_it_has_time() -> None:
    table = Table()
    hearer = table.client("h")
    hearer.subscribe("gone", 1)
    table.client("a", will=gone(), **lasting())
    table.client("a", **lasting())
    assert hearer.messages() == [("gone", b"bye")]
    table.client("b", will=gone(delay_s=5), **lasting())
    table.client("b", **lasting())
    table.after(60)
    assert hearer.messages() == []


def test_a_client_that_says_nothing_is_gone_after_one_and_a_half_times_its_keepalive() -> None:
    table = Table()
    client = table.client("c", keepalive_s=10, will=gone())
    quiet = table.client("q", keepalive_s=0)
    hearer = table.client("h")
    hearer.subscribe("gone")
    table.after(14)
    client.send(Ping())
    assert client.got(Ping)[0].kind == Kind.PINGRESP
    table.after(14)
    assert not client.closed
    table.after(2)
    assert client.closed and client.got(Farewell)[0].reason == Reason.SILENT
    assert hearer.messages() == [("gone", b"bye")] and not quiet.closed


def test_a_will_whose_right_was_taken_away_is_not_published() -> None:
    table = Table()
    hearer = table.client("h")
    hearer.subscribe("gone", 1)
    client = table.client("a", will=gone())
    table.rules.unpublished = {"gone"}
    client.vanish()
    assert hearer.messages() == []


# --- a new start ------------------------------------------------------------------------------------------------


def test_a_power_cut_costs_nothing_that_was_acknowledged() -> None:
    table = Table()
    hearer = table.client("h", **lasting())
    hearer.subscribe("a", 2, identifier=4)
    hearer.vanish()
    publisher = table.client("p", **lasting())
    publisher.publish("a", b"1", qos=1)
    publisher.publish("a", b"2", qos=2, id=2)
    publisher.publish("kept", b"3", qos=1, id=3, retain=True)
    assert len(publisher.got(Ack)) == 3
    table.power_cut()
    again = table.client("p", **lasting())
    again.publish("a", b"2", qos=2, id=2, again=True)  # it had not heard of the PUBREC
    back = table.client("h", **lasting())
    assert back.welcome().resumed
    packets = back.got(Publish)
    assert [packet.payload for packet in packets] == [b"1", b"2"]
    assert packets[0].properties.subscription_ids == (4,)
    back.subscribe("kept")
    assert back.messages() == [("kept", b"3")]


def test_wills_outlive_a_power_cut_and_give_clients_time_to_return() -> None:
    table = Table()
    table.client("stays-away", will=gone(retain=True))
    table.client("returns", will=gone())
    table.power_cut()
    hearer = table.client("h")
    hearer.subscribe("gone", 1)
    table.client("returns", will=gone())
    table.after(9)
    assert hearer.messages() == []
    table.after(2)
    assert hearer.messages() == [("gone", b"bye")]
    assert "stays-away" not in table.disk.sessions and table.disk.retained["gone"].payload == b"bye"


def test_a_client_that_comes_and_goes_costs_the_disk_nothing() -> None:
    table = Table()
    client = table.client("c")
    client.subscribe("a", 1)
    client.publish("a", qos=1)
    client.ack(client.got(Publish)[0])
    client.send(Farewell())
    assert table.broker.take_changes() is None and table.broker.figures["clients/total"] == 0


def test_a_message_that_is_acknowledged_within_a_turn_costs_the_disk_nothing() -> None:
    table = Table()
    hearer, publisher = table.client("h", **lasting()), table.client("p")
    hearer.subscribe("a", 1)
    table.broker.receive(publisher.number, Publish(topic="a", payload=b"x", qos=1, packet_id=1), table.now_s)
    sent = [effect.packet for effect in table.broker.take_effects() if isinstance(effect, Send)]
    number = next(packet.packet_id for packet in sent if isinstance(packet, Publish))
    table.broker.receive(hearer.number, Ack(kind=Kind.PUBACK, packet_id=number), table.now_s)
    assert table.broker.take_changes() is None


def test_what_a_client_may_not_send_ends_its_connection_alone() -> None:
    table = Table()
    bad, good = table.client("bad"), table.client("good")
    bad.send(Connect(client="bad"))
    assert bad.got(Farewell)[0].reason == Reason.PROTOCOL_ERROR and bad.closed and not good.closed
    bad.send(Ping())  # what was on its way
    assert bad.got(Ping) == []
    table.broker.broken(good.number, PacketError(Reason.MALFORMED, "no"), table.now_s)
    table.turn()
    assert good.got(Farewell)[0].reason == Reason.MALFORMED
    old = table.client("old", version=V3)
    table.broker.broken(old.number, PacketError(Reason.MALFORMED, "no"), table.now_s)
    table.turn()
    assert old.closed and old.got(Farewell) == []


def test_methods_of_authentication_are_not_spoken() -> None:
    refused = Table().client("c", properties=Properties(auth_method="SCRAM-SHA-1"))
    assert refused.welcome().reason == Reason.BAD_METHOD
    client = Table().client("c")
    client.send(Farewell(kind=Kind.AUTH))
    assert client.got(Farewell)[0].reason == Reason.PROTOCOL_ERROR


def test_acknowledgements_of_what_was_not_sent_do_no_harm() -> None:
    table = Table()
    client = table.client("c")
    client.subscribe("a", 2)
    for kind in (Kind.PUBACK, Kind.PUBCOMP):
        client.send(Ack(kind=cast(Kind, kind), packet_id=77))  # type: ignore[arg-type]
    assert client.got(Ack) == []
    client.send(Ack(kind=Kind.PUBREC, packet_id=77))
    assert client.got(Ack)[0].reason == Reason.ID_NOT_FOUND
    client.publish("a", qos=2)
    sent = client.got(Publish)[0]
    client.ack(sent, Kind.PUBACK)  # of the wrong kind: it is still under way
    client.ack(sent, Kind.PUBREC, Reason.UNSPECIFIED)  # refused: it is done
    client.vanish()
    assert table.broker.figures["messages/stored/bytes"] == 0
