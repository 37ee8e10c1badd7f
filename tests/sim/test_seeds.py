"""Hundreds of worlds, each from one number: every promise is checked in each.

`SKERRY_SIM_SEEDS` says how many (200), `SKERRY_SIM_FROM` where to begin (0).
"""

from __future__ import annotations

import os

import pytest

from tests.sim.faults import simulate

SEEDS = int(os.environ.get("SKERRY_SIM_SEEDS", "200"))
FROM = int(os.environ.get("SKERRY_SIM_FROM", "0"))
CHUNK = 10


@pytest.mark.parametrize("first", range(FROM, FROM + SEEDS, CHUNK))
def test_the_promises_hold_in_every_world(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FROM + SEEDS)):
        try:
            simulate(seed)
        except AssertionError as error:
            command = f"SKERRY_SIM_FROM={seed} SKERRY_SIM_SEEDS=1 python -m pytest -q tests/sim/test_seeds.py"
            raise AssertionError(f"seed {seed}: {error}\nagain with: {command}") from error
