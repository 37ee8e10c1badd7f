"""Sets of completion indexes, against sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.controllers.job.indexes import Indexes, index_set, parse_indexes

SETS = st.sets(st.integers(0, 60))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("0", "0"),
        ("0,1", "0,1"),
        ("0,1,2", "0-2"),
        ("1,3-5,7", "1,3-5,7"),
        ("3-5,1", "1,3-5"),
        ("8-20", "8,9"),
        ("10,3", "3"),
        ("x,1-y,2,-,4-", "2,4"),
    ],
)
def test_what_a_status_says_is_read_below_the_completions_and_written_in_its_one_form(
    text: str, written: str
) -> None:
    assert str(parse_indexes(text, 10)) == written


@given(SETS, SETS)
def test_they_are_sets(one: set[int], other: set[int]) -> None:
    mine, theirs = index_set(one), index_set(other)
    assert mine | theirs == index_set(one | other)
    assert mine.common(theirs) == len(one & other)
    assert mine.total == len(one)
    assert bool(mine) == bool(one)
    assert {index for index in range(70) if index in mine} == one
    assert parse_indexes(str(mine), 100) == mine
    assert all(after[0] > before[1] + 1 for before, after in zip(mine.spans, mine.spans[1:], strict=False))


@given(SETS, st.integers(0, 70), st.integers(0, 20))
def test_what_lacks_comes_in_order(taken: set[int], completions: int, count: int) -> None:
    lacking = [index for index in range(completions) if index not in taken][:count]
    assert index_set(taken).lacking(completions, count) == lacking


def test_a_hundred_thousand_cost_little() -> None:
    even = Indexes(tuple((index, index) for index in range(0, 200_000, 2)))
    assert even.lacking(200_000, 3) == [1, 3, 5]
    assert 199_998 in even
    assert 199_999 not in even
