"""Sets of numbers as spans: the same as sets of numbers, in few words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.objects.spans import Span, Spans

SPAN = st.tuples(st.integers(1, 40), st.integers(0, 12)).map(lambda pair: Span(pair[0], pair[0] + pair[1]))


def numbers(spans: Spans) -> set[int]:
    return {number for span in spans.spans for number in range(span.first, span.through + 1)}


def made(spans: list[Span]) -> Spans:
    found = Spans()
    for span in spans:
        found = found.add(span)
    return found


@given(st.lists(SPAN, max_size=12), SPAN, st.integers(0, 60))
def test_spans_are_the_set_of_their_numbers(given_spans: list[Span], other: Span, limit: int) -> None:
    spans = made(given_spans)
    wanted = {number for span in given_spans for number in range(span.first, span.through + 1)}
    probe = set(range(other.first, other.through + 1))
    assert numbers(spans) == wanted
    assert spans.meets(other) == bool(probe & wanted)
    assert spans.covers(other) == (probe <= wanted)
    assert [number for number in range(61) if number in spans] == sorted(wanted)
    assert spans.top == max(wanted, default=0)
    assert spans.unbroken == next(number for number in range(60) if number + 1 not in wanted)
    assert numbers(Spans(spans.holes(limit))) == set(range(1, limit + 1)) - wanted


@given(st.lists(SPAN, max_size=12))
def test_spans_are_as_few_as_can_be_and_read_back(given_spans: list[Span]) -> None:
    spans = made(given_spans)
    assert all(one.through + 1 < other.first for one, other in zip(spans.spans, spans.spans[1:], strict=False))
    assert Spans.read(spans.text) == spans == Spans.of(spans.spans)
    assert len(spans) == len(spans.spans)


@given(st.permutations([Span(1, 3), Span(4, 4), Span(6, 9), Span(20, 30), Span(8, 12)]))
def test_the_order_of_adding_does_not_matter(spans: list[Span]) -> None:
    assert made(spans).text == "1-4,6-12,20-30"


@pytest.mark.parametrize("text", ["1", "a-b", "3-2", "1-4,5-6", "9-10,1-2", "0-0", "1-2,,-", "-1-2"])
def test_what_is_not_written_so_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        Spans.read(text)


def test_everything_up_to_nothing_is_nothing() -> None:
    assert Spans.upto(0) == Spans() == Spans.read("")
    assert Spans.upto(4).text == "1-4"
