"""Counts what this machine, the agent and the pods use, when somebody asks (`edgecore.pods.figures` shows it).

Rates need two counts, a moment apart, so that nothing has to be kept. Disks are walked in a thread, each volume up to
`FILES_MAX` files. Keeps when the agent began, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgecore.pods.figures import (
    Figures,
    NodeFigures,
    PodPlaces,
    Room,
    Wire,
    agent_families,
    container_families,
    resource_families,
    summary,
)
from edgecore.pods.node import Machine
from edgecore.pods.parts import log_directory
from edgecore.pods.port import Runtime
from edgecore.pods.records import PodRecord
from edgecore.pods.usage import read_load
from edgecore.store.shell import AsyncEdgeStore
from skerry.forms.exposition import Family, gauge
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.usage import WINDOW_S, Count
from skerry.ports import Clock

FILES_MAX: Final = 20_000
"""Of a volume; what is beyond is not counted."""


class MeasuringParts(Frozen):
    store: AsyncEdgeStore
    runtime: Runtime
    clock: Clock
    machine: Callable[[], Machine]
    node: str
    directory: Path
    """Pods' volumes and logs are below it."""
    proc: Path = Path("/proc")
    window_s: float = WINDOW_S


class Measuring:
    """See the module; `edgecore.local_api.ports.Figures`."""

    def __init__(self, parts: MeasuringParts) -> None:
        self._parts = parts
        self._start_ms = parts.clock.wall_ms()

    async def summary(self) -> JsonObject:
        """Raises `UnavailableError` where the runtime does not answer."""
        usage = tuple(await self._parts.runtime.usage())
        node, agent = self._whole(), self._agent()
        await asyncio.sleep(self._parts.window_s)
        now = await self._figures(disks=True)
        return summary(
            Figures(
                at_ms=now.at_ms,
                node=now.node,
                node_before=node,
                agent_before=agent,
                pods=now.pods,
                usage=now.usage,
                before=usage,
                states=now.states,
            )
        )

    async def resource(self) -> list[Family]:
        return resource_families(await self._figures())

    async def containers(self) -> list[Family]:
        return container_families(await self._figures())

    def agent(self) -> list[Family]:
        """Of the process: standard names of Prometheus' clients."""
        families = agent_families(self._agent(), start_ms=self._start_ms)
        own = self._parts.proc / "self"
        pages = int((own / "statm").read_text().split()[0])
        families.append(
            gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", pages * os.sysconf("SC_PAGE_SIZE"))
        )
        families.append(gauge("process_open_fds", "Number of open file descriptors.", len([*(own / "fd").iterdir()])))
        limits = (line.split() for line in (own / "limits").read_text().splitlines())
        most = next((words[3] for words in limits if words[:3] == ["Max", "open", "files"]), "")
        if most.isdecimal():
            families.append(gauge("process_max_fds", "Maximum number of open file descriptors.", int(most)))
        size = sum(path.stat().st_size for path in (self._parts.directory / "store").glob("edge.db*"))
        families.append(gauge("skerry_store_bytes", "Size of the store's files.", size))
        return families

    async def _figures(self, *, disks: bool = False) -> Figures:
        parts = self._parts
        usage, states = tuple(await parts.runtime.usage()), tuple(await parts.runtime.list())
        place = await parts.runtime.images_place() if disks else None
        records = [(uid, PodRecord.decode(body)) for uid, body in parts.store.pods()]
        machine = parts.machine()

        def look() -> tuple[tuple[PodPlaces, ...], Room, Room | None]:
            pods = tuple(self._places(uid, record, disks=disks) for uid, record in records if not record.gone)
            images = None if place is None else _room(place.directory, place.used_bytes, 0)
            return pods, _room(parts.directory, machine.disk_bytes - machine.disk_free_bytes, None), images

        pods, disk, images = await asyncio.to_thread(look)
        now_ms = parts.clock.wall_ms()
        node = NodeFigures(
            name=parts.node,
            boot_ms=now_ms - round(float((parts.proc / "uptime").read_text().split()[0]) * 1000),
            whole=self._whole(),
            memory_free_bytes=machine.memory_free_bytes,
            memory_total_bytes=machine.memory_bytes,
            cpus=machine.cpus,
            agent=self._agent(),
            agent_start_ms=self._start_ms,
            disk=disk,
            images=images,
            wires=read_wires(parts.proc),
            pids_max=machine.pids_max,
            pids_used=machine.pids_used,
        )
        return Figures(at_ms=now_ms, node=node, pods=pods, usage=usage, states=states)

    def _whole(self) -> Count:
        cpu_ns, memory_bytes = read_load(self._parts.proc)
        return Count(at_ms=self._parts.clock.wall_ms(), cpu_ns=cpu_ns, memory_bytes=memory_bytes)

    def _agent(self) -> Count:
        pages = int((self._parts.proc / "self/statm").read_text().split()[1])
        return Count(
            at_ms=self._parts.clock.wall_ms(),
            cpu_ns=time.process_time_ns(),
            memory_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        )

    def _places(self, uid: str, record: PodRecord, *, disks: bool) -> PodPlaces:
        volumes: list[tuple[str, Room]] = []
        logs: list[tuple[str, int]] = []
        if disks:
            for volume in _below(self._parts.directory / "pods" / uid / "volumes"):
                used_bytes, files = _size(volume)
                volumes.append((volume.name, _room(volume, used_bytes, files)))
            directory = log_directory(self._parts.directory, namespace=record.namespace, name=record.name, uid=uid)
            logs += [(each.name, _size(each)[0]) for each in _below(directory)]
        return PodPlaces(
            namespace=record.namespace,
            name=record.name,
            uid=uid,
            start_ms=record.start_ms,
            volumes=tuple(volumes),
            log_bytes=tuple(logs),
        )


