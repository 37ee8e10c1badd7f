"""What processes use, as the kernel counts it for each: of containers without a cgroup of their own.

Keeps nothing. What ended processes used is counted by those who waited for them (`cutime`, `cstime` of proc(5)), so
that a counter does not go back when a child ends; shared memory counts in each process that has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from skerry.frozen import Frozen

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Used(Frozen):
    cpu_ns: int = 0
    memory_bytes: int = 0
    pids: int = 0


class _Process(Frozen):
    parent: int
    ticks: int
    """Its own, and those of its ended children."""
    pages: int


def used_below(roots: Iterable[int], proc: Path = Path("/proc")) -> Mapping[int, Used]:
    """By root: all that its descendants use, without itself but for what ended children of it have used."""
    processes = {
        int(entry.name): found for entry in proc.iterdir() if entry.name.isdigit() if (found := _read(entry))
    }
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    return {root: _sum(root, processes, children) for root in roots if root in processes}


def _sum(root: int, processes: Mapping[int, _Process], children: Mapping[int, list[int]]) -> Used:
    below: list[int] = []
    look = [root]
    while look:
        found = children.get(look.pop(), [])
        below += found
        look += found
    return Used(
        cpu_ns=sum(processes[pid].ticks for pid in below) * (10**9 // _TICKS_S),
        memory_bytes=sum(processes[pid].pages for pid in below) * _PAGE_BYTES,
        pids=len(below),
    )


def _read(entry: Path) -> _Process | None:
    """None for one that has ended meanwhile."""
    try:
        fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return _Process(parent=int(fields[1]), ticks=sum(int(field) for field in fields[11:15]), pages=int(fields[21]))
