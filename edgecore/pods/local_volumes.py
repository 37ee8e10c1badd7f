"""Removes the directories of volumes that are to go, and tells the cloud, for which their PersistentVolumes wait.

A volume of this gateway is in its view until nothing of it is left: what was asked while it was offline is done when
it hears of it, and what was done is told when there is a link. Only what the cloud asked to remove is removed; a
directory of which the store knows nothing stays, for somebody's data may be in it. Keeps in memory what was told;
after a crash it is told again, which changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgecore.pods.claims import KEPT, used_places
from edgecore.store.port import META_EPOCH, EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import name_of, uid_of
from skerry.objects.volumes import (
    VOLUME_STATE,
    VOLUMES,
    VolumeReport,
    gateway_of,
    handle_of,
    is_to_be_removed,
)
from skerry.waits import until_set

log = logging.getLogger(__name__)

AGAIN_S: Final = 30.0
"""After a directory that is in use, or that the disk would not let go."""
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(rb"\\([0-3][0-7]{2})")


class LocalVolumes:
    """Run `run` in a task group."""

    def __init__(self, store: AsyncEdgeStore, *, node: str, directory: Path) -> None:
        """`directory` is the agent's: volumes are below `KEPT` of it, pods below `pods`."""
        self._store = store
        self._node = node
        self._kept = directory / KEPT
        self._pods = directory / "pods"
        self._told: dict[str, tuple[str, str]] = {}
        """By uid of a volume: the fault that was told ("" for none), and the cloud's epoch."""
        self._news = asyncio.Event()

    async def run(self) -> None:
        stop = self._store.listen(self._committed)
        try:
            while True:
                self._news.clear()
                try:
                    waits = await self.look()
                except UnavailableError as error:
                    log.warning("volumes wait reason=%s", error)
                    waits = True
                await self._rest(AGAIN_S if waits else None)
        finally:
            stop()

    async def _rest(self, seconds: float | None) -> None:
        await until_set(self._news, within_s=seconds)

    def _committed(self, batch: EdgeBatch) -> None:
        if any(held.key.resource == VOLUMES for held in batch.puts) or any(n == META_EPOCH for n, _ in batch.meta):
            self._news.set()

    async def look(self) -> bool:
        """Remove what is to go. True when something of it is still there. Raises `UnavailableError`."""
        going = [each for each in self._volumes() if is_to_be_removed(each)]
        uids = {uid_of(each) for each in going}
        self._told = {uid: told for uid, told in self._told.items() if uid in uids}
        used = frozenset(used_places(self._pods)) if going else frozenset[Path]()
        waits = False
        for volume in going:
            if self._told.get(uid_of(volume)) == ("", self._epoch()):
                continue
            place = self._kept / handle_of(volume)
            if place in used:
                waits = True
                continue
            fault = await asyncio.to_thread(remove_directory, place)
            waits = waits or bool(fault)
            await self._tell(volume, fault)
        return waits

    def _volumes(self) -> Iterable[JsonObject]:
        for held in self._store.list(VOLUMES):
            volume = decode_object(held.body)
            if gateway_of(volume) == self._node and handle_of(volume):
                yield volume

    def _epoch(self) -> str:
        return self._store.meta(META_EPOCH) or ""

    async def _tell(self, volume: JsonObject, fault: str) -> None:
        told = (fault, self._epoch())
        if self._told.get(uid_of(volume)) == told:
            return
        report = VolumeReport(name=name_of(volume), uid=uid_of(volume), fault=fault)
        new = NewReport(report_class="state", kind=VOLUME_STATE, key=uid_of(volume), body=report.encode())
        await self._store.apply(EdgeBatch(reports=(new,)))
        self._told[uid_of(volume)] = told
        if fault:
            log.warning("volume's directory stays volume=%s reason=%s", name_of(volume), fault)
        else:
            log.info("volume's directory is removed volume=%s", name_of(volume))


def remove_directory(place: Path) -> str:
    """Remove the directory and all in it; why it is still there, "" when it is not. What is mounted below it is
    somebody else's: nothing is removed then."""
    try:
        below = [point for point in _mount_points() if point == str(place) or point.startswith(f"{place}/")]
        if below:
            return f"{below[0]} is a mount point"
        shutil.rmtree(place)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return str(error)
    return ""


def _mount_points() -> list[str]:
    """proc_pid_mountinfo(5): the fifth field, with blanks in octal."""
    fields = (line.split() for line in _MOUNTS.read_bytes().splitlines())
    return [os.fsdecode(_OCTAL.sub(_byte, each[4])) for each in fields if len(each) > 4]


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes((int(escape[1], 8),))
