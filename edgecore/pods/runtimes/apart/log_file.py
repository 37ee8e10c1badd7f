"""A container's log: its pipes cut into lines, in a file that is rotated. Imports only what is built in."""

from __future__ import annotations

import posix
import time

PIECE_BYTES = 16384
"""A longer line is logged in pieces marked P, as CRI runtimes do."""


def stamp() -> bytes:
    """RFC 3339 with nanoseconds, as CRI runtimes write it."""
    now = time.time_ns()
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z").encode()


class Log:
    """One file for both streams, rotated by size; a full disk costs lines, which are counted, and never blocks."""

    def __init__(self, path: str, limit_bytes: int, files: int) -> None:
        self.path, self.limit, self.files = path, limit_bytes, files
        self.fd, self.size = self.open()
        self.lost = 0

    def open(self) -> tuple[int, int]:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC
        fd = posix.open(self.path, flags, 0o640)
        return fd, posix.fstat(fd).st_size

    def write(self, data: bytes) -> None:
        if self.lost:
            note = stamp() + b" stderr F skerry: %d bytes of log lost: no room on the disk\n" % self.lost
            if self.put(note):
                self.lost = 0
        if self.lost or not self.put(data):
            self.lost += len(data)
        if self.size >= self.limit:
            self.rotate()

    def put(self, data: bytes) -> bool:
        try:
            done = posix.write(self.fd, data)
            if done < len(data):  # not half a line: take it back
                posix.ftruncate(self.fd, self.size)
                return False
        except OSError:
            return False
        self.size += done
        return True

    def rotate(self) -> None:
        """`0.log` becomes `0.log.20060102-150405` by the time, and the oldest go. The agent compresses some of them
        meanwhile, and gives such names too (edgecore.pods.log_files)."""
        try:
            older = self.older()
            posix.rename(self.path, self.path + "." + later(older[-1] if older else "", time.time()))
            old = self.fd
            self.fd, self.size = self.open()
            posix.close(old)
            for stem in self.older()[: 1 - self.files or None]:
                for name in (stem, stem + ".gz"):
                    remove(self.path + "." + name)
        except OSError:
            self.size = 0  # try again one limit later; lines keep going to the old file

    def older(self) -> list[str]:
        """The times in the names of the rotated files, the oldest first."""
        folder, _, name = self.path.rpartition("/")
        found: set[str] = set()
        for entry in posix.listdir(folder):
            stem = entry[len(name) + 1 :]
            stem = stem[:-3] if stem.endswith(".gz") else stem
            if entry.startswith(name + ".") and stem.replace("-", "").replace(".", "").isdecimal():
                found.add(stem)
        return sorted(found)


def remove(path: str) -> None:
    """Raises `OSError`, but not where there is nothing."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        return


def later(newest: str, now_s: float) -> str:
    """A name that sorts after the newest one, whatever the clock says."""
    wanted = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    if wanted > newest:
        return wanted
    second, _, count = newest.partition(".")
    return f"{second}.{int(count or 0) + 1:09d}"


class Stream:
    """One pipe of the container, cut into lines."""

    def __init__(self, fd: int, name: bytes, log: Log) -> None:
        self.fd, self.name, self.log = fd, name, log
        self.rest = b""

    def read(self) -> bool | None:
        """Take what is there; False at the end of the stream, None when there is nothing now."""
        try:
            data = posix.read(self.fd, PIECE_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self.finish()
            return False
        *lines, self.rest = (self.rest + data).split(b"\n")
        out = [self.pieces(line) for line in lines]
        while len(self.rest) >= PIECE_BYTES:
            out.append(self.line(b"P", self.rest[:PIECE_BYTES]))
            self.rest = self.rest[PIECE_BYTES:]
        if out:
            self.log.write(b"".join(out))
        return True

    def pieces(self, line: bytes) -> bytes:
        cut = b""
        while len(line) > PIECE_BYTES:
            cut += self.line(b"P", line[:PIECE_BYTES])
            line = line[PIECE_BYTES:]
        return cut + self.line(b"F", line)

    def line(self, tag: bytes, text: bytes) -> bytes:
        return stamp() + b" " + self.name + b" " + tag + b" " + text + b"\n"

    def finish(self) -> None:
        if self.rest:
            self.log.write(self.line(b"F", self.rest))
            self.rest = b""
