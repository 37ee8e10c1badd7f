from __future__ import annotations

import os
from pathlib import Path

from skerry.testkit.real.runs import PREFIX, began, remove_stale


def a_run(home: Path, name: str, owner: str | None) -> Path:
    directory = home / f"{PREFIX}{name}"
    directory.mkdir()
    if owner is not None:
        (directory / "owner").write_text(owner)
    return directory


def test_only_runs_whose_owner_is_gone_are_removed(tmp_path: Path) -> None:
    me = os.getpid()
    mine = a_run(tmp_path, "mine", f"{me} {began(me)}\n")
    reused = a_run(tmp_path, "reused", f"{me} {began(me) - 1}\n")
    being_made = a_run(tmp_path, "new", None)
    other = tmp_path / "other"
    other.mkdir()
    assert remove_stale(tmp_path) == [reused]
    assert mine.exists() and being_made.exists() and other.exists() and not reused.exists()
