"""The checkers are worth something: each of three planted bugs is caught within the seeds of one run."""

from __future__ import annotations

import pytest

from tests.sim.checkers import BrokenPromiseError
from tests.sim.faults import simulate
from tests.sim.world import Plant


@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        (Plant(acknowledge_before_write=True), "3 write, then acknowledge"),
        (Plant(drop_tombstones=True), "3 write, then acknowledge"),
        (Plant(receipt_before_commit=True), "4 exactly once"),
    ],
    ids=["acknowledge before write", "drop of a tombstone", "receipt before commit"],
)
def test_a_planted_bug_is_caught(plant: Plant, promise: str) -> None:
    for seed in range(200):
        try:
            simulate(seed, plant=plant)
        except BrokenPromiseError as error:
            assert str(error).startswith(promise), f"seed {seed}"
            return
    pytest.fail("200 seeds saw nothing")
