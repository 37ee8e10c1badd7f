"""What files below a directory take, of a real file system."""

from __future__ import annotations

import os
from pathlib import Path

from edgecore.pods.disk_use import DiskUse, use_below

MIB = 1 << 20


def test_each_file_counts_once_however_many_names_it_has(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large").write_bytes(os.urandom(MIB))
    before = use_below(tmp_path)
    assert MIB <= before.size_bytes < 2 * MIB
    assert before.inodes == 2
    os.link(tmp_path / "in" / "large", tmp_path / "again")
    assert use_below(tmp_path) == before


def test_links_lead_nowhere_and_what_is_gone_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "large").write_bytes(os.urandom(MIB))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "own" / "root").symlink_to("/")
    assert use_below(tmp_path / "own").size_bytes < 100_000
    assert use_below(tmp_path / "nothing") == DiskUse()
