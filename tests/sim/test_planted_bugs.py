"""The checkers are worth something: a bug planted against each promise is caught within the seeds of one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.checkers import PROMISES, BrokenPromiseError
from tests.sim.faults import simulate
from tests.sim.world import Plant

PLANTS = {
    "acknowledge before write": (Plant(acknowledge_before_write=True), 3),
    "in step too soon": (Plant(in_step_too_soon=True), 3),
    "drop of a tombstone": (Plant(drop_tombstones=True), 3),
    "receipt before commit": (Plant(receipt_before_commit=True), 4),
    "one number for a lane in pieces": (Plant(one_number_a_lane=True), 4),
    "a bulk lane that is forgotten": (Plant(forget_bulk=True), 4),
    "a cloud that knows no starts of an agent": (Plant(deaf_to_starts=True), 4),
    "an edge that gives up dialling": (Plant(give_up_dialling=True), 1),
    "a restored cloud that is told nothing": (Plant(silent_about_epochs=True), 1),
    "a replay of old states": (Plant(replay_first_state=True), 2),
    "a comparison at every reconnect": (Plant(always_compare=True), 5),
    "no window": (Plant(no_window=True), 6),
    "pods that wait for the link": (Plant(pods_wait_for_link=True), 7),
    "pods that stop with the link": (Plant(stop_when_lost=True), 8),
    "no fencing": (Plant(no_fencing=True), 9),
    "fencing that each replica does for itself": (Plant(fencing_in_memory=True), 9),
    "session numbers that each replica gives for itself": (Plant(number_from_memory=True), 9),
    "an outbox that drops silently": (Plant(drop_silently=True), 4),
    "holes in histories that nobody sees": (Plant(holes_unseen=True), 4),
    "a cloud that is deaf to versions": (Plant(deaf_to_versions=True), 1),
    "trust in the gateway's clock": (Plant(trust_clocks=True), 10),
    "trust in the clock of an earlier boot": (Plant(trust_earlier_clocks=True), 10),
    "one reading of the cloud's clock for all boots": (Plant(one_reading=True), 10),
    "a command that is begun before that is written down": (Plant(begin_unwritten=True), 11),
    "deadlines that nobody looks at": (Plant(deaf_to_deadlines=True), 11),
    "a command for a life of the store that is over": (Plant(obey_any_life=True), 11),
    "answers that nobody counts": (Plant(uncounted_answers=True), 12),
}

BREAKS_TOO = {"fencing that each replica does for itself": "4 "}
"""What else a bug breaks, in seeds that see that first."""

SEEN_BY = {
    "one number for a lane in pieces": 97,
    "a command for a life of the store that is over": 35,
    "fencing that each replica does for itself": 28,
    "session numbers that each replica gives for itself": 23,
    "a command that is begun before that is written down": 22,
    "receipt before commit": 23,
    "a cloud that knows no starts of an agent": 11,
}
"""The seed that saw it last time saves the search from the beginning; in other worlds it is one like any other."""


def caught(seed: int, plant: Plant) -> str:
    try:
        simulate(seed, plant=plant)
    except BrokenPromiseError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("bug", PLANTS)
def test_a_planted_bug_is_caught_and_its_promise_named(bug: str) -> None:
    plant, promise = PLANTS[bug]
    for seed in (SEEN_BY.get(bug, 0), *range(200)):
        said = caught(seed, plant)
        if said and not said.startswith(BREAKS_TOO.get(bug, "nothing")):
            assert said.startswith(f"{promise} {PROMISES[promise]}: "), f"seed {seed}: {said}"
            assert caught(seed, Plant()) == "", "it was the bug, and nothing else of that seed"
            return
    pytest.fail("200 seeds saw nothing")


def test_every_promise_has_a_bug_that_breaks_it() -> None:
    assert {promise for _, promise in PLANTS.values()} == set(PROMISES)


def test_the_page_for_contributors_tells_of_every_promise_and_its_bugs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "simulation.md"
    lines = page.read_text().splitlines()
    for promise, name in PROMISES.items():
        (row,) = (line for line in lines if line.startswith(f"| {promise} {name} |"))
        told = row.strip("| ").split(" | ")[-1].split("; ")
        assert told == [bug for bug, (_, broken) in PLANTS.items() if broken == promise]
