"""How much room there is on this gateway, and how much each pod takes of it: what the eviction of pods looks at.

Memory and process ids are those of the machine as `node.read_machine` gives it (what is available of memory is the
kernel's own estimate: docs/decisions/0381); disks are asked of the file systems that have the volumes and the images.
Keeps nothing. Disks are only walked when some pod has to go.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecore.pods.disk_use import use_below
from edgecore.pods.eviction import RESOURCES, Observation, Signal, Threshold
from edgecore.pods.eviction_ranks import Candidate, Use
from edgecore.pods.node import Machine
from edgecore.pods.port import ContainerUsage, Runtime
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import uid_of

_NODE_FS: Final = frozenset({"nodefs.available", "nodefs.inodesFree"})


class FileSystem(Frozen):
    """One, as statvfs(3) tells it to who is not root."""

    device: int
    bytes_all: int
    bytes_free: int
    inodes_all: int
    """0 where it does not count them."""
    inodes_free: int


def file_system(directory: Path) -> FileSystem:
    """Raises `OSError`."""
    told = os.statvfs(directory)
    return FileSystem(
        device=directory.stat().st_dev,
        bytes_all=told.f_blocks * told.f_frsize,
        bytes_free=told.f_bavail * told.f_frsize,
        inodes_all=told.f_files,
        inodes_free=told.f_favail,
    )


class RoomParts(Frozen):
    """Where is looked."""

    runtime: Runtime
    machine: Callable[[], Machine]
    directory: Path
    """The pods' volumes and logs are below it."""
    disk: Callable[[Path], FileSystem] = file_system


class Room(Frozen):
    """What a look finds."""

    seen: Mapping[Signal, Observation]
    images_apart: bool
    """Images, and what containers write into themselves, are on a file system of their own."""


async def look(parts: RoomParts) -> Room:
    """Raises `UnavailableError`, `OSError`."""
    machine, own = parts.machine(), parts.disk(parts.directory)
    place = await parts.runtime.images_place()
    images = None if place is None else parts.disk(place.directory)
    seen: dict[Signal, Observation] = {
        "memory.available": Observation(available=machine.memory_free_bytes, capacity=machine.memory_bytes),
        "pid.available": Observation(available=machine.pids_max - machine.pids_used, capacity=machine.pids_max),
        "nodefs.available": Observation(available=own.bytes_free, capacity=own.bytes_all),
    }
    if own.inodes_all:
        seen["nodefs.inodesFree"] = Observation(available=own.inodes_free, capacity=own.inodes_all)
    if images is not None:
        seen["imagefs.available"] = Observation(available=images.bytes_free, capacity=images.bytes_all)
        if images.inodes_all:
            seen["imagefs.inodesFree"] = Observation(available=images.inodes_free, capacity=images.inodes_all)
    return Room(seen=seen, images_apart=images is not None and images.device != own.device)


async def candidates(
    parts: RoomParts, room: Room, threshold: Threshold, pods: Sequence[tuple[JsonObject, Path]]
) -> list[Candidate]:
    """The pods with what they use of what is short; beside each the directory of its logs. Raises
    `UnavailableError`."""
    used: dict[str, list[ContainerUsage]] = {}
    for each in await parts.runtime.usage():
        used.setdefault(each.pod_uid, []).append(each)
    of_disk = RESOURCES[threshold.signal] in ("ephemeral-storage", "inodes")
    found: list[Candidate] = []
    for pod, logs in pods:
        layers = of_disk and (not room.images_apart or threshold.signal not in _NODE_FS)
        files = of_disk and (not room.images_apart or threshold.signal in _NODE_FS)
        places = (parts.directory / "pods" / uid_of(pod), logs) if files else ()
        disk = [await _files(place) for place in places]
        named = [each for each in used.get(uid_of(pod), []) if each.name]
        containers = {each.name: _use(each, layers=layers) for each in named}
        if files:
            containers = {name: await _with_log(use, logs / name) for name, use in containers.items()}
        found.append(
            Candidate(
                pod=pod, use=_sum([*disk, *(_use(each, layers=layers) for each in named)]), containers=containers
            )
        )
    return found


def _use(used: ContainerUsage, *, layers: bool) -> Use:
    return Use(
        memory_bytes=used.memory_working_set_bytes,
        disk_bytes=used.disk_bytes if layers else 0,
        inodes=used.inodes if layers else 0,
        pids=used.pids,
    )


async def _with_log(use: Use, log: Path) -> Use:
    return _sum([use, await _files(log)])


async def _files(place: Path) -> Use:
    found = await asyncio.to_thread(use_below, place)
    return Use(disk_bytes=found.size_bytes, inodes=found.inodes)


def _sum(uses: Iterable[Use]) -> Use:
    total = Use()
    for each in uses:
        total = Use(
            memory_bytes=total.memory_bytes + each.memory_bytes,
            disk_bytes=total.disk_bytes + each.disk_bytes,
            inodes=total.inodes + each.inodes,
            pids=total.pids + each.pids,
        )
    return total
