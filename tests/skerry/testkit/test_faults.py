"""The faults of a link add up, and what a fleet went through is remembered within bounds."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError
from skerry.testkit.face import FaultView
from skerry.testkit.faults import TOLD_MAX, Faults, Timeline


def test_faults_add_up_until_they_are_healed() -> None:
    faults = Faults()
    assert faults.told() == "healthy"
    faults.half_open(up=True, down=False)
    faults.slow(kbit=64, loss=0.05, delay_ms=250)
    faults.half_open(up=False, down=True)
    assert faults.told() == "half-open (down and up), 64 kbit/s, 5 % loss, 250 ms delay"
    faults.is_cut = True
    assert faults.told() == "cut"


def test_of_a_slowness_that_makes_no_sense_nothing_is_taken() -> None:
    faults = Faults()
    with pytest.raises(InvalidError, match="loss"):
        faults.slow(kbit=64, loss=2, delay_ms=0)
    assert faults == Faults()


def test_of_many_faults_the_first_and_the_newest_are_remembered() -> None:
    timeline = Timeline()
    for number in range(3 * TOLD_MAX):
        timeline.add(float(number), "plant-7", "link: cut")
    assert len(timeline.faults) == TOLD_MAX
    assert timeline.faults[0] == FaultView(at_s=0.0, who="plant-7", what="link: cut")
    assert timeline.faults[TOLD_MAX // 2 - 1].at_s == TOLD_MAX // 2 - 1
    assert timeline.faults[-1].at_s == 3 * TOLD_MAX - 1
