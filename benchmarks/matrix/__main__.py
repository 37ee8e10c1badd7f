"""Run the offline matrix and print each cell.

    python -m benchmarks.matrix [--page] [--points N] [--engine NAME] [FAULT ...]

Rows by name; all by default, on processes and on containerd. With `--page` the figures go into
docs/reference/offline-matrix.md, in the places of the old. Exit code 1: a cell did not hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.matrix.cells import Cell, cell
from benchmarks.matrix.engines import ENGINES
from benchmarks.matrix.faults import FAULTS, Fault
from benchmarks.matrix.page import PAGE, keep
from benchmarks.matrix.phases import PHASES, Phase
from skerry.errors import SkerryError

ROOT = Path(__file__).parents[2]
POINTS = 5


def row(
    fault: Fault, phases: Sequence[Phase] = PHASES, *, engine: str, points: int, seed: int = 1
) -> Generator[Cell]:
    """The cells of one fault, in one world while that is whole: after a failure, in another."""
    waiting = list(phases)
    while waiting:
        with fault.place(ENGINES[engine]) as here:
            while waiting:
                phase = waiting.pop(0)
                times = points if fault.repeats else 1
                try:
                    yield cell(here, fault, phase, points=times, seed=seed)
                except (SkerryError, OSError) as error:
                    yield _failed(engine, fault, phase, times, str(error).splitlines()[0])
                    break


def _failed(engine: str, fault: Fault, phase: Phase, points: int, why: str) -> Cell:
    return Cell(
        engine=engine,
        fault=fault.name,
        phase=phase.name,
        points=points,
        declared_s=0,
        told_s=0,
        doubles=0,
        restarts=0,
        looks=0,
        failure=why,
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description="The offline matrix.")
    parser.add_argument("fault", nargs="*", help="; ".join(fault.name for fault in FAULTS))
    parser.add_argument("--engine", choices=[*ENGINES], help="what runs the containers (both)")
    parser.add_argument("--points", type=int, default=POINTS, help="losses of power in each column (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which faults strike")
    parser.add_argument("--page", action="store_true", help=f"put the figures into {PAGE}")
    given = parser.parse_args(argv)
    unknown = set(given.fault) - {fault.name for fault in FAULTS}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    good = True
    for engine in ENGINES if given.engine is None else (given.engine,):
        for fault in FAULTS:
            if given.fault and fault.name not in given.fault:
                continue
            for each in row(fault, engine=engine, points=given.points, seed=given.seed):
                good = good and each.holds
                _say(each)
                if given.page:
                    keep([each], machine(), ROOT)
    return 0 if good else 1


def _say(each: Cell) -> None:
    print(
        f"{'ok' if each.holds else 'BROKEN':6} {each.engine}: {each.fault} x {each.phase}: as declared after "
        f"{each.declared_s:.2f} s, told after {each.told_s:.2f} s; {each.points} points, {each.doubles} twice, "
        f"{each.restarts} restarts, {each.looks} looks {each.failure}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
