"""The received set of an outbox: written, told and read back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.objects.spans import Span, Spans
from skerry.sync.received import Received
from skerry.wire.frames import BULK, PROMPT, LaneReceived

STEPS = st.lists(st.tuples(st.sampled_from([PROMPT, BULK]), st.integers(1, 30), st.integers(0, 9)), max_size=10)


@given(STEPS)
def test_what_is_kept_and_what_is_told_is_the_same_set(steps: list[tuple[int, int, int]]) -> None:
    received = Received()
    for lane, first, more in steps:
        received = received.add(lane, Span(first, first + more))
    assert Received.read(received.text) == received
    assert Received.told(received.unbroken, received.beyond) == received
    for lane in (PROMPT, BULK):
        numbers = {n for at, first, more in steps if at == lane for n in range(first, first + more + 1)}
        assert {n for n in range(50) if n in received.lanes[lane]} == numbers


def test_equal_lanes_cost_nothing_to_tell() -> None:
    assert Received.upto(7).beyond == ()
    assert (Received.upto(7).unbroken, Received.upto(7).top) == (7, 7)
    assert Received((Spans.upto(9), Spans.read("1-4,6-7"))).beyond == (
        LaneReceived(lane=0, spans=(Span(1, 9),)),
        LaneReceived(lane=1, spans=(Span(1, 4), Span(6, 7))),
    )


def test_a_store_from_before_a_lane_was_known_has_nothing_of_it() -> None:
    assert Received.read("1-4") == Received((Spans.upto(4), Spans()))
    with pytest.raises(InvalidError, match="3 lanes"):
        Received.read("1-4;;")


@pytest.mark.parametrize("lane", [LaneReceived(lane=2, spans=()), LaneReceived(lane=1, spans=(Span(2, 1),))])
def test_what_is_no_set_is_refused(lane: LaneReceived) -> None:
    with pytest.raises(InvalidError):
        Received.told(0, (lane,))
