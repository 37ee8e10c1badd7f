"""Hundreds of worlds, each from one number: every promise is checked in each.

`SKERRY_SIM_SEEDS` says how many (200), `SKERRY_SIM_FROM` where to begin (0).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.faults import simulate

SEEDS = int(os.environ.get("SKERRY_SIM_SEEDS", "200"))
FROM = int(os.environ.get("SKERRY_SIM_FROM", "0"))
CHUNK = 10
ROOT = Path(__file__).resolve().parents[2]


def test_a_seed_is_the_same_world_wherever_it_runs() -> None:
    """Python orders sets of strings anew in each process; nothing that is sent may depend on it."""
    program = (
        "from tests.sim.faults import simulate; print([simulate(seed).digest.hexdigest() for seed in (3, 57, 125)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("0", "1", "2")
    }
    assert len(told) == 1, told


@pytest.mark.parametrize("first", range(FROM, FROM + SEEDS, CHUNK))
def test_the_promises_hold_in_every_world(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FROM + SEEDS)):
        try:
            simulate(seed)
        except AssertionError as error:
            command = f"SKERRY_SIM_FROM={seed} SKERRY_SIM_SEEDS=1 python -m pytest -q tests/sim/test_seeds.py"
            raise AssertionError(f"seed {seed}: {error}\nagain with: {command}") from error
