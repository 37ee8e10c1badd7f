"""What is mounted below a directory, by what the kernel says."""

from __future__ import annotations

import os
from pathlib import Path

from edgecore.pods.memory_volumes import mounted_below


def test_a_data_directory_behind_a_link_has_its_mounts(tmp_path: Path) -> None:
    (tmp_path / "disk" / "pods" / "u" / "parts").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    place = tmp_path.resolve() / "disk" / "pods" / "u" / "parts" / "ä b"
    mounts = tmp_path / "mounts"
    said = os.fsencode(str(place).replace(" ", "\\040"))
    mounts.write_bytes(b"none / tmpfs rw 0 0\nnone /media/\xff tmpfs rw 0 0\nnone " + said + b" ext4 rw 0 0\n")
    assert mounted_below(tmp_path / "data" / "pods" / "u", mounts) == [place]
    assert mounted_below(place, mounts) == []
