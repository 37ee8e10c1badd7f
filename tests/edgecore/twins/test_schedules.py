"""Both sides write, the link is cut, clocks are wrong, agents start anew and clouds are restored: whatever the order,
they agree, no uncontested write is lost, and who loses a true conflict is kept.

`make twins` runs 3,000 schedules of each policy; here are some of each.
"""

from __future__ import annotations

import os

import pytest

from skerry.objects.desired import POLICIES, Policy
from tests.edgecore.twins.schedules import Schedule

SCHEDULES = int(os.environ.get("SKERRY_TWIN_SCHEDULES", "60"))


@pytest.mark.parametrize("policy", POLICIES)
def test_whatever_the_schedule_they_agree_and_nothing_uncontested_is_lost(policy: Policy) -> None:
    wrong: list[str] = []
    for seed in range(SCHEDULES):
        schedule = Schedule(seed, policy)
        schedule.run()
        if verdict := schedule.verdict():
            wrong.append("\n  ".join([f"seed {seed}: {verdict}", *schedule.story]))
    assert not wrong, f"{len(wrong)} of {SCHEDULES}:\n" + "\n".join(wrong[:3])
