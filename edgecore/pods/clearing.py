"""Takes away what one pod left on the gateway: with the runtime, on the disk, in the kernel.

Keeps in memory who waits for that. A crash in between leaves something of it; whoever looks next takes that away.
"""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

from edgecore.pods.deletions import beside
from edgecore.pods.memory_volumes import mounted_below, unmount_below
from edgecore.pods.parts import PodParts
from edgecore.pods.plan import Seen


class Clearing:
    """See the module. `directory` and `logs` are the pod's own."""

    def __init__(self, parts: PodParts, uid: str, *, directory: Path, logs: Path) -> None:
        self._runtime, self._cgroups, self._ports = parts.runtime, parts.cgroups, parts.ports
        self._uid = uid
        self._directory = directory
        self._logs = logs
        self._asked: asyncio.Event | None = None
        """Somebody waits for what the finished pod left to be gone."""
        self._done = asyncio.Event()
        self.emptied = False
        """The runtime has nothing of the finished pod any more."""

    def ask(self) -> asyncio.Event:
        """Take away what the finished pod left with the runtime, too; the event says that it is gone."""
        self._asked = self._asked or asyncio.Event()
        return self._asked

    @property
    def is_going(self) -> bool:
        """What the finished pod left with the runtime has gone, or somebody has asked for that."""
        return self.emptied or self._asked is not None

    async def until_done(self) -> None:
        """Until nothing is left of what the pod, that has ended, had of the gateway."""
        await self._done.wait()

    def is_done(self) -> None:
        self._done.set()
        if self._asked is not None:
            self._asked.set()
            self._asked = None

    async def everything(self, seen: Seen) -> None:
        """Nothing of the pod stays. Raises `UnavailableError`."""
        await self._of_runtime(seen)
        await self._of_gateway()
        self.is_done()

    async def of_finished(self, seen: Seen, *, evicted: bool) -> None:
        """What a finished pod wrote into volumes of its own is nobody's now; of an evicted one nothing stays but its
        status, as the gateway needs the room."""
        await beside(partial(_remove, self._directory, "volumes"))
        if evicted or self._asked is not None:
            await self._of_runtime(seen)
            shutil.rmtree(self._logs, ignore_errors=True)  # as with a kubelet: a log goes with its container
            self.emptied = True
        if evicted:
            await self._of_gateway()
        self.is_done()

    async def forgotten(self) -> None:
        """The pod is nowhere any more."""
        self._ports.release(self._uid)
        await self._of_gateway()

    async def _of_runtime(self, seen: Seen) -> None:
        for state in seen.containers:
            await self._runtime.remove(state.id)
        for sandbox in seen.sandboxes:
            await self._runtime.remove_sandbox(sandbox.id)

    async def _of_gateway(self) -> None:
        """Volumes, logs and cgroups."""
        if self._cgroups is not None:
            await self._cgroups.remove(self._uid)
        await beside(partial(_remove, self._directory))
        await beside(partial(shutil.rmtree, self._logs, ignore_errors=True))


def _remove(directory: Path, part: str = "") -> None:
    unmount_below(directory)
    if not mounted_below(directory):  # what is there may be somebody's
        shutil.rmtree(directory / part, ignore_errors=True)
