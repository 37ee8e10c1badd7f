"""Hears from the kernel when containers end: no polling, and no waiting for the runtime to notice.

A runtime says the process of each container and sandbox; a pidfd of it becomes readable when it ends (Linux 5.3).
Where the runtime's processes are in another pid namespace than ours they can't be watched: such a container is
`blind`, and somebody has to poll. Keeps open files only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

CGROUP_BYTES_MAX: Final = 64 * 1024


class Endings:
    """Processes by the container they are of."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        """`ended` is told the id, once."""
        self._ended = ended
        self._open: dict[str, int] = {}
        self._blind: set[str] = set()
        self._sees = False
        """Processes of this runtime have been seen: one that can't be found has ended."""

    @property
    def blind(self) -> frozenset[str]:
        """Those that nothing will be heard of."""
        return frozenset(self._blind)

    def knows(self, container: str) -> bool:
        return container in self._open or container in self._blind

    def hears(self, container: str) -> bool:
        """Its process lives, and its end will be told."""
        return container in self._open

    def watch(self, container: str, pid: int) -> None:
        """`pid`: 0 where the runtime did not say."""
        if self.knows(container):
            return
        descriptor = -1
        try:
            if pid > 0:
                descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            pass
        except OSError:  # too many open files, or a kernel that has none of these
            self._blind.add(container)
            return
        if descriptor >= 0 and _is_of(pid, container):
            self._sees = True
            self._open[container] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._hear, container)
            return
        if descriptor >= 0:
            os.close(descriptor)
        if self._sees and pid > 0:
            self._ended(container)
        else:
            self._blind.add(container)

    def _hear(self, container: str) -> None:
        self.forget(container)
        self._ended(container)

    def forget(self, container: str) -> None:
        """Nothing more is to be heard of it."""
        self._blind.discard(container)
        descriptor = self._open.pop(container, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        for container in [*self._open, *self._blind]:
            self.forget(container)


def _is_of(pid: int, container: str) -> bool:
    """A number may have been given to another process since; a container's cgroup has its id in its name."""
    try:
        with Path(f"/proc/{pid}/cgroup").open("rb") as file:
            return container.encode() in file.read(CGROUP_BYTES_MAX)
    except OSError:
        return False
