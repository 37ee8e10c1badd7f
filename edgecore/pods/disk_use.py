"""What files below a directory take, as a kubelet counts it for limits and for eviction. Keeps nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from skerry.frozen import Frozen

BLOCK_BYTES: Final = 512
"""Of `st_blocks` (stat(2))."""


class DiskUse(Frozen):
    """Of a directory, which is not counted itself."""

    size_bytes: int = 0
    inodes: int = 0


def use_below(directory: Path) -> DiskUse:
    """Each file once however many names it has, as far as it is on the directory's file system. Links are not
    followed; what goes meanwhile is not counted."""
    try:
        device = directory.lstat().st_dev
    except OSError:
        return DiskUse()
    size, inodes, seen = 0, 0, set[int]()
    waiting: list[Path | os.DirEntry[str]] = [directory]
    while waiting:
        for entry in entries_of(waiting.pop()):
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if about.st_dev != device:
                continue
            if stat.S_ISDIR(about.st_mode):
                waiting.append(entry)
            elif about.st_nlink > 1:
                if about.st_ino in seen:
                    continue
                seen.add(about.st_ino)
            size += about.st_blocks * BLOCK_BYTES
            inodes += 1
    return DiskUse(size_bytes=size, inodes=inodes)


def entries_of(directory: Path | os.DirEntry[str]) -> Sequence[os.DirEntry[str]]:
    """No entries where it can't be read."""
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError:
        return []
