"""Thousands of worlds on all cores: `python -m tests.sim.run`, or `make sim`.

What fails does not end the run before `--failures` of them: each is shrunk beside it and written to `--found` as two
files, `seed-N.json` (the shortest schedule) and `seed-N.txt` (what happens in it). A run that is interrupted says
where to go on; what was found until then is on the disk. Exit code: 0 every promise held, 1 one was broken,
2 wrong arguments, 3 a worker died, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Final, cast

from tests.sim.schedule import drawn
from tests.sim.shrink import SECONDS_MAX, Broken, broken, report
from tests.sim.world import Plant

CHUNK: Final = 5
"""Seeds that a worker takes at once: about a second's."""
PLAIN_EVERY_S: Final = 30.0
TERMINAL_EVERY_S: Final = 0.2
CPU_S_MAX: Final = 60.0
"""Of the processor, for one world, which takes 0.2 s: what goes on longer does not end."""


class StuckError(RuntimeError):
    """A world that does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to run."""

    first: int = 0
    seeds: int = 10_000
    jobs: int = 1
    failures: int = 5
    found: Path
    plant: str = ""
    shrink_s: float = SECONDS_MAX
    """How long to look for a shorter schedule of each failure."""

    @property
    def end(self) -> int:
        return self.first + self.seeds


# --- in a worker ---


