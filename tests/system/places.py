"""How many files of system tests run at once: half of the workers' always, and more only while a core is idle.

A system test waits more than it works, so two workers a core leave half of a quiet machine idle, and more of them run
into their deadlines on a busy one. So there are more workers than that, and each takes a place before it begins a
file: one of those of which there is one for every two workers, and which are free again when a file ends; or one
beside them, when the machine was partly idle a moment ago and has memory. Nobody has to be let in beside them for all
files to be run.

Places are names of sockets, which the kernel takes back from a worker that ends.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

IDLE_MIN: Final = 0.2
"""Share of all cores that had nothing to do, for one more to be let in: with less, all take longer."""
CGROUPS: Final = Path("/sys/fs/cgroup")
MEMORY_MIN: Final = 2 << 30
"""Bytes that one more may fill: a cloud, gateways, a database, containers."""
LOOK_S: Final = 1.0
"""How long idleness is measured. One looks at a time, so that no more than one is let in in that time."""
PAUSE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Room:
    """What a machine has left."""

    idle: float
    memory: int


def may_begin(room: Room) -> bool:
    """Whether one more may than may anyway."""
    return room.idle >= IDLE_MIN and room.memory >= MEMORY_MIN


def idle_share(before: str, after: str) -> float:
    """Of the time between two readings of /proc/stat, what cores spent idle or waiting for disks."""
    (idle, total), (idle_then, total_then) = _idle_of(before), _idle_of(after)
    return (idle_then - idle) / max(1, total_then - total)


def _idle_of(stat: str) -> tuple[int, int]:
    ticks = [int(word) for word in stat.splitlines()[0].split()[1:9]]  # what guests took is in the first two as well
    return ticks[3] + ticks[4], sum(ticks)


@dataclass(frozen=True, slots=True)
class Share:
    """What a container may have of the processors, and had."""

    cores: float
    used_s: float


def share_of_this_container(cgroups: Path = CGROUPS) -> Share | None:
    """None where nobody set a limit: all of the machine is its own. Cgroups of version 2, or of 1."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroups / "cpu.max").read_text().split()
        used = dict(line.split() for line in (cgroups / "cpu.stat").read_text().splitlines())["usage_usec"]
        return Share(cores=int(quota) / int(period), used_s=int(used) / 1e6)
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((cgroups / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        used = (cgroups / "cpuacct/cpuacct.usage").read_text()
        return Share(cores=int(quota) / int(period), used_s=int(used) / 1e9) if int(quota) > 0 else None
    return None


def room_of_this_machine() -> Room:
    """As it is for the next `LOOK_S`."""
    stat = Path("/proc/stat")
    before, share = stat.read_text(), share_of_this_container()
    time.sleep(LOOK_S)
    idle, share_then = idle_share(before, stat.read_text()), share_of_this_container()
    if share is not None and share_then is not None:
        idle = min(idle, 1 - (share_then.used_s - share.used_s) / (share.cores * LOOK_S))
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return Room(idle=idle, memory=int(memory.split()[1]) << 10)


@dataclass(slots=True)
class Places:
    """Those of one run, as one worker sees them."""

    run: str
    """Name of the run: who has another shares no place with it."""
    workers: int
    """Of the run."""
    look: Callable[[], Room] = room_of_this_machine
    _file: Path | None = None
    _held: socket.socket | None = field(default=None, repr=False)

    def begin(self, file: Path) -> None:
        """Wait for a place for this file, unless it is the one that has begun; that before it gives its own back."""
        if file == self._file:
            return
        self.release()
        while not self._taken():
            time.sleep(PAUSE_S)
        self._file = file

    def release(self) -> None:
        self._file = None
        if self._held is not None:
            self._held.close()
            self._held = None

    def _taken(self) -> bool:
        for number in range(max(1, self.workers // 2)):
            self._held = self._name(str(number))
            if self._held is not None:
                return True
        looking = self._name("looking")
        if looking is None:
            return False
        with looking:
            return may_begin(self.look())

    def _name(self, name: str) -> socket.socket | None:
        """A socket of that name, None where somebody has it."""
        made = socket.socket(socket.AF_UNIX)
        try:
            made.bind(f"\0skerry-place-{self.run}-{name}")
        except OSError:
            made.close()
            return None
        return made
