from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.mqtt.packets import PacketError
from skerry.mqtt.topics import (
    LEVELS_MAX,
    FilterTree,
    TopicTree,
    check_topic,
    covers,
    is_filter,
    matches,
    may_subscribe,
    shared,
)

LEVELS = st.sampled_from(["a", "b", "", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(LEVELS | st.just("+"), max_size=4), st.booleans())
    .map(lambda drawn: "/".join([*drawn[0], *(["#"] if drawn[1] else [])]))
    .filter(bool)
)


@pytest.mark.parametrize(
    ("wanted", "topic", "matching"),
    [
        # MQTT 5.0, 4.7.1 and 4.7.2
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "a/b", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/uptime", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("a", "A", False),
    ],
)
def test_filters_match_as_the_standard_says(wanted: str, topic: str, matching: bool) -> None:
    assert matches(wanted, topic) is matching
    by_filter: FilterTree[int] = FilterTree()
    by_filter.put(wanted, "n", 1)
    by_topic: TopicTree[int] = TopicTree()
    by_topic.put(topic, 1)
    assert bool(by_filter.find(topic)) is bool(by_topic.find(wanted)) is matching


def test_what_is_no_filter() -> None:
    for wanted in ("", "a#", "a/#/b", "a+", "a/+b", "#/a", "/".join("a" * (LEVELS_MAX + 1))):
        assert not is_filter(wanted), wanted
    for wanted in ("#", "+", "+/#", "/", "a//b", "/".join("a" * LEVELS_MAX)):
        assert is_filter(wanted), wanted


def test_shares_have_a_name_and_a_filter() -> None:
    assert shared("$share/g/a/+") == ("g", "a/+")
    assert shared("a/b") == ("", "a/b")
    assert may_subscribe("$share/g/#") and may_subscribe("a/#")
    for wanted in ("$share/", "$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/g/a#"):
        assert not may_subscribe(wanted), wanted


def test_nobody_publishes_on_wildcards_nor_on_nothing() -> None:
    for topic in ("", "a/+", "#", "/".join("a" * (LEVELS_MAX + 1))):
        with pytest.raises(PacketError):
            check_topic(topic)
    check_topic("/")


@given(st.lists(FILTERS, max_size=12, unique=True), st.lists(TOPICS, max_size=8, unique=True), st.data())
@settings(max_examples=100, deadline=None)
def test_trees_find_what_matches_and_forget_what_was_removed(
    filters: list[str], topics: list[str], data: st.DataObject
) -> None:
    by_filter: FilterTree[str] = FilterTree()
    by_topic: TopicTree[str] = TopicTree()
    for wanted in filters:
        by_filter.put(wanted, "n", wanted)
    for topic in topics:
        by_topic.put(topic, topic)
    for wanted in data.draw(st.lists(st.sampled_from(filters), unique=True)) if filters else []:
        by_filter.remove(wanted, "n")
        filters.remove(wanted)
    for topic in data.draw(st.lists(st.sampled_from(topics), unique=True)) if topics else []:
        assert by_topic.remove(topic) == topic
        topics.remove(topic)
    for topic in [*topics, "a/b", "$x/a"]:
        assert sorted(by_filter.find(topic)) == sorted(each for each in filters if matches(each, topic))
    for wanted in [*filters, "#", "+/+"]:
        assert sorted(by_topic.find(wanted)) == sorted(each for each in topics if matches(wanted, each))
    for wanted in filters:
        by_filter.remove(wanted, "n")
        by_filter.remove(wanted, "n")
    for topic in topics:
        by_topic.remove(topic)
    assert not by_filter._root.children and not by_topic._root.children and not len(by_topic)


@given(FILTERS, FILTERS, st.lists(TOPICS, min_size=1, max_size=20))
@settings(max_examples=150, deadline=None)
def test_a_pattern_that_covers_a_filter_matches_all_that_it_does(
    pattern: str, wanted: str, topics: list[str]
) -> None:
    if covers(pattern, wanted):
        assert all(matches(pattern, topic) for topic in topics if matches(wanted, topic))


def test_a_pattern_covers_what_is_narrower() -> None:
    for pattern, wanted in (
        ("#", "a/#"), ("a/+", "a/b"), ("a/+", "a/+"), ("a/#", "a"), ("a/#", "a/+/c"), ("$hw/#", "$hw/a/+"),
    ):  # fmt: skip
        assert covers(pattern, wanted), (pattern, wanted)
    for pattern, wanted in (
        ("a/+", "a/#"), ("a/b", "a/+"), ("a", "a/b"), ("a/b", "a"), ("#", "$hw/a"), ("+/a", "$hw/a"), ("a/+", "#"),
    ):  # fmt: skip
        assert not covers(pattern, wanted), (pattern, wanted)
