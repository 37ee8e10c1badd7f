"""The kept corpus, and a few seconds of fresh damage and fresh conversations in every run.

Unlike other tests these look for something new each time: `SKERRY_FUZZ_SECONDS` (4) each, from a number that nobody
has had. A finding prints its number, its input and the command that shows it again; `SKERRY_FUZZ_SEED` sets the
number. What is found becomes a file of the corpus or a test, so that it is looked for ever after.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.fuzz.search import PEAK_BYTES_MAX, corpus, fresh, searched, tried, weighed
from tests.fuzz.sessions import CloudMachine, EdgeMachine
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("SKERRY_FUZZ_SECONDS", "4"))
SEED = os.environ.get("SKERRY_FUZZ_SEED")
KEPT = [(target, path) for target in TARGETS for path in corpus(target)]


@pytest.mark.parametrize(("target", "path"), KEPT, ids=[f"{target}-{path.stem}" for target, path in KEPT])
def test_the_kept_inputs_show_no_fault(target: str, path: Path) -> None:
    peak = weighed(lambda: tried(target, path.read_bytes()))
    assert peak < PEAK_BYTES_MAX, f"{peak} bytes for {path.stat().st_size}"


def test_the_corpus_is_kept_and_small() -> None:
    assert all(len(corpus(target)) >= 10 for target in TARGETS)
    assert sum(path.stat().st_size for _, path in KEPT) < 400_000


@pytest.mark.parametrize("target", TARGETS)
def test_fresh_damage_shows_no_fault(target: str) -> None:
    number = int(SEED) if SEED else fresh()
    assert searched(target, number, SECONDS) > 0


@pytest.mark.parametrize("machine", [EdgeMachine, CloudMachine], ids=["edge", "cloud"])
def test_any_frame_in_any_state_leaves_a_session_whole(machine: type[RuleBasedStateMachine]) -> None:
    number = int(SEED) if SEED else fresh()
    until_s = time.monotonic() + SECONDS
    turn = 0
    while turn == 0 or time.monotonic() < until_s:
        conversations(machine, number + turn)
        turn += 1


def conversations(machine: type[RuleBasedStateMachine], number: int) -> None:
    """Twenty conversations from one number, shrunk to the shortest that fails."""

    @seed(number)
    class Seeded(machine):
        pass

    Seeded.__name__ = Seeded.__qualname__ = machine.__name__
    try:
        run_state_machine_as_test(
            Seeded,
            settings=settings(
                max_examples=20,
                stateful_step_count=40,
                derandomize=False,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.filter_too_much,
                    HealthCheck.large_base_example,
                ],
            ),
        )
    except Exception as error:
        error.add_note(
            f"again with: SKERRY_FUZZ_SEED={number} SKERRY_FUZZ_SECONDS=0 python -m pytest -q tests/fuzz -k any_frame"
        )
        raise
