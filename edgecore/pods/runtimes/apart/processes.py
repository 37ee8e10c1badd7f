"""What the kernel says of processes. Imports only what is built in; keeps nothing."""

from __future__ import annotations

import posix

TERM, KILL, CHLD, PIPE, XFSZ = 15, 9, 17, 13, 25
leave = posix._exit  # pyright: ignore[reportPrivateUsage] - the public os._exit; importing `os` costs memory


def start_ticks(pid: int) -> int:
    """When a process was started, in ticks since the boot: with the pid, who it is. 0: there is none."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def stat_fields(pid: int | str) -> list[bytes] | None:
    """/proc/PID/stat after the command's name (proc(5)): state, ppid, pgrp, session ..."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def descendants(root: int) -> list[int]:
    """All processes below us now. Orphans stay below: we are their reaper (PR_SET_CHILD_SUBREAPER)."""
    children: dict[int, list[int]] = {}
    for name in posix.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(name)
            if fields and fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    look = [root]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found


def reaped() -> list[tuple[int, int]]:
    """Children that have ended since it was asked last, and how: wait statuses."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = posix.waitpid(-1, posix.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def oom_kills(spec: dict[str, list[bytes]]) -> int:
    """How many processes of the container the kernel has ended as its memory was out."""
    for place in spec.get("cgroup", []):
        for name in (b"/memory.events", b"/memory.oom_control"):
            try:
                with open(place + name, "rb") as file:
                    rows = [line.split() for line in file.read().splitlines()]
            except OSError:
                continue
            return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] == b"oom_kill")
    return 0


def pipe() -> tuple[int, int]:
    ends = posix.pipe()
    for fd in ends:
        posix.set_inheritable(fd, False)
    return ends


def exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True
