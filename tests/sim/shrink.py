"""From a schedule that breaks a promise to the shortest found that breaks the same one, and its transcript.

What comes after the break goes first; then actions, in halves, quarters and so on to single ones, as long as the same
promise breaks (delta debugging: Zeller and Hildebrandt, 2002); then edges, replicas and old releases that nothing
needs. Pure but for the worlds that it plays; what is found can be kept as a file and replayed for ever.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skerry.frozen import replace
from tests.sim.checkers import BrokenPromiseError
from tests.sim.faults import prepared
from tests.sim.schedule import Action, Schedule, schedule_of
from tests.sim.world import Plant, World

SECONDS_MAX: Final = 60.0
"""How long to look for a shorter one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A schedule that breaks a promise."""

    schedule: Schedule
    promise: int
    """0: an assertion of the product, or a fault."""
    at_s: float
    said: str
    plays: int = 1
    """Worlds played to find it."""


def broken(schedule: Schedule, plant: Plant | None = None) -> Broken | None:
    """Play it; None when every promise holds."""
    world, end_s = prepared(schedule, plant=plant)
    try:
        world.run(end_s)
    except BrokenPromiseError as error:
        return Broken(schedule=schedule, promise=error.promise, at_s=error.at_s, said=str(error))
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        return Broken(schedule=schedule, promise=0, at_s=world.now_s, said=said)
    return None


def shrunk(found: Broken, plant: Plant | None = None, *, seconds: float = SECONDS_MAX) -> Broken:
    """The shortest that breaks the same promise, as far as the time goes."""
    search = _Search(found, plant, time.monotonic() + seconds)
    search.try_one(_ended_at_break(found))
    before = -1
    while before != len(search.best.schedule.actions):
        before = len(search.best.schedule.actions)
        search.remove_actions()
        for smaller in _smaller_worlds(search.best.schedule):
            search.try_one(smaller)
    search.try_one(_ended_at_break(search.best))
    return replace(search.best, plays=search.plays)


class _Search:
    def __init__(self, found: Broken, plant: Plant | None, until_s: float) -> None:
        self.best = found
        self.plays = 0
        self._plant = plant
        self._until_s = until_s

    def try_one(self, schedule: Schedule) -> bool:
        """Take it when it breaks the same promise."""
        if time.monotonic() > self._until_s or schedule == self.best.schedule:
            return False
        self.plays += 1
        said = broken(schedule, self._plant)
        if said is None or said.promise != self.best.promise:
            return False
        self.best = said
        return True

    def remove_actions(self) -> None:
        """Pieces of half the actions, then of a quarter, and so on; from the end, where most is needless."""
        size = max(1, len(self.best.schedule.actions) // 2)
        while True:
            at = len(self.best.schedule.actions)
            while at > 0:
                actions = self.best.schedule.actions
                rest = actions[: max(0, at - size)] + actions[at:]
                self.try_one(replace(self.best.schedule, actions=rest))
                at = min(at - size, len(self.best.schedule.actions))
            if size == 1:
                return
            size //= 2


def _ended_at_break(found: Broken) -> Schedule:
    """Without what comes after the break, and healed soon after the last action."""
    schedule = found.schedule
    if found.at_s < schedule.faults_s:
        schedule = replace(schedule, actions=tuple(one for one in schedule.actions if one.at_s <= found.at_s))
    last_s = max((action.at_s for action in schedule.actions), default=0.0)
    return replace(schedule, faults_s=min(schedule.faults_s, round(last_s + 1.0, 3)))


def _smaller_worlds(schedule: Schedule) -> Iterator[Schedule]:
    """Fewer edges and replicas, no old releases, an outbox of the usual size."""
    for number in range(schedule.edges, 1, -1):
        name = f"edge-{number}"
        if not any(name in str(action.args.values()) for action in schedule.actions):
            yield replace(schedule, edges=number - 1, versions=schedule.versions[: number - 1])
    if schedule.edges > 1:
        yield replace(
            schedule,
            edges=1,
            versions=schedule.versions[-1:],
            actions=tuple(_on_one_edge(action) for action in schedule.actions),
        )
    if schedule.replicas > 1:
        fewer = schedule.replicas - 1
        yield replace(
            schedule,
            replicas=fewer,
            actions=tuple(action for action in schedule.actions if action.args.get("replica", 0) in range(fewer)),
        )
    yield replace(schedule, versions=())
    yield replace(schedule, small_outbox=False)


def _on_one_edge(action: Action) -> Action:
    def renamed(value: object) -> object:
        return value.replace("edge-2", "edge-1").replace("edge-3", "edge-1") if isinstance(value, str) else value

    return replace(action, args={name: renamed(value) for name, value in action.args.items()})


def transcript_of(schedule: Schedule, plant: Plant | None = None) -> str:
    """What is said in it until it breaks, with every action where it happens."""
    world, end_s = prepared(schedule, plant=plant)
    world.recording = True
    try:
        while world.next_s is not None and world.next_s <= end_s:
            _step_telling(world)
    except Exception as error:
        world.transcript.append(f"{world.now_s:8.3f} ** {error}")
    return "\n".join(world.transcript)


def _step_telling(world: World) -> None:
    about = world.next_about
    if about.startswith("action: "):
        world.transcript.append(f"{world.next_s or 0:8.3f} == {about.removeprefix('action: ')}")
    world.step()


def report(
    found: Broken, plant: Plant | None = None, *, keep: Path | None = None, seconds: float = SECONDS_MAX
) -> str:
    """For people: what broke, the shortest way to it, and how to see it again."""
    short = shrunk(found, plant, seconds=seconds)
    lines = [
        f"seed {found.schedule.seed}: {found.said}",
        (
            f"shrunk from {len(found.schedule.actions)} actions to {len(short.schedule.actions)} "
            f"in {short.plays} plays: {short.said}"
        ),
        *(f"  {action}" for action in short.schedule.actions),
        "",
        *transcript_of(short.schedule, plant).splitlines()[-60:],
        "",
    ]
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.write_text(short.schedule.json())
        lines.append(f"kept as {keep}: move it to tests/sim/transcripts to have it replayed for ever")
        lines.append(f"step through it with: python -m tests.sim.debug {keep}")
    lines.append(f"the whole seed again with: python -m tests.sim.shrink {found.schedule.seed}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.shrink", description=__doc__)
    parser.add_argument("what", help="a seed, or a file of a schedule")
    parser.add_argument("--plant", default="", help="a planted bug (a field of tests.sim.world.Plant)")
    parser.add_argument("--keep", type=Path, help="where to write the shrunk schedule")
    given = parser.parse_args()
    plant = Plant(**{given.plant: True}) if given.plant else None
    found = broken(schedule_of(given.what), plant)
    if found is None:
        print("every promise holds")
        return 0
    print(report(found, plant, keep=given.keep))
    return 1


if __name__ == "__main__":
    sys.exit(main())
