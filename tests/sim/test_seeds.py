"""Hundreds of worlds, each from one number: every promise is checked in each.

`SKERRY_SIM_SEEDS` says how many (200), `SKERRY_SIM_FROM` where to begin (0). A seed that fails is shrunk to the few
actions that it takes, which are printed with their transcript and kept as a file in `SKERRY_SIM_FOUND` (a directory
for temporary files).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.sim.schedule import drawn
from tests.sim.shrink import broken, report

SEEDS = int(os.environ.get("SKERRY_SIM_SEEDS", "200"))
FROM = int(os.environ.get("SKERRY_SIM_FROM", "0"))
FOUND = Path(os.environ.get("SKERRY_SIM_FOUND", Path(tempfile.gettempdir()) / "skerry-sim"))
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
        found = broken(drawn(seed))
        if found is not None:
            raise AssertionError(report(found, keep=FOUND / f"seed-{seed}.json"))
