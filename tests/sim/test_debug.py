"""The debugger, driven through a pipe as through a terminal."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from tests.sim.debug import Debugger
from tests.sim.schedule import drawn
from tests.sim.test_shrink import first_seed
from tests.sim.world import Plant


def told(*commands: str, seed: int = 0, plant: Plant | None = None) -> str:
    out = io.StringIO()
    debugger = Debugger(drawn(seed), plant, out, io.StringIO("\n".join((*commands, "quit", ""))))
    debugger.cmdloop()
    return out.getvalue()


def test_it_steps_from_event_to_event() -> None:
    said = told("step 3", "step")
    assert [f"#{number} " in said for number in (1, 2, 3, 4)] == [True] * 4


def test_it_runs_to_a_frame_an_edge_a_time_or_the_end() -> None:
    assert "Welcome" in told("until Welcome")
    assert "edge-2" in told("until edge-2")
    assert " 9." in told("run 10")
    assert "every promise holds" in told("run")


def test_it_stops_where_it_was_told_to() -> None:
    said = told("break Objects", "run")
    assert "stops at: Objects" in said
    assert "Objects batch=" in said
    assert "the end" not in said


def test_it_stops_at_a_broken_promise_and_goes_back_from_it() -> None:
    plant = Plant(no_fencing=True)
    said = told("run", "back", "step", seed=first_seed(plant), plant=plant)
    assert said.count("** 9 one voice") == 2, "and the step forward breaks it again"


def test_it_shows_every_side() -> None:
    said = told("run 30", "state", "store", "transcript 3", "actions cut", "promises", "help")
    for text in ("edge-1: agent up", "cloud-1: up", "epoch-1 revision", "one voice", "received", "holds "):
        assert text in said


def test_what_it_does_not_know_is_said() -> None:
    said = told("dance", "run soon", "until")
    assert "no command 'dance'" in said
    assert "'soon' is no number" in said
    assert "until what?" in said


def test_a_newcomer_is_told_what_there_is() -> None:
    said = told(
        "help", "help until", "help dance", "state edge-9", "actions zzz", "transcript 0", "transcript edge-9"
    )
    for text in (
        *("  step [N]:", "  differ [EDGE]:", "no command 'dance': actions, back"),
        *("nobody is called 'edge-9': edge-1", "no action has 'zzz'; there are", "such as transcript edge-1 30"),
    ):
        assert text in said
    assert "EOF" not in said


def test_after_the_end_it_says_that_it_is_over() -> None:
    plant = Plant(no_fencing=True)
    said = told("run", "step", "run", seed=first_seed(plant), plant=plant)
    assert said.count("it is over: 9 one voice") == 2
    assert "back 5" in said


def test_it_tells_one_edges_frames_and_what_it_lacks() -> None:
    frames = told("goto 200", "transcript edge-2 9").splitlines()[-10:-1]
    assert {line.removeprefix("(sim) ").split()[1] for line in frames} == {"edge-2"}
    said = told("until Welcome", "differ edge-1", "run", "differ")
    assert "edge-1 by cloud-1: no difference" in said


def test_going_to_the_beginning_says_so() -> None:
    assert "#0 0.000 s the beginning" in told("step 3", "back 3")


def test_names_are_completed() -> None:
    debugger = Debugger(drawn(0), None, io.StringIO(), io.StringIO())
    assert debugger.completedefault("Obj") == ["Objects"]
    assert "edge-1" in debugger.completedefault("edge")


def test_it_is_a_program() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.sim.debug", "no-such-file"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert run.returncode == 2
    assert "no seed" in run.stderr
    assert "Traceback" not in run.stderr
