"""Numbers that were not taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecore.twins.numbers import HOLES_MAX, filled, first, lacks, onward


@given(st.lists(st.integers(min_value=0, max_value=60), min_size=1, max_size=25, unique=True))
def test_what_lacks_is_what_was_not_taken(numbers: list[int]) -> None:
    taken, last, holes = {numbers[0]}, numbers[0], first(numbers[0])
    for number in numbers[1:]:
        if number > last:
            holes, last = onward(holes, last, number), number
        else:
            assert lacks(holes, number)
            holes = filled(holes, number)
        taken.add(number)
        assert {each for each in range(last + 1) if lacks(holes, each)} == set(range(last + 1)) - taken


def test_no_more_is_kept_than_a_broker_has_under_way() -> None:
    holes = first(0)
    for number in range(10, 2000, 10):
        holes = onward(holes, number - 10, number)
    assert len(holes) == HOLES_MAX
    assert lacks(holes, 1989)
    assert not lacks(holes, 5), "what is long past counts as taken"
    assert len(filled(holes, 1985)) == HOLES_MAX
