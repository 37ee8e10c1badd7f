"""Topics of rules, and the bodies in which their messages are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.objects.json import decode_object
from skerry.objects.rules import (
    PAYLOAD_BYTES_MAX,
    RuleMessage,
    heard_topic,
    matches,
    told_topic,
    topic_faults,
)

LEVELS = st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=4)


@given(st.binary(max_size=200), st.text(max_size=10))
def test_a_message_is_told_as_it_is(payload: bytes, topic: str) -> None:
    topic = topic.encode(errors="replace").decode()
    told = RuleMessage(namespace="d", rule="r", topic=topic, payload=payload)
    assert RuleMessage.decode(decode_object(told.encode())) == told


@pytest.mark.parametrize(
    "body",
    [
        b'{"rule":"r","topic":"t","payload":""}',
        b'{"namespace":"d","topic":"t"}',
        b'{"namespace":"d","rule":"r","payloadBase64":"!!"}',
        b'{"namespace":"d","rule":"r","payload":"' + b"x" * (PAYLOAD_BYTES_MAX + 1) + b'"}',
    ],
)
def test_a_message_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        RuleMessage.decode(decode_object(body))


def test_topics_are_below_the_rules_namespace_as_in_kubeedge() -> None:
    assert heard_topic("default", "test") == "default/test"
    assert heard_topic("default", "/plant//1/") == "default/plant/1"
    assert heard_topic("default", "SYS/dis/upload_records") == "SYS/dis/upload_records"
    assert heard_topic("default", "$hw/events/upload/#") == "$hw/events/upload/#"


def test_what_a_path_says_beyond_the_rules_is_below_its_topic() -> None:
    assert told_topic("orders", "") == "orders"
    assert told_topic("orders", "/") == "orders"
    assert told_topic("orders/", "/line/1") == "orders/line/1"


@pytest.mark.parametrize(
    ("topic_filter", "topic", "meant"),
    [
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+", "a", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a", "a/b", False),
        ("+", "", True),
    ],
)
def test_filters_mean_what_mqtt_says(topic_filter: str, topic: str, *, meant: bool) -> None:
    assert matches(topic_filter, topic) is meant


@given(LEVELS)
def test_a_topic_without_wildcards_means_itself_alone(levels: list[str]) -> None:
    topic = "/".join(levels)
    assert matches(topic, topic)
    assert not matches(topic, topic + "/more")
    assert matches(topic + "/#", topic + "/more")


@pytest.mark.parametrize("topic", ["", "//", "a/b+", "a/#/b", "a#", "a\0b", "x" * 2000])
def test_topics_that_no_broker_takes_are_found(topic: str) -> None:
    assert topic_faults(topic, wildcards=True)


@pytest.mark.parametrize("topic", ["a", "/a/", "+/a", "a/#", "#", "$hw/events/upload/#"])
def test_topics_that_brokers_take_pass(topic: str) -> None:
    assert not topic_faults(topic, wildcards=True)


def test_nothing_is_published_on_a_filter() -> None:
    assert topic_faults("a/+", wildcards=False)
    assert topic_faults("a/#", wildcards=False)
    assert not topic_faults("a/b", wildcards=False)
