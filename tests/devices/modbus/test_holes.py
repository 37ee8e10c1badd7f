"""What is known of holes outlives the agent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.bus import Hole
from devices.modbus.holes import read_holes, write_holes

HOLES = st.builds(
    lambda unit, table, address, at: Hole(boundary=(unit, table, address), learned_ms=at),
    st.integers(0, 255), st.sampled_from(("holding", "input", "coil", "discrete")), st.integers(0, 65535),
    st.integers(0, 2**45),
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.lists(HOLES, min_size=1, max_size=5), max_size=4))
def test_they_are_read_as_they_were_written(holes: dict[str, list[Hole]]) -> None:
    assert read_holes(write_holes(holes)) == holes


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"a": 3}', '{"a": [[1, "shelf", 2, 3]]}', '{"a": [[1]]}'])
def test_a_note_that_makes_no_sense_is_forgotten(text: str) -> None:
    assert read_holes(text) == {}