@contextmanager
def limited(seconds: float) -> Generator[None]:
    """Time of this process alone, so that a busy machine makes nothing fail."""

    def stuck(*_: object) -> None:
        raise StuckError(f"no end after {seconds:.0f} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stuck)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _planted(name: str) -> Plant | None:
    return Plant(**{name: True}) if name else None


def played(seeds: range, plant: str) -> list[Broken]:
    """Those of the seeds that break a promise."""
    found: list[Broken] = []
    for seed in seeds:
        with limited(CPU_S_MAX):
            one = broken(drawn(seed), _planted(plant))
        if one is not None:
            found.append(one)
    return found


def kept(one: Broken, wanted: Wanted) -> str:
    """Shrink it and write it down; the report."""
    path = wanted.found / f"seed-{one.schedule.seed}.json"
    if one.said.startswith(StuckError.__name__):
        path.write_text(one.schedule.json())
        said = f"seed {one.schedule.seed}: {one.said}\nkept as {path}, not shrunk: every try would take as long"
    else:
        said = report(one, _planted(wanted.plant), keep=path, seconds=wanted.shrink_s)
    path.with_suffix(".txt").write_text(said + "\n")
    return said


def _ready() -> None:
    """Whoever runs this ends it: an interrupt from the keyboard reaches every process of the group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# --- what is shown ---


@dataclass(slots=True)
class Progress:
    """One line that is written over on a terminal, or a line now and then."""

    total: int
    out: IO[str]
    terminal: bool
    started_s: float
    done: int = 0
    failures: int = 0
    _shown_s: float = field(default=float("-inf"), init=False)

    def line(self, now_s: float) -> str:
        elapsed_s = max(now_s - self.started_s, 1e-9)
        rate = self.done / elapsed_s
        left = told_s((self.total - self.done) / rate) if self.done else "?"
        return (
            f"{self.done}/{self.total} seeds, {rate:.1f} seeds/s, {told_s(elapsed_s)} passed, {left} left, "
            f"{self.failures} failed"
        )

    def show(self, now_s: float, *, at_once: bool = False) -> None:
        if at_once or now_s - self._shown_s >= (TERMINAL_EVERY_S if self.terminal else PLAIN_EVERY_S):
            self._shown_s = now_s
            line = self.line(now_s)
            self.out.write(f"\r\x1b[K{line}" if self.terminal else f"{line}\n")
            self.out.flush()

    def say(self, text: str) -> None:
        """Something that stays."""
        self.out.write(f"\r\x1b[K{text}\n" if self.terminal else f"{text}\n")
        self.out.flush()


def told_s(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


# --- the run ---


class Run:
    """Hands out seeds in order, never more than the workers need next, and gathers what they find."""

    def __init__(self, wanted: Wanted, out: IO[str]) -> None:
        self._wanted = wanted
        self._chunks = (range(seed, min(seed + CHUNK, wanted.end)) for seed in range(wanted.first, wanted.end, CHUNK))
        self._playing: dict[Future[list[Broken]], range] = {}
        self._shrinking: dict[Future[str], int] = {}
        self._unplayed = wanted.first
        """The first seed that was never handed out."""
        self.failed: list[Broken] = []
        self.progress = Progress(total=wanted.seeds, out=out, terminal=out.isatty(), started_s=time.monotonic())

    @property
    def go_on_from(self) -> int:
        """Every seed before this one was played."""
        return min((chunk.start for chunk in self._playing.values()), default=self._unplayed)

    @property
    def enough(self) -> bool:
        return len(self.failed) >= self._wanted.failures

    def all(self, pool: ProcessPoolExecutor) -> None:
        self._hand_out(pool)
        while self._playing or self._shrinking:
            outstanding = cast("list[Future[object]]", [*self._playing, *self._shrinking])
            ended = wait(outstanding, timeout=1.0, return_when=FIRST_COMPLETED).done
            for one in [future for future in self._playing if future in ended]:
                self._take(one, pool)
            for one in [future for future in self._shrinking if future in ended]:
                del self._shrinking[one]
                self.progress.say(f"\n{one.result()}\n")
            self._hand_out(pool)
            self.progress.show(time.monotonic())

    def _hand_out(self, pool: ProcessPoolExecutor) -> None:
        room = 0 if self.enough else 2 * self._wanted.jobs - len(self._playing)
        for chunk in islice(self._chunks, max(room, 0)):
            self._playing[pool.submit(played, chunk, self._wanted.plant)] = chunk
            self._unplayed = chunk.stop

    def _take(self, one: Future[list[Broken]], pool: ProcessPoolExecutor) -> None:
        found = one.result()
        self.progress.done += len(self._playing.pop(one))
        for each in found:
            self._failed(each, pool)

    def _failed(self, one: Broken, pool: ProcessPoolExecutor) -> None:
        self.failed.append(one)
        self.progress.failures += 1
        self.progress.say(f"seed {one.schedule.seed} FAILED: {one.said}")
        self._shrinking[pool.submit(kept, one, self._wanted)] = one.schedule.seed


def run(wanted: Wanted, out: IO[str]) -> int:
    """The whole; the exit code."""
    wanted.found.mkdir(parents=True, exist_ok=True)
    going = Run(wanted, out)
    going.progress.say(
        f"seeds {wanted.first} to {wanted.end - 1} in {wanted.jobs} processes; what fails goes to {wanted.found}"
    )
    pool = ProcessPoolExecutor(wanted.jobs, mp_context=get_context("spawn"), initializer=_ready)
    code = 0
    try:
        going.all(pool)
    except KeyboardInterrupt:
        code = 130
    except BrokenProcessPool:
        code = 3
    pool.shutdown(wait=False, cancel_futures=True)
    going.progress.show(time.monotonic(), at_once=True)
    going.progress.say("")
    going.progress.say(_summary(going, wanted, code))
    return code or (1 if going.failed else 0)


def _summary(going: Run, wanted: Wanted, code: int) -> str:
    on = going.go_on_from
    more = f"go on with: make sim FROM={on} SEEDS={wanted.end - on}" if on < wanted.end else ""
    lines = {0: [], 3: ["a worker was killed: too little memory for so many?"], 130: ["interrupted"]}[code]
    if going.failed:
        numbers = ", ".join(str(one.schedule.seed) for one in going.failed)
        lines.append(f"{len(going.failed)} of {going.progress.done} seeds broke a promise: {numbers}")
        lines.append(f"each is in {wanted.found} as seed-N.json and seed-N.txt")
    elif not more:
        lines.append(f"every promise holds in all {wanted.seeds} worlds")
    else:
        lines.append(f"every promise held in the {going.progress.done} worlds that were played")
    return "\n".join([*lines, more] if more else lines)


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_natural.__name__, _positive.__name__ = "seed", "count (1 or more)"  # as argparse tells of them


def asked(arguments: list[str] | None = None) -> Wanted:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description=__doc__)
    parser.add_argument("--seeds", type=_positive, default=10_000, help="how many (10,000)")
    parser.add_argument("--from", type=_natural, default=0, dest="first", help="the first (0)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--jobs", type=_positive, default=cores, help="processes (one a core)")
    parser.add_argument("--failures", type=_positive, default=5, help="stop after so many (5)")
    place = Path(os.environ.get("SKERRY_SIM_FOUND", Path(tempfile.gettempdir()) / "skerry-sim"))
    parser.add_argument("--found", type=Path, default=place, help=f"where to write what fails ({place})")
    plants = [name for name, kind in Plant.__annotations__.items() if kind == "bool"]
    parser.add_argument("--plant", choices=plants, default="", metavar="BUG", help=f"one of {', '.join(plants)}")
    given = parser.parse_args(arguments)
    return Wanted(**vars(given))


def main() -> int:
    return run(asked(), sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