def _below(directory: Path) -> list[Path]:
    try:
        return sorted(each for each in directory.iterdir() if each.is_dir() and not each.is_symlink())
    except OSError:
        return []


def _size(directory: Path) -> tuple[int, int]:
    """Bytes on the disk and files below; links are not followed, and files that go meanwhile are gone."""
    used_bytes = files = 0
    for where, directories, names in os.walk(directory):
        for name in (*directories, *names):
            try:
                found = Path(where, name).lstat()
            except OSError:
                continue
            used_bytes += found.st_blocks * 512
            files += 1
        if files > FILES_MAX:
            break
    return used_bytes, files


def _room(place: Path, used_bytes: int, inodes_used: int | None) -> Room:
    """`inodes_used` None: all that are, on the whole file system."""
    found = os.statvfs(place)
    return Room(
        free_bytes=found.f_bavail * found.f_frsize,
        total_bytes=found.f_blocks * found.f_frsize,
        used_bytes=used_bytes,
        inodes_free=found.f_favail,
        inodes=found.f_files,
        inodes_used=found.f_files - found.f_ffree if inodes_used is None else inodes_used,
    )


def read_wires(proc: Path = Path("/proc")) -> tuple[Wire, ...]:
    """Interfaces but the loopback (proc_pid_net(5)); the one of the default route first."""
    try:
        lines = (proc / "net/dev").read_text().splitlines()[2:]
        routes = [line.split() for line in (proc / "net/route").read_text().splitlines()[1:]]
    except OSError:
        return ()
    first = next((words[0] for words in routes if words[1] == "00000000"), "")
    wires: list[Wire] = []
    for line in lines:
        name, _, rest = line.strip().partition(":")
        fields = [int(field) for field in rest.split()]
        if name != "lo" and len(fields) >= 11:
            wires.append(
                Wire(
                    name=name,
                    received_bytes=fields[0],
                    received_errors=fields[2],
                    sent_bytes=fields[8],
                    sent_errors=fields[10],
                )
            )
    return tuple(sorted(wires, key=lambda wire: (wire.name != first, wire.name)))
