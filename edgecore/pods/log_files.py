"""Files of container logs as they lie on the disk: in CRI format (time, stream, P or F, text), rotated by size.

Keeps nothing; the files are the runtime's. Whatever is read is read in blocks, however long the log.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

BLOCK_BYTES: Final = 32 * 1024


def shown(entry: bytes, *, timestamps: bool) -> bytes:
    """One entry as people see it; a piece of a longer line (P) ends without a line end. `timestamps`: with its time,
    where it begins a line."""
    time, _, rest = entry.partition(b" ")
    _, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    line = time + b" " + text if timestamps else text
    return line if tag == b"P" else line + b"\n"


def is_of(entry: bytes, stream: bytes) -> bool:
    """Whether an entry is of that stream, which is given with the spaces around it."""
    return entry.find(stream, 0, 64) == entry.find(b" ")


def files_of(path: Path) -> list[Path]:
    """Rotated files first, the oldest of them at the beginning; the current one last, there or not."""
    rotated = [other for other in path.parent.glob(f"{path.name}.*") if other.suffix[1:].isdecimal()]
    return [*sorted(rotated, key=lambda other: -int(other.suffix[1:])), path]


def opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def stored(path: Path, since: bytes) -> Iterator[bytes]:
    for name in files_of(path):
        file = opened(name)
        if file is not None:
            with file:
                yield from (entry for entry in complete(file) if not since or entry[: len(since)] >= since)


def blocks(file: BinaryIO) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    size = 0
    for entry in complete(file):
        block.append(entry)
        size += len(entry)
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def complete(file: BinaryIO) -> Iterator[bytes]:
    """Whole entries from where the file stands, without their ends; what is not whole yet stays to be read."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line[:-1]


def replaced(path: Path, file: BinaryIO | None) -> BinaryIO | None:
    """The new file when the open one has been rotated away, or when there was none before."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return None
    if file is not None:
        open_one = os.fstat(file.fileno())
        if (now.st_ino, now.st_dev) == (open_one.st_ino, open_one.st_dev):
            return None
    return opened(path)
