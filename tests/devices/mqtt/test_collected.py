"""What is kept of what a broker says has bounds, whoever says it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devices.mqtt.collected import BYTES_MAX, DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, Collected

SAID = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([0, 10, DOCUMENT_BYTES_MAX, DOCUMENT_BYTES_MAX + 1]))


@given(st.lists(SAID))
def test_the_newest_of_each_topic_is_kept_unless_it_is_too_large(said: list[tuple[str, int]]) -> None:
    collected = Collected()
    for topic, size in said:
        collected.take(topic, bytes(size))
    newest = dict(said)
    assert {topic: len(text) for topic, text in collected.documents.items()} == {
        topic: size for topic, size in newest.items() if size <= DOCUMENT_BYTES_MAX
    }


def test_what_is_too_large_is_told_by_its_topic_and_as_a_number_where_there_are_many() -> None:
    collected = Collected()
    for number in range(300):
        collected.take(f"t{number}", bytes(1 << 20))
    assert collected.documents == {}
    lines = collected.left_out()
    assert lines[0] == "t0: its 1048576 bytes are more than 64 KiB"
    assert lines[20:] == ("280 more messages of more than 64 KiB",)


def test_all_of_it_together_has_a_bound_in_bytes_and_in_topics() -> None:
    collected = Collected()
    for number in range(300):
        collected.take(f"t{number}", bytes(DOCUMENT_BYTES_MAX))
        collected.take("same", bytes(DOCUMENT_BYTES_MAX))  # counted once, as it is kept once
    assert sum(len(topic) + len(text) for topic, text in collected.documents.items()) <= BYTES_MAX
    assert len(collected.documents) >= BYTES_MAX // DOCUMENT_BYTES_MAX - 2
    assert "messages, as 10000 topics and 8 MiB are heard at once" in collected.left_out()[0]
    many = Collected()
    for number in range(DOCUMENTS_MAX + 5):
        many.take(f"t{number}", b"")
    assert len(many.documents) == DOCUMENTS_MAX and many.left_out()[0].startswith("5 messages")
