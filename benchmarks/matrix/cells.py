"""One cell: something is begun, the fault strikes at a moment of chance, holds and ends; then it is measured."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.matrix.faults import Fault
from benchmarks.matrix.phases import PHASES, Phase
from benchmarks.matrix.world import KEPT, Watcher, World
from skerry.testkit.real.programs import until

STRIKES_WITHIN_S: Final = 1.2
"""After it was begun: before the gateway hears of it, in the middle of it, or when it is over."""
RECOVERS_S_MAX: Final = 60.0
NEW_PODS: Final = ("new-", "old-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What came of one fault in one phase, over all its points. Times are seconds from the fault's end."""

    engine: str
    """What ran the containers (`benchmarks.matrix.engines.ENGINES`)."""
    fault: str
    phase: str
    points: int
    declared_s: float
    """Until the gateway ran what is declared, and nothing else: the slowest point."""
    told_s: float
    """Until the cloud said so of every pod, too."""
    doubles: int
    """Containers of which two ran at once."""
    restarts: int
    """Of the pod that stays, beyond one for each loss of power."""
    looks: int
    failure: str = ""
    """What was not reached; "" when all was."""

    @property
    def holds(self) -> bool:
        return not self.failure and not self.doubles and not self.restarts

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def cell(here: World, fault: Fault, phase: Phase, *, points: int, seed: int) -> Cell:
    """Carry it out, in the world that the fault made. Raises `UnavailableError` where it could not be."""
    chance = random.Random(f"{seed} {fault.name} {phase.name}")
    declared_s = told_s = 0.0
    restarts = 0
    with Watcher(here).watching() as watcher:
        for point in range(points):
            number = int(f"{_number(phase)}{point:03}")
            phase.prepare(here, number)
            here.settle()
            before, lost = here.attempt_of(KEPT), here.powers_lost
            phase.act(here, number)
            time.sleep(chance.uniform(0, STRIKES_WITHIN_S))
            fault.strike(here)
            fault.end(here)
            began = time.monotonic()
            declared_s = max(
                declared_s, _after(began, lambda number=number: _is_there(here, phase, number), phase.name)
            )
            told_s = max(told_s, _after(began, here.is_told_right, f"the cloud to know ({phase.name})"))
            restarts += here.attempt_of(KEPT) - before - (here.powers_lost - lost)
            _tidy(here)
    return Cell(
        engine=here.engine.name,
        fault=fault.name,
        phase=phase.name,
        points=points,
        declared_s=round(declared_s, 2),
        told_s=round(told_s, 2),
        doubles=len(watcher.doubles),
        restarts=restarts,
        looks=watcher.looks,
    )


def _number(phase: Phase) -> int:
    return 1 + PHASES.index(phase)


def _is_there(here: World, phase: Phase, number: int) -> bool:
    return here.is_as_declared() and phase.done(here, number)


def _after(began: float, level: Callable[[], object], what: str) -> float:
    until(level, what, within_s=RECOVERS_S_MAX, every_s=0.02)
    return time.monotonic() - began


def _tidy(here: World) -> None:
    """The pods of this point go; what stays is as in the beginning."""
    for each in here.declared():
        name = str(each["metadata"]["name"])  # type: ignore[index] - every object has one
        if name.startswith(NEW_PODS):
            here.rig.cloud.delete(f"/api/v1/namespaces/default/pods/{name}")
    here.settle()
