"""Which rules hear what, and which messages were heard before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.rules.plan import MARKS_MAX, Mark, joined, mark_of, marks_text, messages_of, read_marks, sources_of
from skerry.objects.json import JsonObject
from skerry.objects.rules import PAYLOAD_BYTES_MAX

ENDPOINTS: dict[tuple[str, str], JsonObject] = {
    ("d", "e"): {"spec": {"ruleEndpointType": "eventbus"}},
    ("d", "r"): {"spec": {"ruleEndpointType": "rest"}},
    ("other", "r"): {"spec": {"ruleEndpointType": "rest"}},
}


def rule(
    topic: str = "t", *, node: str = "eu-1", source: str = "e", target: str = "r", name: str = "x"
) -> JsonObject:
    return {
        "metadata": {"namespace": "d", "name": name},
        "spec": {
            "source": source,
            "sourceResource": {"topic": topic, "node_name": node},
            "target": target,
            "targetResource": {"resource": "http://a"},
        },
    }


def test_a_rule_of_this_node_with_both_its_ends_is_heard() -> None:
    [source] = sources_of([rule()], ENDPOINTS, node="eu-1")
    assert (source.namespace, source.rule, source.topic) == ("d", "x", "d/t")


@pytest.mark.parametrize(
    "deaf",
    [
        rule(node="eu-2"),
        rule(source="missing"),
        rule(target="missing"),
        rule(source="r"),
        rule(target="e"),
        rule(topic="a+"),
        rule(topic=""),
        {**rule(), "metadata": {"namespace": "d", "name": "x", "deletionTimestamp": "2026-11-28T00:00:00Z"}},
    ],
)
def test_all_others_are_not(deaf: JsonObject) -> None:
    assert not sources_of([deaf], ENDPOINTS, node="eu-1")


def test_a_message_is_told_for_each_rule_that_means_its_topic() -> None:
    sources = sources_of(
        [rule("a/+", name="one"), rule("a/b", name="two"), rule("c", name="no")], ENDPOINTS, node="eu-1"
    )
    told = messages_of(sources, "d/a/b", b"1")
    assert [(message.rule, message.payload, message.topic) for message in told] == [
        ("one", b"1", "d/a/b"),
        ("two", b"1", "d/a/b"),
    ]


def test_of_a_message_that_is_too_large_its_size_is_told() -> None:
    sources = sources_of([rule()], ENDPOINTS, node="eu-1")
    [most] = messages_of(sources, "d/t", b"x" * PAYLOAD_BYTES_MAX)
    [more] = messages_of(sources, "d/t", b"x" * (PAYLOAD_BYTES_MAX + 1))
    assert (len(most.payload), most.left_out_bytes) == (PAYLOAD_BYTES_MAX, 0)
    assert (more.payload, more.left_out_bytes) == (b"", PAYLOAD_BYTES_MAX + 1)


@given(st.frozensets(st.builds(mark_of, st.integers(1, 65_535), st.text(max_size=5), st.binary(max_size=5))))
def test_marks_are_read_as_they_were_written(marks: frozenset[Mark]) -> None:
    held = {mark.mid: mark for mark in marks}
    assert read_marks(marks_text(held.values())) == held


def test_of_too_many_marks_the_newest_are_kept() -> None:
    held = joined({}, (Mark(mid, "") for mid in range(MARKS_MAX)))
    held = joined(held, [Mark(3, "new"), Mark(MARKS_MAX, "")])
    assert len(held) == MARKS_MAX
    assert 0 not in held
    assert [*held.values()][-2:] == [Mark(3, "new"), Mark(MARKS_MAX, "")]


def test_before_the_first_message_there_are_none_nor_in_what_makes_no_sense() -> None:
    assert read_marks(None) == {}
    assert all(read_marks(text) == {} for text in ("[1]", "{", '[["a", 1]]', "7"))
