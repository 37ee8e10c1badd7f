"""How many files of system tests run at once: two for each core, and more only while a core has nothing to do.

A system test waits more than it works, so two workers a core leave half of a quiet machine idle, and more of them run
into their deadlines on a busy one. So there are more workers than that, and each takes a place before it begins a
file: one of the two for each core, which are free again when a file ends; or one beside them, when the machine was
partly idle a moment ago and has memory. Nobody has to be let in beside them for all files to be run.

Places are names of sockets, which the kernel takes back from a worker that ends.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FOR_EACH_CORE: Final = 2
IDLE_MIN: Final = 0.2
"""Share of all cores that had nothing to do, for one more to be let in: with less, all take longer."""
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
    """Whether one more than two for each core may."""
    return room.idle >= IDLE_MIN and room.memory >= MEMORY_MIN


def idle_share(before: str, after: str) -> float:
    """Of the time between two readings of /proc/stat, what cores spent idle or waiting for disks."""
    (idle, total), (idle_then, total_then) = _idle_of(before), _idle_of(after)
    return (idle_then - idle) / max(1, total_then - total)


def _idle_of(stat: str) -> tuple[int, int]:
    ticks = [int(word) for word in stat.splitlines()[0].split()[1:9]]  # what guests took is in the first two as well
    return ticks[3] + ticks[4], sum(ticks)


def room_of_this_machine() -> Room:
    """As it is for the next `LOOK_S`."""
    stat = Path("/proc/stat")
    before = stat.read_text()
    time.sleep(LOOK_S)
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return Room(idle=idle_share(before, stat.read_text()), memory=int(memory.split()[1]) << 10)


@dataclass(slots=True)
class Places:
    """Those of one run, as one worker sees them."""

    run: str
    """Name of the run: who has another shares no place with it."""
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
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
        for number in range(FOR_EACH_CORE * self.cores):
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
