from __future__ import annotations

from skerry.mqtt.limits import Limits
from skerry.mqtt.packets import Ack, Publish
from tests.skerry.mqtt.table import Client, Rules, Table, lasting

SIZE = 1000
"""Of a message here, with all that it costs."""


def publish(client: Client, topic: str, count: int) -> None:
    for number in range(count):
        client.publish(topic, b"x" * (SIZE - 400 - len(topic)), qos=1, id=number % 60000 + 1)


def waiting(table: Table, client: str) -> int:
    return sum(row.client == client for row in table.disk.deliveries.values())


def away(table: Table, name: str, filter: str, user: str = "u") -> None:
    client = table.client(name, user=user, **lasting())
    client.subscribe(filter, 1)
    client.vanish()


def test_who_is_there_hears_though_others_that_are_away_have_filled_all_room() -> None:
    table = Table(Limits(queue_bytes=8 * SIZE, total_bytes=64 * SIZE))
    for number in range(8):
        away(table, f"away{number}", "#")
    publisher, live = table.client("p"), table.client("live")
    publish(publisher, "t", 100)
    live.subscribe("t", 1)
    publish(publisher, "t", 8)
    assert len(live.got(Publish)) == 8
    assert all(waiting(table, f"away{number}") for number in range(8))
    assert table.broker.figures["messages/stored/bytes"] <= 64 * SIZE


def test_the_session_that_holds_most_gives_way_and_the_others_lose_nothing() -> None:
    table = Table(Limits(total_bytes=10 * SIZE))
    away(table, "small", "s")
    away(table, "large", "l")
    publisher = table.client("p")
    publish(publisher, "s", 3)
    publish(publisher, "l", 20)
    assert waiting(table, "small") == 3 and waiting(table, "large") == 7
    publish(publisher, "s", 2)
    assert waiting(table, "small") == 5 and waiting(table, "large") == 5
    assert table.broker.dropped() == {"large": 15}


def test_many_sessions_of_one_user_give_way_before_the_one_of_another() -> None:
    table = Table(Limits(total_bytes=20 * SIZE))
    away(table, "anns", "a", user="ann")
    for number in range(10):
        away(table, f"mallorys{number}", f"m/{number}", user="mallory")
    publisher = table.client("p")
    publish(publisher, "a", 6)
    for number in range(10):
        publish(publisher, f"m/{number}", 3)
    assert waiting(table, "anns") == 6 and set(table.broker.dropped()) <= {f"mallorys{n}" for n in range(10)}


def test_who_comes_first_gives_way_last() -> None:
    table = Table(Limits(total_bytes=10 * SIZE), Rules(first={"host"}))
    away(table, "hosts", "h", user="host")
    away(table, "anns", "a", user="ann")
    publisher = table.client("p")
    publish(publisher, "h", 9)
    publish(publisher, "a", 1)
    publish(publisher, "h", 1)
    assert (waiting(table, "hosts"), waiting(table, "anns")) == (10, 0)
    publish(publisher, "h", 2)
    assert waiting(table, "hosts") == 10 and table.broker.dropped() == {"anns": 1, "hosts": 2}


def test_who_is_away_gives_way_before_who_is_there_with_the_same() -> None:
    table = Table(Limits(total_bytes=10 * SIZE, inflight=1))
    live = table.client("live")
    live.subscribe("l", 1)
    away(table, "away", "a")
    publisher = table.client("p")
    publish(publisher, "l", 6)
    publish(publisher, "a", 4)
    publish(publisher, "l", 1)
    assert table.broker.dropped() == {"away": 1}


def test_what_is_larger_than_all_room_goes_nowhere_and_is_counted() -> None:
    table = Table(Limits(total_bytes=SIZE))
    away(table, "a", "t")
    publisher = table.client("p")
    publisher.publish("t", b"x" * 2 * SIZE, qos=1)
    assert publisher.got(Ack) and table.broker.dropped() == {"a": 1} and waiting(table, "a") == 0
