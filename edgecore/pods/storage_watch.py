"""Measures pods whose disk has limits, and ends those that use more: the shell of `storage_limits`.

Keeps nothing. Pods without limits are not looked at, and cost nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from edgecore.pods.disk_use import entries_of, use_below
from edgecore.pods.port import Runtime
from edgecore.pods.status import Ending
from edgecore.pods.storage_limits import Taken, empty_dirs, excess, is_limited
from skerry.errors import SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import name_of, namespace_of, uid_of

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
"""A kubelet's."""
GRACE_S: Final = 1.0
"""What such a pod gets to end: it writes on meanwhile."""


class Limited(Frozen):
    """A pod that may run, and where what it writes is."""

    pod: JsonObject
    directory: Path
    logs: Path


class StorageWatch:
    """Run `run` in a task group."""

    def __init__(
        self, runtime: Runtime, pods: Callable[[], Iterable[Limited]], end: Callable[[str, Ending, float], None]
    ) -> None:
        self._runtime = runtime
        self._pods = pods
        self._end = end

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except (SkerryError, OSError) as error:
                log.warning("the storage of pods is not measured reason=%s", error)

    async def look(self) -> None:
        """Once. Raises `UnavailableError`."""
        limited = [each for each in self._pods() if is_limited(each.pod)]
        if not limited:
            return
        layers = {(use.pod_uid, use.name): use.disk_bytes for use in await self._runtime.usage()}
        for each in limited:
            taken = await asyncio.to_thread(_taken, each)
            uid = uid_of(each.pod)
            own = {name: layers.get((uid, name), 0) for name in {name for of, name in layers if of == uid and name}}
            whole = {
                name: own.get(name, 0) + taken.containers.get(name, 0)
                for name in own.keys() | taken.containers.keys()
            }
            fault = excess(each.pod, Taken(volumes=taken.volumes, containers=whole))
            if fault:
                log.warning("pod ended pod=%s/%s reason=%s", namespace_of(each.pod), name_of(each.pod), fault)
                self._end(uid, Ending(reason="Evicted", message=fault), GRACE_S)


def _taken(pod: Limited) -> Taken:
    logs = [entry for entry in entries_of(pod.logs) if entry.is_dir(follow_symlinks=False)]
    return Taken(
        volumes={name: use_below(pod.directory / "volumes" / name).size_bytes for name in empty_dirs(pod.pod)},
        containers={entry.name: use_below(Path(entry.path)).size_bytes for entry in logs},
    )
