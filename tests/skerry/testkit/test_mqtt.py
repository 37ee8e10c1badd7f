"""The broker's rules and the devices behind it, without a network."""

from __future__ import annotations

import json

import pytest

from skerry.errors import InvalidError
from skerry.objects.json import Json
from skerry.testkit.mqtt import (
    QUEUE_MAX,
    WINDOW,
    Devices,
    Exchange,
    Message,
    Session,
    document_of,
    matches,
    payload_of,
    topic_of,
)


class Client:
    """Somebody with a lasting session."""

    def __init__(self, exchange: Exchange, name: str, *filters: str) -> None:
        self.exchange = exchange
        self.session: Session
        self.got: list[tuple[str, int, bool]] = []
        self.session, self.known = exchange.session(name, clean=False)
        self.come()
        exchange.subscribe(self.session, [(wanted, 1) for wanted in filters])

    def come(self) -> None:
        self.session.resume(lambda message, number, again: self.got.append((message.payload.decode(), number, again)))


def said(text: str, topic: str = "site/mast", *, qos: int = 1, retain: bool = False) -> Message:
    return Message(topic=topic, payload=text.encode(), qos=qos, retain=retain)


def test_what_was_not_acknowledged_comes_again_in_order_with_what_came_meanwhile() -> None:
    exchange = Exchange(lambda message: None)
    client = Client(exchange, "eu-1", "site/+")
    for text in "abc":
        exchange.route(said(text))
    client.session.acknowledged(1)
    exchange.left(client.session)
    exchange.route(said("d"))
    exchange.route(said("lost", qos=0))
    client.come()
    assert client.got == [(text, at, False) for at, text in enumerate("abc", 1)] + [
        ("b", 2, True),
        ("c", 3, True),
        ("d", 4, False),
    ]
    assert Client(exchange, "eu-1").known


def test_no_more_than_a_window_is_on_its_way_and_no_more_than_a_queue_is_kept() -> None:
    exchange = Exchange(lambda message: None)
    client = Client(exchange, "eu-1", "site/mast")
    for number in range(WINDOW + 2):
        exchange.route(said(str(number)))
    assert len(client.got) == WINDOW
    client.session.acknowledged(1)
    assert client.got[-1][0] == str(WINDOW)
    for number in range(QUEUE_MAX):
        exchange.route(said(str(number)))
    assert (len(client.session.queue), client.session.dropped) == (QUEUE_MAX, 1)


def test_what_is_retained_greets_who_comes_until_it_is_cleared() -> None:
    exchange = Exchange(lambda message: None)
    exchange.route(said("online", retain=True))
    client = Client(exchange, "eu-1", "site/#")
    assert client.got == [("online", 1, False)]
    exchange.route(said("", retain=True))
    assert Client(exchange, "us-1", "site/#").got == []


def test_a_will_is_said_when_its_client_is_gone() -> None:
    exchange = Exchange(lambda message: None)
    listener, mast = Client(exchange, "eu-1", "state"), Client(exchange, "mast")
    mast.session.will = said("offline", "state")
    exchange.left(mast.session)
    exchange.left(mast.session)
    assert [text for text, *_ in listener.got] == ["offline"]


@pytest.mark.parametrize(
    ("wanted", "topic", "fits"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("+", "$SYS", False),
        ("#", "$SYS/x", False),
        ("a/b", "a", False),
    ],
)
def test_filters_are_as_the_protocol_has_them(wanted: str, topic: str, fits: bool) -> None:
    assert matches(wanted, topic) is fits


def test_a_device_numbers_and_dates_what_it_tells() -> None:
    devices = Devices()
    devices.tells("site/mast", {"t": 21.5, "n": "${n}", "at": ["${at}"], "is": "n"})
    told = [json.loads(devices.payload("site/mast", 5.0 + number) or b"") for number in range(2)]
    assert told == [{"t": 21.5, "n": number, "at": [4.0 + number], "is": "n"} for number in (1, 2)]
    devices.tells("site/mast", None)
    assert devices.payload("site/mast", 9.0) is None


@pytest.mark.parametrize(
    ("path", "template", "command", "becomes"),
    [
        ("$", "${value}", "30", 30),
        ("$.set", "${value}", "on", {"level": 1, "set": "on"}),
        ("$.deep[1].set", '{"set": ${value}}', '{"set": true}', {"level": 1, "deep": [None, {"set": True}]}),
        ("$.set", "set=${value};", "get", None),
    ],
)
def test_a_device_does_what_it_is_told(path: str, template: str, command: str, becomes: Json) -> None:
    devices = Devices()
    devices.tells("state", {"level": 1})
    devices.obeys("command", "state", path, template)
    told = devices.commanded(said(command, "command"))
    assert told == ([] if becomes is None else ["state"])
    assert json.loads(devices.payload("state", 0.0) or b"") == (becomes if told else {"level": 1})


def test_a_command_of_another_form_is_told_from_one_that_nobody_waits_for() -> None:
    devices = Devices()
    devices.obeys("command", "state", "$", "set ${value}")
    heard = [("command", b"set 3"), ("command", b"3"), ("elsewhere", b"3")]
    messages = [Message(topic=topic, payload=payload, qos=1) for topic, payload in heard]
    assert [devices.is_misunderstood(message) for message in messages] == [False, True, False]


def test_what_can_not_be_told_is_refused_with_the_fix() -> None:
    for call, word in (
        (lambda: topic_of("site/+"), "a plain MQTT topic such as site/mast"),
        (lambda: topic_of(7), "not 7"),
        (lambda: payload_of(object()), "what JSON can say"),
        (lambda: payload_of(float("nan")), "what JSON can say"),
        (lambda: Devices().obeys("a", "b", "$", "set"), "has ${value} in it, once"),
        (lambda: Devices().obeys("a", "b", "set", "${value}"), "begin with $"),
    ):
        with pytest.raises(InvalidError) as refused:
            call()
        assert word in str(refused.value)


def test_a_document_has_its_values_at_their_places() -> None:
    assert document_of({("a", "b"): 1, ("a", "c"): "${n}", ("d", 0): True}) == {
        "a": {"b": 1, "c": "${n}"},
        "d": [True],
    }
    assert document_of({(): 5}) == 5
