"""The devices behind a broker, without a network."""

from __future__ import annotations

import json

import pytest

from skerry.errors import InvalidError
from skerry.mqtt.kept import Message
from skerry.objects.json import Json
from skerry.testkit.mqtt import Devices, document_of, payload_of, topic_of


def said(text: str, topic: str = "site/mast", *, qos: int = 1, retain: bool = False) -> Message:
    return Message(topic=topic, payload=text.encode(), qos=qos, retain=retain)


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
