"""The long run: what it finds, writes and says, and where it says to go on."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from tests.sim.run import Progress, StuckError, Wanted, asked, kept, limited, run, told_s
from tests.sim.schedule import Schedule, drawn
from tests.sim.shrink import Broken, broken
from tests.sim.world import Plant


def test_a_run_in_which_all_holds_says_so(tmp_path: Path) -> None:
    out = io.StringIO()
    assert run(Wanted(first=3, seeds=7, jobs=2, found=tmp_path / "found"), out) == 0
    assert "seeds 3 to 9 in 2 processes" in out.getvalue()
    assert "7/7 seeds" in out.getvalue()
    assert "every promise holds in all 7 worlds" in out.getvalue()
    assert not list((tmp_path / "found").iterdir())


def test_it_stops_after_so_many_failures_keeps_each_and_says_where_to_go_on(tmp_path: Path) -> None:
    out = io.StringIO()
    wanted = Wanted(seeds=1000, jobs=1, failures=1, found=tmp_path, plant="no_fencing", shrink_s=2)
    assert run(wanted, out) == 1
    said = out.getvalue()
    kept_files = sorted(tmp_path.glob("seed-*.json"))
    assert kept_files
    for path in kept_files:
        again = broken(Schedule.read(path.read_text()), Plant(no_fencing=True))
        assert again is not None
        assert again.said.split(":")[0] in path.with_suffix(".txt").read_text()
        assert f"{path.stem.replace('-', ' ')} FAILED" in said
    assert "go on with: make sim FROM=" in said
    first = int(said.rsplit("FROM=", 1)[1].split()[0])
    assert f"SEEDS={1000 - first}" in said
    played = int(said.rsplit(" seeds, ", 1)[0].rsplit("\n", 1)[1].split("/")[0])
    assert first == played < 1000


def test_progress_is_one_line_on_a_terminal_and_a_line_now_and_then_elsewhere() -> None:
    for terminal, expected in ((True, 3), (False, 2)):
        out = io.StringIO()
        progress = Progress(total=100, out=out, terminal=terminal, started_s=0.0)
        for now_s in (10.0, 20.0, 40.0):
            progress.done += 10
            progress.show(now_s)
        shown = out.getvalue().split("\r\x1b[K")[1:] if terminal else out.getvalue().splitlines()
        assert len(shown) == expected
        assert shown[-1] == "30/100 seeds, 0.8 seeds/s, 40 s passed, 1 min 33 s left, 0 failed"


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (7384, "2 h 03 min")])
def test_times_are_told_for_people(seconds: float, told: str) -> None:
    assert told_s(seconds) == told


def test_a_world_that_does_not_end_is_ended() -> None:
    until_s = time.monotonic() + 60
    with pytest.raises(StuckError, match="processor time"), limited(0.05):
        while time.monotonic() < until_s:
            pass


def test_a_world_that_does_not_end_is_kept_and_not_shrunk(tmp_path: Path) -> None:
    stuck = Broken(schedule=drawn(4), promise=0, at_s=1.0, said="StuckError: no end")
    said = kept(stuck, Wanted(found=tmp_path))
    assert "not shrunk" in said
    assert Schedule.read((tmp_path / "seed-4.json").read_text()) == drawn(4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--seeds", "0"], "invalid count (1 or more) value: '0'"),
        (["--from", "-1"], "--from"),
        (["--from", "x"], "invalid seed value: 'x'"),
        (["--plant", "nonsense"], "no_fencing"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_right(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        asked(given)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
