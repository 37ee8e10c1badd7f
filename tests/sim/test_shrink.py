"""A schedule that breaks a promise becomes a few actions that break the same one, and what is kept is replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.schedule import Schedule, drawn
from tests.sim.shrink import broken, report, shrunk, transcript_of
from tests.sim.world import Plant

KEPT = sorted((Path(__file__).parent / "transcripts").glob("*.json"))


def first_seed(plant: Plant, begin: int = 0) -> int:
    """That shows the bug."""
    return next(seed for seed in range(begin, 200) if broken(drawn(seed), plant) is not None)


@pytest.mark.parametrize(
    ("begin", "plant"),
    [
        (0, Plant(no_fencing=True)),
        (0, Plant(drop_tombstones=True)),
        (0, Plant(silent_about_epochs=True)),
        (24, Plant(number_from_memory=True)),  # one before takes a dozen actions
        (0, Plant(trust_clocks=True)),
    ],
    ids=["fencing", "tombstones", "epochs", "numbers", "clocks"],
)
def test_a_planted_bug_is_shown_by_fewer_than_ten_actions(begin: int, plant: Plant) -> None:
    found = broken(drawn(first_seed(plant, begin)), plant)
    assert found is not None
    short = shrunk(found, plant, seconds=60)
    assert short.promise == found.promise
    assert len(short.schedule.actions) < 10, [str(action) for action in short.schedule.actions]
    assert broken(short.schedule) is None, "it is the bug that breaks it"


def test_a_schedule_is_the_same_after_a_file() -> None:
    for seed in (0, 1, 7):
        assert Schedule.read(drawn(seed).json()) == drawn(seed)


def test_a_report_says_what_broke_and_how_to_see_it_again(tmp_path: Path) -> None:
    plant = Plant(no_fencing=True)
    found = broken(drawn(first_seed(plant)), plant)
    assert found is not None
    kept = tmp_path / "kept.json"
    said = report(found, plant, keep=kept)
    assert "9 one voice" in said
    assert f"python -m tests.sim.debug {kept}" in said
    again = broken(Schedule.read(kept.read_text()), plant)
    assert again is not None
    assert again.promise == found.promise


def test_a_transcript_has_the_actions_where_they_happen() -> None:
    plant = Plant(no_fencing=True)
    told = transcript_of(drawn(first_seed(plant)), plant).splitlines()
    assert any(" == " in line and "config" in line for line in told)
    assert "** 9 one voice" in told[-1]


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_what_broke_once_holds_now(path: Path) -> None:
    found = broken(Schedule.read(path.read_text()))
    assert found is None, found and found.said
