"""Files of container logs as they lie on the disk: in CRI format (time, stream, P or F, text), rotated by size.

The log `0.log` has its older parts beside it, `0.log.20060102-150405` as a kubelet names them, all but the newest of
those compressed (`.gz`). Keeps nothing but open files. Whatever is read is read in blocks, however long the log; who
has begun to read goes on to read the files that were there, whatever they are called meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

BLOCK_BYTES: Final = 32 * 1024
ENTRY_BYTES_MAX: Final = 1 << 20
"""Runtimes cut lines at 16 KiB: more without an end is no log."""
FOLLOW_S: Final = 0.2
"""How often a followed log is looked at."""
COMPRESSED: Final = ".gz"
UNFINISHED: Final = ".tmp"
OPENINGS_MAX: Final = 10
"""Tries to open all files of a log between two rotations."""
NS_PER_S: Final = 1_000_000_000


# Entries ------------------------------------------------------------------------------------------------------------


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


def instant_ns(entry: bytes) -> int:
    """When an entry was written; 0 where it does not say. Runtimes write RFC 3339 in the gateway's own time zone,
    without zeros at the end of the fraction: as texts they do not compare."""
    text = entry[:64].partition(b" ")[0].decode(errors="replace")
    whole, point, rest = text.partition(".")
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0] if point else ""
    try:
        at = datetime.fromisoformat(whole + rest[len(digits) :] if point else text)
        fraction = int(digits.ljust(9, "0")[:9]) if digits else 0
    except ValueError:
        return 0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int(at.timestamp()) * NS_PER_S + fraction


# Names --------------------------------------------------------------------------------------------------------------


def files_of(path: Path) -> list[Path]:
    """Rotated files first, the oldest of them at the beginning; the current one last, there or not."""
    return [*rotated_files(path), path]


def rotated_files(path: Path) -> list[Path]:
    """The oldest first. One that is there compressed and as it was counts once."""
    found: dict[str, Path] = {}
    for other in sorted(path.parent.glob(f"{path.name}.*")):
        stem = other.name.removeprefix(f"{path.name}.").removesuffix(COMPRESSED)
        if stem.replace("-", "").replace(".", "").isdecimal():
            found[stem] = other
    return [found[stem] for stem in sorted(found, key=_age)]


def _age(stem: str) -> tuple[bool, int, str]:
    """Supervisors that run since before names had times count them: the oldest has the highest number."""
    counted = len(stem) < len("20060102")
    return not counted, -int(stem) if counted else 0, stem


def rotated_name(path: Path, now_ms: int) -> Path:
    """What a log is renamed to; it sorts after all that are there, whatever the clock says."""
    wanted = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d-%H%M%S")
    older = rotated_files(path)
    newest = older[-1].name.removeprefix(f"{path.name}.").removesuffix(COMPRESSED) if older else ""
    if wanted <= newest:
        second, _, count = newest.partition(".")
        wanted = f"{second}.{int(count or 0) + 1:09d}"
    return path.with_name(f"{path.name}.{wanted}")


# Reading ------------------------------------------------------------------------------------------------------------


def opened(path: Path) -> BinaryIO | None:
    """None where there is none."""
    try:
        if path.suffix == COMPRESSED:
            import gzip  # only who reads old logs pays

            return cast("BinaryIO", gzip.open(path, "rb"))
        return path.open("rb")
    except FileNotFoundError:
        return None


def opened_together(path: Path) -> list[BinaryIO]:
    """All files of a log as they were at one moment, the oldest first."""
    files: list[BinaryIO] = []
    for _ in range(OPENINGS_MAX):
        closed(files)
        files = [file for name in files_of(path) if (file := opened(name)) is not None]
        if [_identity(file) for file in files] == [held for name in files_of(path) if (held := _held(name))]:
            break
    return files


def closed(files: list[BinaryIO]) -> None:
    for file in files:
        file.close()
    files.clear()


def _identity(file: BinaryIO) -> tuple[int, int]:
    about = os.fstat(file.fileno())
    return about.st_dev, about.st_ino


def _held(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_dev, about.st_ino


def blocks(file: BinaryIO, until: int | None = None) -> Iterator[list[bytes]]:
    """Whole entries from where the file stands, without their ends, a block at a time, to its end or to `until`.
    What is not whole yet stays to be read, and what is damaged ends it."""
    at, rest = file.tell(), b""
    while True:
        wanted = BLOCK_BYTES if until is None else min(BLOCK_BYTES, until - at)
        try:
            data = file.read(wanted) if wanted > 0 else b""
            if not data:
                file.seek(at - len(rest))
                return
        except (EOFError, OSError, ValueError, zlib.error):
            return
        at += len(data)
        *whole, rest = (rest + data).split(b"\n")
        if whole:
            yield whole
        elif len(rest) > ENTRY_BYTES_MAX:
            return


async def arriving(file: BinaryIO, until: int | None = None) -> AsyncGenerator[list[bytes]]:
    """The same beside the loop: whoever writes may be faster than whoever reads, and a disk slower than both."""
    if size_of(file) == file.tell():
        return  # as most looks at a log that is followed
    read = blocks(file, until)
    while (block := await asyncio.to_thread(next, read, None)) is not None:
        yield block


def size_of(file: BinaryIO) -> int | None:
    """How long it is now; None for one that is compressed, and grows no more."""
    return os.fstat(file.fileno()).st_size if isinstance(file, io.BufferedReader) else None


def to_tail(files: list[BinaryIO], count: int) -> None:
    """Have the files stand where their last `count` entries begin; those before are closed and left out."""
    left = count
    for index in range(len(files) - 1, -1, -1):
        start, found = _tail_of(files[index], left)
        files[index].seek(start)
        left -= found
        if not left:
            for older in files[:index]:
                older.close()
            del files[:index]
            return


def _tail_of(file: BinaryIO, count: int) -> tuple[int, int]:
    """Where the last `count` entries begin, and how many there are of them."""
    size = size_of(file)
    if size is None:
        return _tail_forwards(file, count)
    at, ends = size, 0
    while at > 0:
        length = min(BLOCK_BYTES, at)
        at -= length
        file.seek(at)
        data = file.read(length)
        here = data.count(b"\n")
        if ends + here > count:
            found = len(data)
            for _ in range(count + 1 - ends):
                found = data.rfind(b"\n", 0, found)
            return at + found + 1, count
        ends += here
    return 0, ends


def _tail_forwards(file: BinaryIO, count: int) -> tuple[int, int]:
    """Of a file that can only be read so: twice, which takes no memory however many are wanted."""
    ends = sum(len(block) for block in blocks(file))
    skip = ends - count
    file.seek(0)
    if skip <= 0:
        return 0, ends
    start = 0
    for block in blocks(file):
        passed = block[:skip]
        start += sum(len(entry) + 1 for entry in passed)
        skip -= len(passed)
        if not skip:
            break
    return start, count


async def followed(
    path: Path, files: list[BinaryIO], lives: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[list[bytes]]:
    """All entries from where the files stand, the oldest first, and those to come until nobody writes any more
    (`lives`), over all rotations. Closes the files."""
    seen_ns = lost_ns = 0
    last_round = False
    try:
        while True:
            while len(files) > 1:
                async for block in arriving(files[0]):
                    yield _after(block, lost_ns)
                files.pop(0).close()
            for file in files:
                async for block in arriving(file):
                    seen_ns = instant_ns(block[-1]) or seen_ns
                    yield _after(block, lost_ns)
            if _is_replaced(path, files):
                await asyncio.sleep(FOLLOW_S)  # what was on its way into the old file
                for file in files:
                    async for block in arriving(file):
                        seen_ns = instant_ns(block[-1]) or seen_ns
                        yield block
                lost_ns = seen_ns if _move_on(path, files) else 0
            elif last_round:
                return
            else:
                last_round = not await lives()  # then once more to the end
                if not last_round:
                    await asyncio.sleep(FOLLOW_S)
    finally:
        closed(files)


def _after(block: list[bytes], since_ns: int) -> list[bytes]:
    return [entry for entry in block if instant_ns(entry) > since_ns] if since_ns else block


def _is_replaced(path: Path, files: list[BinaryIO]) -> bool:
    """There is a new file of that name; or the first at all."""
    held = _held(path)
    return held is not None and (not files or held != _identity(files[-1]))


def _move_on(path: Path, files: list[BinaryIO]) -> bool:
    """From the open file to those that followed it. True when it is not among them any more, as it was compressed or
    removed: they may hold then what has been read."""
    before = [_identity(file) for file in files]
    closed(files)
    files += opened_together(path)
    for at, file in enumerate(files):
        if _identity(file) in before:
            for older in files[: at + 1]:
                older.close()
            del files[: at + 1]
            return False
    return bool(before)


def remove_log(path: Path) -> None:
    """With all that was rotated from it."""
    for file in files_of(path):
        remove_quietly(file)


def remove_quietly(path: Path) -> None:
    """What is not there needs no removal."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
