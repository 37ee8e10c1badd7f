"""Both sides write, the link is cut, clocks are wrong, agents start anew and clouds are restored: whatever the order,
they agree, no uncontested write is lost, and who loses a true conflict is kept.

`make twins` runs 3,000 schedules of each policy; here are some of each. That they would see a bug is shown by
planting some.
"""

from __future__ import annotations

import os

import pytest

from skerry.objects.desired import POLICIES, Policy
from tests.edgecore.twins.schedules import Diet, Plants, Schedule

SCHEDULES = int(os.environ.get("SKERRY_TWIN_SCHEDULES", "100"))


@pytest.mark.parametrize("policy", POLICIES)
def test_whatever_the_schedule_they_agree_and_nothing_uncontested_is_lost(policy: Policy) -> None:
    found = wrong(policy, "mixed")
    assert not found, "\n".join(found[:3])


@pytest.mark.parametrize(("policy", "diet"), [("newest", "models"), ("newest", "restores"), ("min", "restores")])
def test_the_same_where_models_are_edited_and_where_clouds_are_set_back_to_before_a_removal(
    policy: Policy, diet: Diet
) -> None:
    found = wrong(policy, diet)
    assert not found, "\n".join(found[:3])


def wrong(policy: Policy, diet: Diet) -> list[str]:
    """What went wrong, with how it came to that."""
    found: list[str] = []
    for seed in range(SCHEDULES):
        schedule = Schedule(seed, policy, diet=diet)
        schedule.run()
        if verdict := schedule.verdict():
            found.append("\n  ".join([f"seed {seed}: {verdict}", *schedule.story]))
    return found


@pytest.mark.parametrize(
    ("plants", "policy", "diet"),
    [
        (Plants(forget_tombstones=True), "newest", "restores"),
        (Plants(tell_nothing_merged=True), "newest", "models"),
        (Plants(fallback_is_a_wish=True), "edge", "mixed"),
        (Plants(fallback_is_a_wish=True), "manual", "mixed"),
    ],
)
def test_a_planted_bug_is_seen(plants: Plants, policy: Policy, diet: Diet) -> None:
    def is_seen(seed: int) -> bool:
        schedule = Schedule(seed, policy, diet=diet, plants=plants)
        schedule.run()
        return bool(schedule.verdict())

    assert any(is_seen(seed) for seed in range(500))
