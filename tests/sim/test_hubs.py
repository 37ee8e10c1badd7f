"""Worlds of several hubs, each from one number, and bugs that are planted there: who is heard is not called silent,
who is heard nowhere is, and no late word of an older session or an older leader counts.

A tenth as many worlds as `tests/sim/test_seeds.py` plays (`SKERRY_SIM_SEEDS`), from the same first one
(`SKERRY_SIM_FROM`): one takes half a second. One that breaks a promise prints the end of its transcript.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sim.hub_checkers import PROMISES, BrokenHubPromiseError
from tests.sim.hub_faults import simulate
from tests.sim.hubs import HubPlant
from tests.sim.schedule import Action

WORLDS = int(os.environ.get("SKERRY_SIM_SEEDS", "200")) // 10
FROM = int(os.environ.get("SKERRY_SIM_FROM", "0"))
CHUNK = 4
PLANTED_MAX = 12
PLANTS = {
    "a hub that contradicts nobody": (HubPlant(uncontradicted=True), 13),
    "no grace": (HubPlant(no_grace=True), 13),
    "a leader that takes every other hub for dead": (HubPlant(all_taken_for_dead=True), 13),
    "a leader that leaves the nodes of dead hubs": (HubPlant(orphans_left=True), 14),
    "a hub that is deaf to the ends of sessions": (HubPlant(deaf_to_ends=True), 14),
    "a hub that knows no entry but by its answer": (HubPlant(deaf_to_entries=True), 14),
    "a store that fences nobody": (HubPlant(unfenced_store=True), 15),
    "a leader whose work is not fenced": (HubPlant(unfenced_leader=True), 16),
}


RARE = {
    "a hub that contradicts nobody": (Action(at_s=70, verb="lose_database", args={"hub": "hub-0", "off_s": 150}),),
    "a hub that knows no entry but by its answer": (
        Action(at_s=98, verb="kill_gateway", args={"node": "eu-1", "off_s": 4, "power": False}),
        Action(at_s=100, verb="no_database", args={"off_s": 30}),
        Action(at_s=125, verb="kill_gateway", args={"node": "eu-1", "off_s": 270, "power": False}),
    ),
}
"""What brings out a bug that few seeds meet."""


def caught(seed: int, plant: HubPlant, actions: Sequence[Action] | None = None) -> str:
    try:
        simulate(seed, plant, actions)
    except BrokenHubPromiseError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("first", range(FROM, FROM + WORLDS, CHUNK))
def test_the_promises_of_several_hubs_hold_in_every_world(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FROM + WORLDS)):
        simulate(seed)


@pytest.mark.parametrize("bug", PLANTS)
def test_a_bug_that_is_planted_in_a_hub_is_caught_and_its_promise_named(bug: str) -> None:
    plant, promise = PLANTS[bug]
    for seed in range(PLANTED_MAX):
        said = caught(seed, plant, RARE.get(bug))
        if said:
            assert caught(seed, HubPlant(), RARE.get(bug)) == "", "it was the bug, and nothing else of that world"
            assert said.startswith(f"{promise} {PROMISES[promise]}: "), f"seed {seed}: {said}"
            return
    pytest.fail(f"{PLANTED_MAX} seeds saw nothing")


def test_the_same_number_is_the_same_world() -> None:
    assert simulate(3).transcript.digest == simulate(3).transcript.digest


def test_the_page_for_contributors_tells_of_every_promise_of_hubs_and_its_bugs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "simulation.md"
    lines = page.read_text().splitlines()
    assert {promise for _, promise in PLANTS.values()} == set(PROMISES)
    for promise, name in PROMISES.items():
        (row,) = (line for line in lines if line.startswith(f"| {promise} {name} |"))
        told = row.strip("| ").split(" | ")[-1].split("; ")
        assert told == [bug for bug, (_, broken) in PLANTS.items() if broken == promise]
